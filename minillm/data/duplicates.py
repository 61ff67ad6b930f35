"""Documents that occur more than once in a corpus: equal documents have equal digests.

The digests are compared in several passes, each over digests with the same first bits.  In a pass,
each rank compares a range of them.  So their comparison takes little memory.
"""

import numpy as np
from numpy.typing import NDArray

from minillm.mpi import Ranks

PASS = 1 << 19  # digests that a rank compares at a time


def repeated(digests: NDArray[np.uint64], places: NDArray[np.uint64], ranks: Ranks) -> NDArray:
    """For each document of this rank, whether the corpus has an equal one at an earlier place.

    digests (n, 2), 16 bytes each; places (n,) in the corpus -> (n,), booleans.
    """
    rows = np.column_stack([digests, places])
    passes = 1 + sum(ranks.gather(len(rows))) // (PASS * ranks.size)
    groups = np.uint64(passes * ranks.size)
    group = (rows[:, 0] >> np.uint64(32)) * groups >> np.uint64(32)
    is_repeated = np.zeros(len(rows), bool)
    for first in range(0, passes * ranks.size, ranks.size):
        chosen = [np.flatnonzero(group == first + rank) for rank in range(ranks.size)]
        received = ranks.exchange([rows[own].ravel() for own in chosen])
        later = _later_ones(np.concatenate(received).reshape(-1, 3))
        ends = np.cumsum([len(part) // 3 for part in received])
        answers = ranks.exchange(np.split(later, ends[:-1]))
        is_repeated[np.concatenate(chosen)] = np.concatenate(answers)
    return is_repeated


def _later_ones(rows: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """For each row of (n, 3), whether a row with an earlier place has the same digest."""
    order = np.lexsort(rows.T[::-1])
    ordered = rows[order, :2]
    later = np.zeros(len(rows), bool)
    later[order[1:]] = (ordered[1:] == ordered[:-1]).all(axis=1)
    return later
