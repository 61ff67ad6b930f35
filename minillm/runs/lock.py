"""The lock of a run's folder, so that only one process writes it at a time.

It is a lock of the operating system, which always ends with its process.  The file
``.minillm-lock`` names the process, and is deleted with the lock.  On a system without such locks,
such as Windows, a second process is not noticed.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from minillm.data.files import lock, naming
from minillm.errors import InputError

NAME = ".minillm-lock"


@contextmanager
def held(folder: Path, wait: float = 0.0) -> Iterator[None]:
    """Make the folder, and lock it until the block ends.

    A folder that was made here and is empty at the end is removed.  InputError, with the name of
    the process, if another one holds the lock for more than ``wait`` seconds.
    """
    if folder.is_file():
        raise InputError(f"{folder}: expected a folder, found a file")
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        with naming(folder):
            file = _locked(folder, time.monotonic() + wait)
        with file:
            try:
                yield
            finally:
                with suppress(OSError):  # Windows deletes no open file
                    (folder / NAME).unlink()
    finally:
        with suppress(OSError):  # it is not empty
            for path in made:
                path.rmdir()


def _locked(folder: Path, until: float) -> IO:
    """Return the lock file, open and locked, with the name of this process in it."""
    path = folder / NAME
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            file = open(path, "a+", encoding="utf-8")  # noqa: SIM115
        except FileNotFoundError:
            continue  # its last holder has just removed the folder
        if lock(file) is False:
            if time.monotonic() >= until:
                with file:
                    raise InputError(f"{folder}: it is in use by {_holder(file)}")
            time.sleep(0.01)
        elif _is_at(file, path):
            break
        file.close()  # locked, but deleted by its last holder
    with suppress(OSError):  # on a full disk, the lock works without a name
        file.truncate(0)
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        file.write(f"process {os.getpid()} on {socket.gethostname()} since {since}")
        file.flush()
    return file


def _is_at(file: IO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _holder(file: IO) -> str:
    file.seek(0)
    return file.read() or "another process"
