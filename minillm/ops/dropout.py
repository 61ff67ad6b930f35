"""Dropout."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm.checks import op


def dropout(
    x: NDArray, rate: float, rng: np.random.Generator | None = None
) -> tuple[NDArray, Callable]:
    """In training, zero each entry with probability ``rate``, and scale the rest to keep the mean.

        y = x m / (1 - rate)        m = 0 with probability rate, otherwise 1

    x of any shape.  ``backward(dy)`` -> dx = dy m / (1 - rate).  Keeps m.

    The same rng state draws the same mask.  Without rng, as in evaluation, or with a rate of 0,
    y is x itself: the scaling is done in training ("inverted" dropout).

    Source: Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov (2014),
    "Dropout: a simple way to prevent neural networks from overfitting".
    """
    if rng is None or rate == 0:
        return x, lambda dy: dy
    return _dropout(x, rate, rng)


@op("x: ..., rate: below_one, rng: generator -> y: ...")
def _dropout(x: NDArray, rate: float, rng: np.random.Generator) -> tuple[NDArray, Callable]:
    mask = rng.random(x.shape, dtype=x.dtype.type) >= rate
    scale = x.dtype.type(1 / (1 - rate))
    y = x * mask * scale

    def backward(dy):
        return dy * mask * scale

    return y, backward
