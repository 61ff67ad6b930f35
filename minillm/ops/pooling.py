"""From a sequence to one vector, however long it is.

x (B, T, D), lengths (B,) or None -> y (B, D); steps past a row's length do not count, and
the pool of a row without steps is zero.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm.ops import _validate


def mean_pool(x: NDArray, lengths: NDArray[np.integer] | None = None) -> tuple[NDArray, Callable]:
    """The mean over time: y = sum over t of x_t / length.

    ``backward(dy)`` -> dx = dy / length at each step.  Keeps the lengths.
    """
    real, count = _steps("mean_pool", x, lengths)
    y = np.where(real, x, 0).sum(axis=1) / count

    def backward(dy):
        return np.where(real, (dy / count)[:, None], 0)

    return y, backward


def max_pool(x: NDArray, lengths: NDArray[np.integer] | None = None) -> tuple[NDArray, Callable]:
    """The largest value over time, of each feature by itself: y_d = max over t of x_td.

    ``backward(dy)`` -> dx: dy where the largest stood (the first of equals), else 0.
    Keeps that place.
    Source: Collobert and Weston (2008), "A unified architecture for natural language
    processing", section 3.3.
    """
    real, _ = _steps("max_pool", x, lengths)
    place = np.where(real, x, -np.inf).argmax(axis=1)[:, None]  # (B, 1, D)
    there = np.take_along_axis(real, place[:, :, :1], axis=1)  # False in a row without steps
    y = np.where(there, np.take_along_axis(x, place, axis=1), 0)[:, 0]

    def backward(dy):
        dx = np.zeros(x.shape, x.dtype)
        np.put_along_axis(dx, place, np.where(there, dy[:, None], 0), axis=1)
        return dx

    return y, backward


def _steps(
    op: str, x: NDArray, lengths: NDArray[np.integer] | None
) -> tuple[NDArray[np.bool_], NDArray]:
    """Which steps count, (B, T, 1), and how many in each row, (B, 1), at least one."""
    B, T, _ = _validate.floats(op, x=(x, "B T D")).values()
    lengths = _validate.sequence_lengths(op, lengths, B, T)
    real = (np.arange(T) < lengths[:, None])[..., None]
    return real, np.maximum(lengths, 1)[:, None].astype(x.dtype)
