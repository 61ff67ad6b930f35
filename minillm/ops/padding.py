"""Sequences of unequal lengths in one array: row b has lengths[b] steps, then padding.

Pooling makes one vector of a sequence of any length:
x (B, T, D), lengths (B,) or None -> y (B, D).  Steps past a row's length do not count.  A row
without steps is pooled to zero.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.checks import op

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
    y = x.copy()
    np.moveaxis(y, -2, 1)[~length_mask(lengths, x.shape[-2])] = 0  # np.where takes 4 times as long
    return y


def zero_padded(x: NDArray[Any], lengths: NDArray[np.integer]) -> NDArray[Any]:
    """x (B, ..., T, D) with zeros in the padding: x itself, not a copy, if it has them already."""
    padding = np.moveaxis(x, -2, 1)[~length_mask(lengths, x.shape[-2])]
    return zero_padding(x, lengths) if padding.any() else x


@op("x: B T D, lengths: B <= T or T -> y: B D")
def mean_pool(x: NDArray, lengths: OptionalLengths = None) -> tuple[NDArray, Callable]:
    """The mean over time: y = sum over t of x_t / length.

    ``backward(dy)`` -> dx = dy / length at each step.  Keeps the lengths.
    """
    count = np.maximum(lengths, 1)[:, None].astype(x.dtype)  # (B, 1)
    y = zero_padding(x, lengths).sum(axis=1) / count

    def backward(dy):
        share = (dy / count)[:, None]  # (B, 1, D)
        return zero_padding(np.broadcast_to(share, x.shape), lengths)

    return y, backward


@op("x: B T D, lengths: B <= T or T -> y: B D")
def max_pool(x: NDArray, lengths: OptionalLengths = None) -> tuple[NDArray, Callable]:
    """The largest value of each feature over time: y_d = max over t of x_td.

    ``backward(dy)`` -> dx: dy at the place of the largest value (the first, if several are
    equal), else 0.  Keeps that place.
    Source: Collobert and Weston (2008), "A unified architecture for natural language
    processing", section 3.3.
    """
    shape, dtype = x.shape, x.dtype
    among = np.where(length_mask(lengths, shape[1])[..., None], x, -np.inf)
    place = among.argmax(axis=1)[:, None]  # (B, 1, D)
    empty = (lengths == 0)[:, None]
    y = np.where(empty, 0, np.take_along_axis(x, place, axis=1)[:, 0])

    def backward(dy):
        dx = np.zeros(shape, dtype)
        np.put_along_axis(dx, place, np.where(empty, 0, dy)[:, None], axis=1)
        return dx

    return y, backward
