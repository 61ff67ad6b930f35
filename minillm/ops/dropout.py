"""Dropout."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm.ops import _validate


def dropout(x: NDArray, rate: float, rng: np.random.Generator) -> tuple[NDArray, Callable]:
    """Zero each entry with probability ``rate``, and scale the rest to keep the mean.

        y = x m / (1 - rate)        m = 0 with probability rate, else 1

    x of any shape.  ``backward(dy)`` -> dx = dy m / (1 - rate).  Keeps m.

    The same rng state draws the same mask.  At evaluation, leave it out: the
    scaling is done here ("inverted" dropout).

    Raises ValueError for a rate outside [0, 1).
    Source: Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov (2014),
    "Dropout: a simple way to prevent neural networks from overfitting".
    """
    dtype = x.dtype
    _validate.floats("dropout", x=(x, "..."))
    if not 0 <= rate < 1:
        raise ValueError(f"dropout: rate must lie in [0, 1), found {rate}")
    mask = rng.random(x.shape, dtype=dtype) >= rate
    scale = dtype.type(1 / (1 - rate))
    y = x * mask * scale

    def backward(dy):
        return dy * mask * scale

    return y, backward
