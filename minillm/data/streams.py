"""Texts larger than memory: they are read a block at a time, and their ids are kept on disk."""

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from minillm.data.corpora import BLOCK, text_blocks
from minillm.data.files import MOST_IN_MEMORY, naming, read_once
from minillm.data.python_texts import DEFAULT_TEXT

_SPILL = "minillm-spill-"


class TextStream:
    """The text that `read_text` would return, in blocks of whole lines, any number of times.

    Standard input, a pipe and a device are read once, and kept in memory, at most MOST_IN_MEMORY
    bytes of each.  A line longer than a block is cut between words.  The whole text is read once
    for its number of ``characters`` and its ``sha256``.  InputError, as from `read_text`, for bytes
    that are not UTF-8.  progress is called with a line of text after each block.
    """

    def __init__(
        self,
        files: Sequence[str],
        block: int = BLOCK,
        progress: Callable[[str], None] = lambda line: None,
    ):
        self.files, self.block = list(files) or [DEFAULT_TEXT], block
        once = any(map(read_once, self.files))
        self._kept = list(self._read(MOST_IN_MEMORY)) if once else None
        digest, self.characters = hashlib.sha256(), 0
        for text in self.blocks():
            digest.update(text.encode("utf-8", "surrogatepass"))
            self.characters += len(text)
            progress(f"{self.characters:,} characters checked")
        self.sha256 = digest.hexdigest()

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[str]:
        """The text from character ``start`` to ``stop``."""
        at = 0
        for text in self._read() if self._kept is None else self._kept:
            begin, end = start - at, len(text) if stop is None else stop - at
            at += len(text)
            if begin < len(text) and end > 0:
                yield text[max(0, begin) : end]

    def _read(self, most: int | None = None) -> Iterator[str]:
        for name in self.files:
            yield from text_blocks(name, self.block, most)


class Spill:
    """A temporary folder for arrays that do not fit into memory: ``with Spill() as spill``.

    It is in the folder TMPDIR; by default, in the system's folder for temporary files.
    """

    def __enter__(self) -> "Spill":
        self._temporary = tempfile.TemporaryDirectory(prefix=_SPILL, ignore_cleanup_errors=True)
        self._folder, self._number = Path(self._temporary.name), 0
        return self

    def __exit__(self, *error: Any) -> None:
        self._temporary.cleanup()

    def new(self, dtype: DTypeLike) -> "OnDisk":
        """An array without elements, to be extended."""
        self._number += 1
        return OnDisk(self._folder / str(self._number), dtype)

    def keep(self, array: NDArray) -> "OnDisk":
        """The array, moved to disk."""
        return self.new(array.dtype).extend(array)


class OnDisk:
    """An array (N,) in a file, which grows at its end; its slices are read on demand.

    The file is deleted with this object.
    """

    def __init__(self, path: Path, dtype: DTypeLike):
        self.path, self.dtype, self.length = path, np.dtype(dtype), 0

    def extend(self, array: NDArray) -> "OnDisk":
        """Add an array of any dtype at the end; return this object."""
        with naming(self.path), open(self.path, "ab") as file:
            file.write(np.ascontiguousarray(array, self.dtype).data)
        self.length += len(array)
        return self

    @property
    def shape(self) -> tuple[int]:
        """The shape, (N,)."""
        return (self.length,)

    @property
    def nbytes(self) -> int:
        """The size in bytes."""
        return self.length * self.dtype.itemsize

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, places: slice) -> NDArray:
        start, stop, _ = places.indices(self.length)
        if stop <= start:
            return np.zeros(0, self.dtype)
        offset = start * self.dtype.itemsize
        with naming(self.path):
            return np.fromfile(self.path, self.dtype, stop - start, offset=offset)

    def blocks(self, size: int) -> Iterator[NDArray]:
        """The elements, ``size`` at a time."""
        for at in range(0, self.length, size):
            yield self[at : at + size]

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> NDArray:
        return self[:].astype(dtype or self.dtype, copy=False)

    def __del__(self) -> None:
        self.path.unlink(missing_ok=True)


def regroup(pieces: Iterable[NDArray], size: int) -> Iterator[NDArray]:
    """The same numbers in arrays of ``size``; the last one may be shorter."""
    waiting: list[NDArray] = []
    total = 0
    for piece in pieces:
        while total + len(piece) >= size:
            cut = size - total
            yield np.concatenate([*waiting, piece[:cut]])
            waiting, total, piece = [], 0, piece[cut:]
        waiting.append(piece)
        total += len(piece)
    if total:
        yield np.concatenate(waiting)


def sentence_starts(
    pieces: Iterable[NDArray[np.int32]], start: int, line_end: int | None
) -> Iterator[NDArray[np.int32]]:
    """The ids of a text in pieces, with ``start`` before the first and after each line's end."""
    opening = True
    for ids in pieces:
        if len(ids):
            ends = np.zeros(0, int) if line_end is None else np.flatnonzero(ids[:-1] == line_end)
            at = np.concatenate([[0], ends + 1]) if opening else ends + 1
            yield np.insert(ids, at, start).astype(np.int32)
            opening = line_end is not None and bool(ids[-1] == line_end)
