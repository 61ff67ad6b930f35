"""Sequences of unequal lengths in one array: row b has lengths[b] steps, then padding."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Integers (B,), or None: all steps.  In the op itself it is an array, as declared.
OptionalLengths = Any


def length_mask(lengths: NDArray[np.integer], T: int) -> NDArray[np.bool_]:
    """A mask (B, T) that is True at the steps before each row's length."""
    return np.arange(T) < lengths[:, None]


def zero_padding(x: NDArray[Any], lengths: NDArray[np.integer]) -> NDArray[Any]:
    """x (B, ..., T, D) with zeros in the padding, with any number of axes between.

    The padding is replaced, not multiplied: it may be NaN or infinite, and zero times either
    is NaN.
    """
    B, T = len(x), x.shape[-2]
    between = [1] * (x.ndim - 3)
    return np.where(length_mask(lengths, T).reshape(B, *between, T, 1), x, 0)
