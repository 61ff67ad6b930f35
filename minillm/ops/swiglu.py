"""A gated activation function: the non-linearity in the feed-forward layers of today."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import twinned
from minillm.checks import op
from minillm.ops.activations import logistic


@op("x: ... 2F -> y: ... F")
def swiglu(x: NDArray) -> tuple[NDArray, Callable]:
    """One half of each row gates the other.

        [gate, up] = x        y = silu(gate) up        silu(gate) = gate s, s = sigmoid(gate)

    x (..., 2 F) -> y (..., F).  ``backward(dy)`` -> dx.  Keeps x.

    In a product, the slope by one factor is the other factor:

        dup = dy silu(gate)        dgate = dy up s (1 + gate (1 - s))

    Source: Shazeer (2020), "GLU variants improve Transformer", equation 6.
    """
    shape, F = x.shape, x.shape[-1] // 2
    rows = x.reshape(-1, 2 * F)
    y = swiglu_forward(rows).reshape(*shape[:-1], F)

    def backward(dy):
        return swiglu_backward(dy.reshape(-1, F), rows).reshape(shape)

    return y, backward


@twinned
def swiglu_forward(x: NDArray) -> NDArray:
    """x (N, 2 F) -> y (N, F)."""
    gate, up = np.split(x, 2, axis=1)
    return gate * logistic(gate) * up


@twinned
def swiglu_backward(dy: NDArray, x: NDArray) -> NDArray:
    """dy (N, F), x (N, 2 F) -> dx (N, 2 F)."""
    gate, up = np.split(x, 2, axis=1)
    s = logistic(gate)
    # y = silu(gate) up, where silu(gate) = gate s and ds/dgate = s (1 - s)
    return np.concatenate([dy * up * s * (1 + gate * (1 - s)), dy * gate * s], axis=1)
