"""Dropout in training only."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm import ops


def dropout(
    x: NDArray, rate: float, rng: np.random.Generator | None = None
) -> tuple[NDArray, Callable[[NDArray], NDArray]]:
    """``ops.dropout`` if there is an rng (in training), else x itself."""
    if rng is None or rate == 0:
        return x, lambda dy: dy
    return ops.dropout(x, rate, rng)
