"""Pooling: one vector for a sequence of any length.

x (B, T, D), lengths (B,) or None -> y (B, D).  Steps past a row's length do not count.  A row
without steps is pooled to zero.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm import checks
from minillm.ops.padding import length_mask, zero_padding


@checks.op
def mean_pool(x: NDArray, lengths: NDArray[np.integer] | None = None) -> tuple[NDArray, Callable]:
    """The mean over time: y = sum over t of x_t / length.

    ``backward(dy)`` -> dx = dy / length at each step.  Keeps the lengths.
    """
    B, T, D = checks.floats("mean_pool", x=(x, "B T D")).values()
    steps = checks.sequence_lengths("mean_pool", lengths, B, T)
    count = np.maximum(steps, 1)[:, None].astype(x.dtype)  # (B, 1)
    y = zero_padding(x, steps).sum(axis=1) / count

    def backward(dy):
        share = (dy / count)[:, None]  # (B, 1, D)
        return zero_padding(np.broadcast_to(share, (B, T, D)), steps)

    return y, backward


@checks.op
def max_pool(x: NDArray, lengths: NDArray[np.integer] | None = None) -> tuple[NDArray, Callable]:
    """The largest value of each feature over time: y_d = max over t of x_td.

    ``backward(dy)`` -> dx: dy at the place of the largest value (the first, if several are
    equal), else 0.  Keeps that place.
    Source: Collobert and Weston (2008), "A unified architecture for natural language
    processing", section 3.3.
    """
    B, T, D = checks.floats("max_pool", x=(x, "B T D")).values()
    steps = checks.sequence_lengths("max_pool", lengths, B, T)
    dtype = x.dtype
    among = np.where(length_mask(steps, T)[..., None], x, -np.inf)
    place = among.argmax(axis=1)[:, None]  # (B, 1, D)
    empty = (steps == 0)[:, None]
    y = np.where(empty, 0, np.take_along_axis(x, place, axis=1)[:, 0])

    def backward(dy):
        dx = np.zeros((B, T, D), dtype)
        np.put_along_axis(dx, place, np.where(empty, 0, dy)[:, None], axis=1)
        return dx

    return y, backward
