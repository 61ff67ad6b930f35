"""Token shards: a corpus as ids on disk, which may be larger than memory.

A folder of raw integers, a vocabulary and an index:

    00000.bin, 00001.bin, ...   the ids, little-endian, without any header
    vocabulary.json             the vocabulary, in the format of a run
    index.json                  a description of the shards:

    {"format_version": 5,
     "dtype": "uint16",                   or uint32, if the vocabulary is larger than 65,536
     "vocabulary": 50257, "eos": 50256,   its size; the id that follows each document, or null
     "tokenizer_sha256": "...",
     "source": {"files": [...], "characters": ..., ...},
     "shards": [{"file": "00000.bin", "tokens": ..., "sha256": "..."}, ...],
     "sha256": "..."}                     the fingerprint of these entries

:class:`Shards` reads such a folder, with a plain read for each stretch of ids.  With a memory map,
the same bytes would count as memory of the process, and truncating a mapped file would end the
process.

:mod:`minillm.data.tokenizing` writes such folders.
"""

import copy
import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable, Mapping
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data.files import file_digest, fill, read_json, write_file
from minillm.errors import InputError, short

FORMAT_VERSION = 5
HELD_OUT = 10_000_000  # the most tokens that are held out


class Shards:
    """The ids of a folder of shards as one long array, read on demand.

    >>> shards = Shards("corpus")  # doctest: +SKIP
    >>> len(shards), shards[10:20], shards[np.array([[0, 1], [7, 8]])]  # doctest: +SKIP

    ``path``; ``dtype`` of the ids; ``vocabulary``, its size; ``tokenizer``, its JSON form;
    ``eos``; ``sha256``, a fingerprint of ids and vocabulary; ``source``, a description of the text.

    Opening checks the index and the sizes of the shards.  Reading checks that each id is below the
    size of the vocabulary.  :meth:`verify` reads everything.  InputError names the file, and the
    place of an id past the vocabulary.
    """

    def __init__(self, folder: str | Path):
        self.path = Path(folder)
        index = read_index(self.path)
        self.dtype = np.dtype(index["dtype"]).newbyteorder("<")
        self.vocabulary, self.eos, self.source = map(
            index.__getitem__, ("vocabulary", "eos", "source")
        )
        self._entries = index["shards"]
        digests = [index["tokenizer_sha256"], [entry["sha256"] for entry in self._entries]]
        self.sha256 = hashlib.sha256(json.dumps(digests).encode()).hexdigest()
        self.tokenizer = read_json(self.path / "vocabulary.json")
        if digest_of(self.tokenizer) != index["tokenizer_sha256"]:
            raise InputError(
                f"{self.path / 'vocabulary.json'}: expected the vocabulary that the shards were "
                "made with, found another"
            )
        self._begins = [0, *accumulate(entry["tokens"] for entry in self._entries)]
        for entry in self._entries:
            path, size = self.path / entry["file"], entry["tokens"] * self.dtype.itemsize
            found = path.stat().st_size if path.is_file() else 0
            if found != size:
                raise InputError(
                    f"{path}: expected {entry['tokens']:,} ids of {self.dtype.itemsize} bytes, "
                    f"found {found:,} bytes: it is missing, truncated or damaged"
                )
        self._start, self._stop = 0, self._begins[-1]  # of this part of the whole

    def __len__(self) -> int:
        return self._stop - self._start

    def part(self, start: int, stop: int) -> "Shards":
        """The tokens from ``start`` to ``stop`` as Shards; nothing is copied."""
        part = copy.copy(self)
        part._start, part._stop = self._start + start, self._start + min(stop, len(self))
        return part

    def split(self) -> "tuple[Shards, Shards]":
        """The training tokens, and the last tenth, at most HELD_OUT tokens, for validation."""
        cut = len(self) - min(len(self) - len(self) * 9 // 10, HELD_OUT)
        return self.part(0, cut), self.part(cut, len(self))

    def __getitem__(self, places: slice | NDArray[np.integer]) -> NDArray:
        """The ids of a slice, or the ids at an array of places, of any shape.

        Consecutive places, such as a window's, are read at once.
        """
        if isinstance(places, slice):
            start, stop, step = places.indices(len(self))
            if step == 1:
                return self._read(self._start + start, self._start + max(start, stop))
            places = np.arange(start, stop, step)
        flat = np.asarray(places).ravel()
        if flat.size and not 0 <= flat.min() <= flat.max() < len(self):
            raise IndexError(f"places: expected 0 to {len(self) - 1}, found {places}")
        breaks = np.flatnonzero(np.diff(flat) != 1) + 1
        ids = np.empty(flat.size, self.dtype)
        for begin, end in pairwise([0, *breaks.tolist(), flat.size]):
            if begin < end:
                first = self._start + int(flat[begin])
                ids[begin:end] = self._read(first, first + end - begin)
        return ids.reshape(np.shape(places))

    def _read(self, start: int, stop: int) -> NDArray:
        """The ids from one place of the whole to another, from as many shards as they span."""
        ids = np.empty(stop - start, self.dtype)
        at = start
        while at < stop:
            number = bisect_right(self._begins, at) - 1
            piece = ids[at - start : self._begins[number + 1] - start]
            path, first = self.path / self._entries[number]["file"], at - self._begins[number]
            try:
                with open(path, "rb", buffering=0) as file:
                    fill(piece, file, str(path), first * ids.itemsize)
            except OSError as error:
                raise InputError(f"{path}: cannot be read: {error.strerror}") from None
            if piece.max() >= self.vocabulary:
                wrong = int(np.argmax(piece >= self.vocabulary))
                raise InputError(
                    f"{path}, token {first + wrong}: expected an id below {self.vocabulary}, "
                    f"found {piece[wrong]}"
                )
            at += len(piece)
        return ids

    def verify(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Read the shards once: InputError if one has changed since it was written.

        ``progress`` is called with the number of bytes that have been read, and their total.
        """
        read, total = 0, len(self) * self.dtype.itemsize
        for entry in self._entries:
            path = self.path / entry["file"]
            if file_digest(path, regular=True) != entry["sha256"]:
                raise InputError(
                    f"{path}: expected what was written, found other bytes: it is damaged"
                )
            read += entry["tokens"] * self.dtype.itemsize
            if progress is not None:
                progress(read, total)


# --- the index --------------------------------------------------------------------------


def read_index(folder: Path) -> dict[str, Any]:
    """Read and check the index."""
    path = folder / "index.json"
    if not path.exists():
        raise InputError(
            f"{folder}: there are no shards in it (no index.json): `minillm tokenize` makes them"
        )
    index = read_json(path)
    version = index.get("format_version")
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path}: expected format version {FORMAT_VERSION}, found {short(version)}: it was "
            "written by another version of minillm"
        )
    if index.pop("sha256", None) != digest_of(index):
        raise InputError(f"{path}: expected what `minillm tokenize` wrote, found it damaged")
    return index


def digest_of(values: Mapping[str, Any]) -> str:
    """The fingerprint of an object of JSON."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write an object, whole or not at all."""
    text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    write_file(path, text.encode("utf-8", "surrogatepass"))
