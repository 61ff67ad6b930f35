"""Files that are compressed with gzip, read like others and recognised by their first bytes."""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from minillm.errors import InputError

START = b"\x1f\x8b"  # no text in UTF-8 begins like this


@contextmanager
def decompressed(file: BinaryIO, name: str) -> Iterator[BinaryIO]:
    """The contents of a compressed file; any other file itself.

    InputError names a file that is cut short or damaged.
    """
    raw: Any = file
    stream = raw if hasattr(raw, "peek") else io.BufferedReader(raw)
    if stream.peek(2)[:2] != START:
        yield stream
        return
    contents: Any = gzip.GzipFile(fileobj=stream)
    contents.seekable = lambda: False  # otherwise it would be decompressed again
    try:
        yield io.BufferedReader(contents)
    except EOFError:
        raise InputError(
            f"{name}: expected a whole gzip file, found one that is cut short"
        ) from None
    except (zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{name}: expected a gzip file, but it is damaged: {error}") from None
