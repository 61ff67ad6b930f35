"""Sequences of unequal lengths in one array: row b is valid up to lengths[b], then padding."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def valid(lengths: NDArray[np.int64], T: int) -> NDArray[np.bool_]:
    """Which of T steps belong to each row: (B, T)."""
    return np.arange(T) < lengths[:, None]


def cut(x: NDArray[Any], lengths: NDArray[np.int64]) -> NDArray[Any]:
    """Zeros in the padding of x (B, ..., T, D), with any number of axes between.

    What stands there may be NaN or infinite, and zero times either is NaN.
    """
    B, T = len(x), x.shape[-2]
    between = [1] * (x.ndim - 3)
    return np.where(valid(lengths, T).reshape(B, *between, T, 1), x, 0)
