"""Dropout in training only."""

from collections.abc import Callable

from numpy.typing import NDArray

from minillm import ops
from minillm.layers.types import Rng


def dropout(x: NDArray, rate: float, rng: Rng = None) -> tuple[NDArray, Callable]:
    """``ops.dropout`` where there is an rng, which is in training; else x itself."""
    if rng is None or rate == 0:
        return x, lambda dy: dy
    return ops.dropout(x, rate, rng)
