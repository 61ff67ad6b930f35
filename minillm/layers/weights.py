"""Weights that know how to multiply.

A weight in a model's parameters is an array, or an object that a layer uses in place of one: a
matrix of integers with scales (:mod:`minillm.quantised`), or a matrix to which a product of
two thin ones is added (:mod:`minillm.training.lora`).  Layers ask such a weight for its product,
and for the gradients of whatever is trained in it.  Ops work on arrays only.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from minillm import checks, ops
from minillm.layers.gradients import is_trained
from minillm.layers.types import Gradients, Ids, Params


class Weight(Protocol):
    """A matrix (I, O) that is not an array."""

    dtype: np.dtype
    ndim: int
    shape: tuple[int, int]
    size: int

    def linear(
        self, x: NDArray, b: NDArray | None = None
    ) -> tuple[NDArray, Callable[[NDArray], tuple[NDArray, Gradients]]]:
        """y = x W + b: x (..., I) -> y (..., O).

        ``backward(dy)`` -> dx, and the gradients of what is trained in the weight, by the ends of
        their names: {".A": dA, ".B": dB}.
        """

    def rows(self, ids: Ids) -> NDArray:
        """The rows of a table, which are constant: ids (...) -> (..., O)."""

    @property
    def T(self) -> Any:
        """The transpose."""


def product(
    params: Params, W: str, x: NDArray, b: str | None = None
) -> tuple[NDArray, Callable[[NDArray], tuple[NDArray, Gradients]]]:
    """y = x W + b, of the weight and the bias of these names; no bias if there is none.

    x (..., I) -> y (..., O).  ``backward(dy)`` -> dx, gradients by name.  Of a weight that is not
    trained, x is not kept, and no gradient is computed.
    """
    weight, bias = params[W], None if b is None else params.get(b)
    if not isinstance(weight, np.ndarray):
        y, weight_backward = weight.linear(x, bias)
    elif not is_trained(params, W):
        y, weight_backward = _constant(x, weight, bias)
    else:
        y, linear_backward = ops.linear(x, weight, bias)
        names = W, b

        def backward(dy):
            dx, *gradients = linear_backward(dy)
            return dx, dict(zip(names, gradients, strict=False))  # no db where there is no b

        return y, backward
    biases = [] if b is None or bias is None or not is_trained(params, b) else [b]

    def backward_of_others(dy):
        dx, of_weight = weight_backward(dy)
        gradients = {W + end: gradient for end, gradient in of_weight.items()}
        return dx, gradients | {b: dy.reshape(-1, dy.shape[-1]).sum(axis=0) for b in biases}

    return y, backward_of_others


def _constant(
    x: NDArray, W: NDArray, b: NDArray | None
) -> tuple[NDArray, Callable[[NDArray], tuple[NDArray, Gradients]]]:
    """y = x W + b of a constant W.  ``backward(dy)`` -> dx, no gradients.  Keeps W."""
    transpose = W.T  # its shape stays, whatever the caller does
    y, _ = ops.linear(x, W, b)
    upstream = checks.upstream("dense", dy=y)
    return y, lambda dy: (ops.linear(upstream(dy), transpose)[0], {})
