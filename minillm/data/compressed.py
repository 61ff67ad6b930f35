"""Compressed files, read like others: gzip and zstandard, recognised by their first bytes."""

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from minillm.errors import InputError, missing_extra

GZIP, ZSTANDARD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"  # no text in UTF-8 begins like these


@contextmanager
def decompressed(file: BinaryIO, name: str) -> Iterator[BinaryIO]:
    """The contents of a compressed file; any other file itself.

    InputError names a file that is cut short or damaged, and a package that is missing.
    """
    raw: Any = file
    stream = raw if hasattr(raw, "peek") else io.BufferedReader(raw)
    start = stream.peek(4)[:4]
    if start.startswith(GZIP):
        unpacked: Any = gzip.GzipFile(fileobj=stream)
        yield io.BufferedReader(_Checked(unpacked, f"{name}: expected a %s gzip file", zlib.error))
    elif start == ZSTANDARD:
        try:
            if sys.version_info >= (3, 14):
                from compression.zstd import ZstdError, ZstdFile
            else:
                from backports.zstd import ZstdError, ZstdFile  # optional: the extra "data"
        except ImportError:
            raise missing_extra(f"{name}: zstandard", "data") from None
        what = f"{name}: expected a %s zstandard file"
        yield io.BufferedReader(_Checked(ZstdFile(stream), what, ZstdError))
    else:
        yield stream


class _Checked(io.RawIOBase):
    """The contents of a compressed file, whose errors are told as ours."""

    def __init__(self, contents: Any, what: str, damage: type[Exception]):
        self._contents, self._what = contents, what
        self._damage = (damage, gzip.BadGzipFile)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            return self._contents.readinto(buffer)
        except EOFError:
            raise InputError(self._what % "whole" + ", found one that is cut short") from None
        except self._damage as error:
            raise InputError(
                f"{self._what}, but it is damaged: {error}".replace("%s ", "")
            ) from None
