"""Folders that are written whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minillm.errors import InputError


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """An empty folder to fill, which gets the name ``path`` when the block ends without exception.

    Whatever happens, ``path`` has all of its files or does not exist.  InputError if something
    has that name already, unless it is an empty folder.  An OSError names ``path``.
    """
    if not str(path):
        raise InputError("expected the name of a folder, found an empty one")
    target = Path(path).absolute()
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise InputError(f"{path}: expected the name of a new folder, but it exists already")
    temporary = target.with_name(f".{target.name}.minillm-part")
    shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
    try:
        temporary.mkdir()
        yield temporary
        if target.exists():
            target.rmdir()
        os.replace(temporary, target)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
