"""Writing files whole or not at all: the one place where a file is written atomically."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


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
