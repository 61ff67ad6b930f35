"""Files: opened with errors of one line, read within limits, written whole or not at all.

It is the one place where files are written atomically, and the one that says how much of a file
is read.
"""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import count
from pathlib import Path
from typing import BinaryIO

from minillm.errors import InputError

STANDARD_INPUT = "-"
MOST_IN_MEMORY = 1 << 30  # bytes of one text or file that are kept in memory
LONGEST_LINE = 1 << 24  # bytes of a line that is read whole


def shown(path: str | Path) -> str:
    """A path as messages name it."""
    return "standard input" if str(path) == STANDARD_INPUT else str(path)


@contextmanager
def reading(path: str | Path) -> Iterator[BinaryIO]:
    """A file to read; ``-`` is standard input.  InputError names one that cannot be read."""
    if str(path) == STANDARD_INPUT:
        if sys.stdin is None:
            raise InputError("standard input: cannot be read: it is closed")
        opened: AbstractContextManager[BinaryIO] = nullcontext(sys.stdin.buffer)
    else:
        try:
            opened = open(path, "rb")  # noqa: SIM115  (closed below)
        except FileNotFoundError:
            raise InputError(f"{path}: there is no such file") from None
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None
        except ValueError as error:  # a zero in the name
            raise InputError(f"{str(path)!r}: cannot be read: {error}") from None
    try:
        with opened as file:
            yield file
    except OSError as error:
        raise InputError(f"{shown(path)}: cannot be read: {error.strerror}") from None


def read_all(file: BinaryIO, name: str, most: int = MOST_IN_MEMORY) -> bytes:
    """The bytes of a file.  InputError where there are more than ``most``, as of a device."""
    pieces, total = [], 0
    while piece := file.read(1 << 20):
        pieces.append(piece)
        total += len(piece)
        if total > most:
            raise too_large(name, most)
    return b"".join(pieces)


def too_large(name: str, most: int) -> InputError:
    """The error for a file of more than ``most`` bytes."""
    return InputError(f"{name}: expected at most {most:,} bytes, found more")


def bounded_lines(file: BinaryIO, name: str, start: int = 1) -> Iterator[bytes]:
    """The lines of a file, numbered from ``start``.  InputError for one above LONGEST_LINE."""
    for number in count(start):
        line = file.readline(LONGEST_LINE + 1)
        if not line:
            return
        if len(line) > LONGEST_LINE:
            raise InputError(
                f"{name}, line {number}: expected a line of at most {LONGEST_LINE:,} bytes, "
                "found a longer one"
            )
        yield line


def seekable(file: BinaryIO, name: str) -> BinaryIO:
    """The file, or its bytes in memory where it cannot be read twice, as a pipe."""
    return file if file.seekable() else io.BytesIO(read_all(file, name))


def write_file(path: str | Path, data: bytes) -> None:
    """Write ``data``; whatever happens, ``path`` has all of it or what it had before."""
    with replacing(path) as file:
        file.write(data)


@contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """A file to write, which replaces ``path`` when the block ends without an exception.

    It is written under a temporary name in the same folder, synced to the disk, then
    renamed.  An OSError names ``path``.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.part")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        temporary.unlink(missing_ok=True)
