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
    contents: Any
    damage: type[Exception]
    if start.startswith(GZIP):
        kind, contents, damage = "gzip", gzip.GzipFile(fileobj=stream), zlib.error
    elif start == ZSTANDARD:
        try:
            if sys.version_info >= (3, 14):
                from compression.zstd import ZstdError, ZstdFile
            else:
                from backports.zstd import ZstdError, ZstdFile  # optional: the extra "data"
        except ImportError:
            raise missing_extra(f"{name}: zstandard", "data") from None
        kind, contents, damage = "zstandard", ZstdFile(stream), ZstdError
    else:
        yield stream
        return
    contents.seekable = lambda: False  # otherwise it would be decompressed again
    try:
        yield io.BufferedReader(contents)
    except EOFError:
        raise InputError(
            f"{name}: expected a whole {kind} file, found one that is cut short"
        ) from None
    except (damage, gzip.BadGzipFile) as error:
        raise InputError(f"{name}: expected a {kind} file, but it is damaged: {error}") from None
