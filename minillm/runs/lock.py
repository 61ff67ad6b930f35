"""The lock of a run's folder, so that only one process writes it at a time.

It is a lock of the operating system, which always ends with its process.  Two things are locked:
the folder itself, and the file ``.minillm-lock`` in it.  The file names the process, and is deleted
with the lock.  If somebody else deletes it, the lock of the folder still holds; on file systems
that lock no folders, such as NFS, the lock of the file does.  On a system without such locks, such
as Windows, a second process is not noticed.
"""

import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from minillm.data.files import check_regular, lock, naming
from minillm.errors import InputError

NAME = ".minillm-lock"
MOST_FAILURES = 100  # to make the folder


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
            locked = _locked(folder, time.monotonic() + wait)
    except OSError:
        _remove_empty(made)
        raise
    with locked:
        try:
            yield
        finally:
            with suppress(OSError):  # Windows deletes no open file
                (folder / NAME).unlink()
            _remove_empty(made)  # before the lock ends: another process may wait for it


def _remove_empty(folders: Sequence[Path]) -> None:
    with suppress(OSError):  # it is not empty
        for folder in folders:
            folder.rmdir()


def _locked(folder: Path, until: float) -> ExitStack:
    """The lock, which is closed to end it; the lock file names this process."""
    path, failures = folder / NAME, 0
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, FileNotFoundError):
            failures += 1
            if failures == MOST_FAILURES:
                raise
            continue  # its last holder may have just removed the folder, or a folder above it
        check_regular(path)
        with ExitStack() as opened:
            try:
                descriptors = {}
                if os.name != "nt":  # Windows opens no folders
                    descriptors[folder] = os.open(folder, os.O_RDONLY)
                    opened.callback(os.close, descriptors[folder])
                file = opened.enter_context(open(path, "a+", encoding="utf-8"))
            except FileNotFoundError:
                continue  # its last holder has just removed the folder
            descriptors[path] = file.fileno()
            if any(lock(descriptor) is False for descriptor in descriptors.values()):
                if time.monotonic() >= until:
                    file.seek(0)
                    raise InputError(
                        f"{folder}: it is in use by {file.read() or 'another process'}"
                    )
                time.sleep(0.01)
                continue
            if not all(_is_at(descriptor, place) for place, descriptor in descriptors.items()):
                continue  # locked, but deleted by its last holder
            with suppress(OSError):  # on a full disk, the lock works without a name
                file.truncate(0)
                since = time.strftime("%Y-%m-%d %H:%M:%S")
                file.write(f"process {os.getpid()} on {socket.gethostname()} since {since}")
                file.flush()
            return opened.pop_all()


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
