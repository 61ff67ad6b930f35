"""Compressed files, read like others: gzip and zstandard, recognised by their first bytes."""

import io
import zlib
from collections.abc import Callable, Iterator
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
        yield joined(_frames(stream, name, "gzip", _gzip, zlib.error))
    elif start == ZSTANDARD:
        try:
            import zstandard  # optional: the extra "data"
        except ImportError:
            raise InputError(
                f"{name}: it is compressed with zstandard, which needs the package zstandard: "
                "pip install zstandard"
            ) from None
        new = zstandard.ZstdDecompressor().decompressobj
        yield joined(_frames(stream, name, "zstandard", new, zstandard.ZstdError))
    else:
        yield stream


def is_compressed(path: str) -> bool:
    """Whether a file begins like a compressed one."""
    with open(path, "rb") as file:
        return file.read(4).startswith((GZIP, ZSTANDARD))


def _gzip() -> Any:
    return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)


def _frames(
    file: BinaryIO, name: str, kind: str, new: Callable[[], Any], damage: type[Exception]
) -> Iterator[bytes]:
    """The contents of a file of one frame or several; ``new`` makes a decompressor of one."""
    frame: Any = None
    while data := file.read(_INPUT):
        while frame is not None or (data := data.lstrip(b"\0")):  # gzip files may end with zeros
            frame = frame or new()
            try:
                yield frame.decompress(data)
            except damage as error:
                raise InputError(
                    f"{name}: expected a {kind} file, but it is damaged: {error}"
                ) from None
            if not frame.eof:
                break
            data, frame = frame.unused_data, None
    if frame is not None:
        raise InputError(f"{name}: expected a whole {kind} file, found one that is cut short")


def joined(pieces: Iterator[bytes]) -> BinaryIO:
    """Bytes that come in pieces, as a file to read."""
    return io.BufferedReader(_Joined(pieces))


class _Joined(io.RawIOBase):
    def __init__(self, pieces: Iterator[bytes]):
        self._pieces, self._rest = filter(None, pieces), memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._rest = self._rest or memoryview(next(self._pieces, b""))
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size
