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
        contents = _Checked(gzip.GzipFile(fileobj=stream), name, "gzip", zlib.error)
        yield io.BufferedReader(contents)
    elif start == ZSTANDARD:
        try:
            if sys.version_info >= (3, 14):
                from compression.zstd import ZstdError, ZstdFile
            else:
                from backports.zstd import ZstdError, ZstdFile  # optional: the extra "data"
        except ImportError:
            raise missing_extra(f"{name}: zstandard", "data") from None
        yield io.BufferedReader(_Checked(ZstdFile(stream), name, "zstandard", ZstdError))
    else:
        yield stream


class _Checked(io.RawIOBase):
    """The contents of a compressed file, whose errors are told as ours."""

    def __init__(self, contents: Any, name: str, kind: str, damage: type[Exception]):
        self._contents, self._name, self._kind = contents, name, kind
        self._damage = (damage, gzip.BadGzipFile)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            return self._contents.readinto(buffer)
        except EOFError:
            found = f"expected a whole {self._kind} file, found one that is cut short"
            raise InputError(f"{self._name}: {found}") from None
        except self._damage as error:
            found = f"expected a {self._kind} file, but it is damaged: {error}"
            raise InputError(f"{self._name}: {found}") from None
