"""Compressed files, read like others: gzip and zstandard, recognised by their first bytes."""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from minillm.errors import InputError

GZIP, ZSTANDARD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"  # no text in UTF-8 begins like these
_INPUT = 1 << 12  # bytes that are decompressed at a time: they become at most 128 MB


@contextmanager
def decompressed(file: BinaryIO, name: str) -> Iterator[BinaryIO]:
    """The contents of a compressed file; any other file itself.

    InputError names a file that is cut short or damaged, and a package that is missing.
    """
    raw: Any = file
    stream = raw if hasattr(raw, "peek") else io.BufferedReader(raw)
    start = stream.peek(4)[:4]
    if start.startswith(GZIP):
        try:
            with gzip.GzipFile(fileobj=stream) as contents:
                yield contents  # type: ignore[misc]
        except EOFError:
            raise _cut_short(name, "gzip") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise _damaged(name, "gzip", error) from None
    elif start == ZSTANDARD:
        yield joined(_zstandard(stream, name))
    else:
        yield stream


def is_compressed(path: str) -> bool:
    """Whether a file begins like a compressed one."""
    with open(path, "rb") as file:
        start = file.read(4)
    return start.startswith(GZIP) or start == ZSTANDARD


def _zstandard(file: BinaryIO, name: str) -> Iterator[bytes]:
    """The contents of a file of one frame or several."""
    try:
        import zstandard  # optional: the extra "data"
    except ImportError:
        raise InputError(
            f"{name}: it is compressed with zstandard, which needs the package zstandard: "
            "pip install zstandard"
        ) from None
    frame: Any = None
    while data := file.read(_INPUT):
        while data:
            frame = frame or zstandard.ZstdDecompressor().decompressobj()
            try:
                yield frame.decompress(data)
            except zstandard.ZstdError as error:
                raise _damaged(name, "zstandard", error) from None
            data = frame.unused_data if frame.eof else b""
            frame = None if frame.eof else frame
    if frame is not None:
        raise _cut_short(name, "zstandard")


def _cut_short(name: str, format: str) -> InputError:
    return InputError(f"{name}: expected a whole {format} file, found one that is cut short")


def _damaged(name: str, format: str, error: Exception) -> InputError:
    return InputError(f"{name}: expected a {format} file, but it is damaged: {error}")


def joined(pieces: Iterator[bytes]) -> BinaryIO:
    """Bytes that come in pieces, as a file to read."""
    return io.BufferedReader(_Joined(pieces))


class _Joined(io.RawIOBase):
    def __init__(self, pieces: Iterator[bytes]):
        self._pieces, self._rest = pieces, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size
