"""Documents that occur more than once in a corpus: equal documents have equal digests.

The digests are kept on disk, 16 bytes and a place for each document.  They are compared in several
passes, each over digests with the same first bits.  In a pass, each rank compares a range of them.
The memory does not depend on the number of documents.
"""

import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.data.files import naming
from minillm.mpi import Ranks

PASS = 1 << 19  # digests that a rank compares at a time
_BLOCK = 1 << 18  # digests that are read at a time


class Digests:
    """The digests of documents, each with its place: ``with Digests() as digests``.

    They are three 64-bit numbers each, in a temporary file.
    """

    def __enter__(self) -> "Digests":
        self._folder = tempfile.gettempdir()  # the file itself has no name
        self._file = tempfile.TemporaryFile(prefix="minillm-")
        self.count = 0
        return self

    def __exit__(self, *error: Any) -> None:
        with naming(self._folder):
            self._file.close()

    def add(self, digest: bytes, place: int) -> None:
        """Add 16 bytes of ``digest``, and the ``place``; the first of equal documents is kept."""
        with naming(self._folder):
            self._file.write(digest[:16] + place.to_bytes(8, sys.byteorder))
        self.count += 1

    def blocks(self) -> Iterator[NDArray[np.uint64]]:
        """Arrays (n, 3)."""
        with naming(self._folder):
            self._file.seek(0)
        while data := self._file.read(24 * _BLOCK):
            yield np.frombuffer(data, np.uint64).reshape(-1, 3)


def repeated(digests: Digests, ranks: Ranks) -> NDArray[np.bool_]:
    """For each document of this rank, whether the corpus has an equal one at an earlier place."""
    is_repeated = np.zeros(digests.count, bool)
    passes = 1 + sum(ranks.gather(digests.count)) // (PASS * ranks.size)
    for number in range(passes):
        sent: list[list[NDArray]] = [[] for _ in range(ranks.size)]
        rows: list[list[NDArray]] = [[] for _ in range(ranks.size)]
        start = 0
        for block in digests.blocks():
            group = (block[:, 0] >> np.uint64(32)) * np.uint64(passes * ranks.size) >> np.uint64(32)
            for rank in range(ranks.size):
                chosen = np.flatnonzero(group == number * ranks.size + rank)
                sent[rank].append(block[chosen].ravel())
                rows[rank].append(start + chosen)
            start += len(block)
        none = np.zeros(0, np.uint64)
        received = ranks.exchange([np.concatenate([none, *blocks]) for blocks in sent])
        ends = np.cumsum([len(part) // 3 for part in received])
        later = _later_ones(np.concatenate(received).reshape(-1, 3))
        answers = ranks.exchange(np.split(later, ends[:-1]))
        for blocks, answer in zip(rows, answers, strict=True):
            if blocks:
                is_repeated[np.concatenate(blocks)] = answer
    return is_repeated


def _later_ones(digests: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """For each row of (n, 3), whether a row with an earlier place has the same digest."""
    order = np.lexsort(digests.T[::-1])
    ordered = digests[order, :2]
    later = np.zeros(len(digests), bool)
    later[order[1:]] = (ordered[1:] == ordered[:-1]).all(axis=1)
    return later
