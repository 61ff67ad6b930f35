"""Softmax over the last axis, and the forms of it that other pages use.

``softmax_forward`` and ``softmax_backward`` are the equations without the checks.
``log_softmax`` is the logarithm, and ``masked_softmax`` leaves entries out.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm.checks import op


@op("x: ... D -> y: ... D")
def softmax(x: NDArray) -> tuple[NDArray, Callable]:
    """Positive weights that sum to one over the last axis: y_i = exp(x_i) / sum_j exp(x_j).

    x (..., D) -> y (..., D).  ``backward(dy)`` -> dx.  Keeps y.

    Since dy_i/dx_j = y_i ([i = j] - y_j),

        dx_j = y_j (dy_j - sum_i dy_i y_i)

    The largest x is subtracted first: it cancels, and exp cannot overflow.
    An entry of minus infinity gets weight zero and gradient zero.  Each row needs
    at least one finite entry.

    Source: Bridle (1990), "Probabilistic interpretation of feedforward
    classification network outputs".
    """
    y = softmax_forward(x)

    def backward(dy):
        return softmax_backward(dy, y)

    return y, backward


def exponentials(x: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """x (..., D) -> z = x - max(x), exp(z), and their sum (..., 1)."""
    z = x - x.max(axis=-1, keepdims=True)
    exp_z = np.exp(z)
    return z, exp_z, exp_z.sum(axis=-1, keepdims=True)


def softmax_forward(x: NDArray) -> NDArray:
    """x (..., D) -> softmax(x) (..., D)."""
    _, exp_z, total = exponentials(x)
    return exp_z / total


def softmax_backward(dy: NDArray, y: NDArray) -> NDArray:
    """dy, y (..., D) -> dx (..., D)."""
    return y * (dy - (dy * y).sum(axis=-1, keepdims=True))


def log_softmax(x: NDArray) -> NDArray:
    """x (..., D) -> log(softmax(x)) (..., D), without the rounding of small probabilities to 0."""
    z, _, total = exponentials(x)
    return z - np.log(total)


def masked_softmax(x: NDArray, allowed: NDArray[np.bool_]) -> tuple[NDArray, NDArray]:
    """x (..., D), allowed (..., D) -> softmax over the allowed, and log(sum of exp(x)) (..., 1).

    All other weights are zero, whatever x is.  If no allowed x is above minus infinity, all
    weights are zero, and so is the logarithm.
    """
    x = np.where(allowed, x, -np.inf)
    largest = x.max(axis=-1, keepdims=True)
    largest = np.where(largest == -np.inf, 0, largest)
    exp_z = np.exp(x - largest)
    total = exp_z.sum(axis=-1, keepdims=True)
    total = np.where(total == 0, 1, total)
    return np.where(allowed, exp_z / total, 0), largest + np.log(total)
