"""Documents that a corpus has more than once: equal ones have equal digests.

The digests are kept on the disk, 16 bytes and a place for each document.  They are compared in
several passes, each over those that begin alike; in a pass, each rank compares a range of them.
So the memory depends neither on how many documents there are, nor on who has read them.
"""

import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.mpi import Ranks

PASS = 1 << 19  # digests that a rank compares at a time
_BLOCK = 1 << 18  # digests that are read at a time


class Digests:
    """The digests of documents, each with its place: ``with Digests() as digests``.

    They are three 64-bit numbers each, in a temporary file.
    """

    def __enter__(self) -> "Digests":
        self._file = tempfile.TemporaryFile(prefix="minillm-")
        self.count = 0
        return self

    def __exit__(self, *error: Any) -> None:
        self._file.close()

    def add(self, digest: bytes, place: int) -> None:
        """16 bytes of ``digest``, and the ``place``: of equal documents the first stays."""
        self._file.write(digest[:16] + place.to_bytes(8, sys.byteorder))
        self.count += 1

    def blocks(self) -> Iterator[NDArray[np.uint64]]:
        """Arrays (n, 3)."""
        self._file.seek(0)
        while data := self._file.read(24 * _BLOCK):
            yield np.frombuffer(data, np.uint64).reshape(-1, 3)


def repeated(digests: Digests, ranks: Ranks) -> NDArray[np.bool_]:
    """Whether the corpus has an equal document at an earlier place, for each one of this rank."""
    found = np.zeros(digests.count, bool)
    passes = 1 + sum(ranks.gather(digests.count)) // (PASS * ranks.size)
    for number in range(passes):
        mine: list[list[NDArray]] = [[] for _ in range(ranks.size)]
        rows: list[list[NDArray]] = [[] for _ in range(ranks.size)]
        at = 0
        for block in digests.blocks():
            group = (block[:, 0] >> np.uint64(32)) * np.uint64(passes * ranks.size) >> np.uint64(32)
            for rank in range(ranks.size):
                here = np.flatnonzero(group == number * ranks.size + rank)
                mine[rank].append(block[here].ravel())
                rows[rank].append(at + here)
            at += len(block)
        none = np.zeros(0, np.uint64)
        received = ranks.exchange([np.concatenate([none, *parts]) for parts in mine])
        ends = np.cumsum([len(part) // 3 for part in received])
        later = _later_ones(np.concatenate(received).reshape(-1, 3))
        answers = ranks.exchange(np.split(later, ends[:-1]))
        for parts, answer in zip(rows, answers, strict=True):
            if parts:
                found[np.concatenate(parts)] = answer
    return found


def _later_ones(digests: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which of (n, 3) have the digest of one at an earlier place."""
    order = np.lexsort(digests.T[::-1])
    ordered = digests[order, :2]
    later = np.zeros(len(digests), bool)
    later[order[1:]] = (ordered[1:] == ordered[:-1]).all(axis=1)
    return later
