"""Batches of rows of similar length, so that little work is spent on padding."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray


def batches_in_order(
    order: Sequence[int] | NDArray[np.integer],
    lengths: Sequence[int] | NDArray[np.integer],
    *,
    rows: float = math.inf,
    tokens: float = math.inf,
    padding: float = math.inf,
) -> Iterator[NDArray[np.int64]]:
    """The numbers of the rows of each batch, from an ``order`` that is sorted by length.

    A batch has at most this many ``rows``, ``tokens`` (with its padding), and tokens that are
    ``padding``; or it is one row.

    >>> lengths = [3, 100, 4, 95]
    >>> [batch.tolist() for batch in batches_in_order([1, 3, 2, 0], lengths, padding=40)]
    [[1, 3], [2, 0]]
    """
    batch: list[int] = []
    longest = real = 0
    for row in map(int, order):
        length = int(lengths[row])
        longest, real = max(longest, length), real + length
        size = longest * (len(batch) + 1)
        if batch and (len(batch) == rows or size > tokens or size - real > padding):
            yield np.array(batch)
            batch, longest, real = [], length, length
        batch.append(row)
    if batch:
        yield np.array(batch)
