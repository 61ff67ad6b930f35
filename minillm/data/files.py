"""Writing files whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """A file to write; it becomes ``path`` at the end, and not at all after an exception.

    Until then ``path`` holds what it held before.  An OSError names it.
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


def write_file(path: str | Path, data: bytes) -> None:
    """Writes ``data`` so that ``path`` holds either all of it or what it held before."""
    with replacing(path) as file:
        file.write(data)
