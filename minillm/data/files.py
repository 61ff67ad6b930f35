"""Files: opened with one-line errors, read within limits, written whole or not at all."""

import errno
import hashlib
import io
import json
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from io import FileIO
from itertools import count
from pathlib import Path
from typing import IO, Any, BinaryIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from minillm.errors import InputError, no_file, short

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

STANDARD_INPUT = "-"
TEMPORARY = ".minillm-part"  # the suffix of temporary names
LARGEST_JSON = 1 << 28  # bytes
MOST_IN_MEMORY = 1 << 30  # bytes of one text or file that are kept in memory
LONGEST_LINE = 1 << 24  # bytes


def shown(path: str | Path) -> str:
    """The name of a path for messages."""
    return "standard input" if str(path) == STANDARD_INPUT else str(path)


@contextmanager
def reading(path: str | Path, regular: bool = False) -> Iterator[BinaryIO]:
    """A file to read; ``-`` is standard input.  InputError names a file that cannot be read.

    regular: InputError for a pipe or a device, too.
    """
    if str(path) == STANDARD_INPUT:
        if sys.stdin is None:
            raise InputError("standard input: cannot be read: it is closed")
        opened: AbstractContextManager[BinaryIO] = nullcontext(sys.stdin.buffer)
    else:
        if regular and is_stream(path):  # opening a pipe waits, and a device may have no end
            raise InputError(f"{path}: expected a regular file, found a pipe or a device")
        try:
            opened = open(path, "rb")  # noqa: SIM115  (closed below)
        except FileNotFoundError:
            raise no_file(path, "there is no such file") from None
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None
        except ValueError as error:  # a zero in the name
            raise InputError(f"{str(path)!r}: cannot be read: {error}") from None
    try:
        with opened as file:
            yield file
    except OSError as error:
        raise InputError(f"{shown(path)}: cannot be read: {error.strerror}") from None


def file_digest(path: str | Path, regular: bool = False) -> str:
    """The SHA-256 of a file, in hexadecimal; see :func:`reading`."""
    with reading(path, regular) as file:
        # A BinaryIO may lack what file_digest uses; a file that reading() opens has it.
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def read_all(file: BinaryIO, name: str, most: int = MOST_IN_MEMORY) -> bytes:
    """The bytes of a file.  InputError for more than ``most``: a device may have no end."""
    pieces, total = [], 0
    while piece := file.read(1 << 16):
        pieces.append(piece)
        total += len(piece)
        if total > most:
            raise too_large(name, most)
    return b"".join(pieces)


def fill(array: NDArray, file: BinaryIO | FileIO, name: str, start: int) -> None:
    """Fill an array with the bytes of an open file from ``start`` on.

    It is not a memory map: if a mapped file is cut short, reading it ends the process.  Here,
    InputError is raised.
    """
    file.seek(start)
    left = array.reshape(-1).view(np.uint8).data
    while left:
        size = file.readinto(left)  # type: ignore[union-attr]
        if not size:
            raise InputError(f"{name}: it has been cut short since it was opened")
        left = left[size:]


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


def read_json(
    path: str | Path, regular: bool = True, kind: Any = dict, strict: bool = False
) -> Any:
    """The object in a JSON file of at most LARGEST_JSON bytes; InputError for anything else.

    regular: see :func:`reading`; kind: the type, such as list for a file with a list; strict: see
    :func:`from_json`.
    """
    with reading(path, regular) as file:
        return from_json(read_all(file, str(path), LARGEST_JSON), str(path), kind, strict)


def from_json(text: str | bytes, place: str, form: Any, strict: bool = False) -> Any:
    """A value in JSON as a type.  InputError, with its place, for anything else.

    strict: without what Python writes, but UTF-8 and JSON cannot hold: infinity, and half of a
    surrogate pair.
    """
    try:
        text = text if isinstance(text, str) else text.decode("utf-8-sig")  # a byte order mark
        return converted(msgspec.json.decode(text) if strict else json.loads(text), form)
    except InputError as error:
        raise InputError(f"{place}: {error}") from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InputError(f"{place}: expected JSON, but it is damaged: {error}") from None


def converted(values: Any, form: Any, name: str = "", strict: bool = True) -> Any:
    """Values of JSON as a type, the fields of an object or one named field.

    InputError with the field, what was expected and what was found.
    """
    try:
        return msgspec.convert(values, form, strict=strict, str_keys=True)
    except msgspec.ValidationError as error:
        said, _, path = str(error).replace("`", "").partition(" - at ")
        path, found = path.removeprefix("key in ").removeprefix("$"), values
        if lacking := re.fullmatch(r"Object missing required field (\w+)", said):
            path, said = f"{path}.{lacking[1]}", "Expected a value"
        for key, number in re.findall(r"\.(\w+)|\[(\d+)\]", path):
            found = found.get(key) if key else found[int(number)]
        place = f"{name}{path}".removeprefix(".")
        expected = said[:1].lower() + said[1:].partition(", got ")[0].removesuffix(" | null")
        expected = {"expected object": "expected a JSON object"}.get(expected, expected)
        raise InputError(f"{expected}, found {short(found)}", place or None) from None


def seekable(file: BinaryIO, name: str) -> BinaryIO:
    """The file, or its bytes in memory if it cannot be read twice, like a pipe."""
    return file if file.seekable() else io.BytesIO(read_all(file, name))


def copy_file(source: str | Path, path: str | Path) -> None:
    """Copy a file; whatever happens, ``path`` has all of it or its previous content."""
    with reading(source, regular=True) as original, replacing(path) as file:
        shutil.copyfileobj(original, file)


def write_file(path: str | Path, data: bytes) -> None:
    """Write ``data``; whatever happens, ``path`` has all of it or its previous content."""
    with replacing(path) as file:
        file.write(data)


@contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """A file to write, which replaces ``path`` when the block ends without an exception.

    It is written under a temporary name in the same folder, synced to disk, then renamed.  If
    ``path`` is a symbolic link, its target is replaced.

    InputError for an empty name, a folder, a pipe or a device.  An OSError names ``path``.
    """
    if not str(path):
        raise InputError("expected the name of a file to write, found an empty name")
    if os.path.isdir(path) or is_stream(path):
        kind = "folder" if os.path.isdir(path) else "pipe or a device"
        raise InputError(f"{path}: expected a file, found a {kind}")
    with naming(path):
        target = Path(os.path.realpath(path))
        if target.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        temporary = _temporary_name(target)
        try:
            with open(temporary, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                with suppress(OSError):  # there is no file yet, or the file system has no modes
                    os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))
                os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """An OSError in the block names ``path``, not the temporary name that was used for it."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None


def is_stream(path: str | Path) -> bool:
    """Whether ``path`` is a pipe or a device, which cannot be replaced."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # it does not exist
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _temporary_name(target: Path) -> Path:
    """A random name in the same folder; the longest legal name has no room for more."""
    return target.with_name(f".{target.name[:50]}.{os.urandom(4).hex()}{TEMPORARY}")


@contextmanager
def new_folder(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """An empty folder to fill, renamed to ``path`` when the block ends without an exception.

    InputError if ``path`` exists already, unless it is an empty folder, or a folder to overwrite.
    An OSError names ``path``.
    """
    if not str(path):
        raise InputError("expected the name of a folder, found an empty one")
    target = Path(os.path.realpath(path))
    if target.exists() and not (target.is_dir() and (overwrite or not any(target.iterdir()))):
        raise InputError(f"{path}: expected the name of a new folder, but it exists already")
    made = _temporary_name(target)
    with naming(path):
        made.mkdir(parents=True)
        try:
            yield made
            if target.exists():
                shutil.rmtree(target)
            os.replace(made, target)
        finally:
            shutil.rmtree(made, ignore_errors=True)


def remove_temporaries(folder: Path) -> None:
    """Remove what killed writers left in a folder that only this process writes."""
    for path in folder.glob(f"*{TEMPORARY}"):
        if not is_stream(path):
            path.unlink()


def lock(file: IO | int) -> bool | None:
    """Lock an open file until it is closed or its process ends; False if it is already locked.

    A folder is locked by the number of its descriptor.

    None if the system, or the file's file system, has no such locks.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
