"""Looking up rows of a table, and the gradient of the table: the NumPy original."""

import numpy as np
from numpy.typing import NDArray


def embedding_forward(E: NDArray, ids: NDArray[np.int64]) -> NDArray:
    """E (V, D), ids (N,) -> the rows of E (N, D)."""
    return E[ids]


def embedding_backward(dy: NDArray, ids: NDArray[np.int64], V: int) -> NDArray:
    """dE (V, D): in row v the sum of those rows of dy (N, D) whose id is v.

    Sorted by id, the rows of one id lie together, and are added in one go:
    several times as fast as np.add.at.
    """
    dE = np.zeros((V, dy.shape[1]), dy.dtype)
    if len(ids) > 0:
        order = np.argsort(ids, kind="stable")
        rows, starts = np.unique(ids[order], return_index=True)
        dE[rows] = np.add.reduceat(dy[order], starts)
    return dE
