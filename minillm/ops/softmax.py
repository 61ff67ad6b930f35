"""Softmax over the last axis."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm.ops import _validate


def softmax(x: NDArray) -> tuple[NDArray, Callable]:
    """Positive weights that sum to one over the last axis: y_i = exp(x_i) / sum_j exp(x_j).

    x (..., D) -> y (..., D).  ``backward(dy)`` -> dx.  Keeps y.

    Since dy_i/dx_j = y_i ([i = j] - y_j),

        dx_j = y_j (dy_j - sum_i dy_i y_i)

    The largest x is subtracted first: it cancels, and exp cannot overflow.
    An entry of minus infinity gets weight zero and gradient zero; at least one
    in each row must be finite.

    Source: Bridle (1990), "Probabilistic interpretation of feedforward
    classification network outputs".
    """
    _validate.floats("softmax", x=(x, "... D"))
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    y = exponentials / exponentials.sum(axis=-1, keepdims=True)
    upstream = _validate.upstream("softmax", dy=y)

    def backward(dy):
        dy = upstream(dy)
        return y * (dy - (dy * y).sum(axis=-1, keepdims=True))

    return y, backward
