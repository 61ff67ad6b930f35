"""Files: opened with errors of one line, written whole or not at all.

It is the one place where files are written atomically.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from minillm.errors import InputError

STANDARD_INPUT = "-"


def shown(path: str | Path) -> str:
    """A path as messages name it."""
    return "standard input" if str(path) == STANDARD_INPUT else str(path)


@contextmanager
def reading(path: str | Path) -> Iterator[BinaryIO]:
    """A file to read; ``-`` is standard input.  InputError names one that cannot be read."""
    try:
        if str(path) == STANDARD_INPUT:
            yield sys.stdin.buffer
        else:
            with open(path, "rb") as file:
                yield file
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except OSError as error:
        raise InputError(f"{shown(path)}: cannot be read: {error.strerror}") from None


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
