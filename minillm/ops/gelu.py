"""The Gaussian error linear unit."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import twinned
from minillm.ops import _validate

_SCALE = float(np.sqrt(2 / np.pi))


def gelu(x: NDArray) -> tuple[NDArray, Callable]:
    """The Gaussian error linear unit, in the tanh form that BERT and GPT use.

        y = x (1 + tanh(u)) / 2        u = sqrt(2 / pi) (x + 0.044715 x^3)

    x of any shape.  ``backward(dy)`` -> dx.  Keeps x.

        dy/dx = (1 + tanh(u)) / 2 + x (1 - tanh(u)^2) u' / 2
        u' = sqrt(2 / pi) (1 + 3 * 0.044715 x^2)

    Source: Hendrycks and Gimpel (2016), "Gaussian error linear units", section
    2; it lies within 0.0005 of the exact form x Phi(x).
    """
    _validate.floats("gelu", x=(x, "..."))
    shape = x.shape
    flat = _validate.contiguous(x)[0].ravel()
    y = gelu_forward(flat).reshape(shape)
    upstream = _validate.upstream("gelu", dy=y)

    def backward(dy):
        return gelu_backward(upstream(dy).ravel(), flat).reshape(shape)

    return y, backward


@twinned
def gelu_forward(x: NDArray) -> NDArray:
    """x (N,) -> y (N,)."""
    u = _SCALE * (x + 0.044715 * x * x**2)  # x**3 would call pow, at 30 times the cost
    return x * (1 + np.tanh(u)) / 2


@twinned
def gelu_backward(dy: NDArray, x: NDArray) -> NDArray:
    """dy, x (N,) -> dx (N,)."""
    t = np.tanh(_SCALE * (x + 0.044715 * x * x**2))
    # u = scale (x + 0.044715 x^3)
    du = _SCALE * (1 + 3 * 0.044715 * x**2)
    # y = x (1 + tanh(u)) / 2
    return dy * ((1 + t) / 2 + x * (1 - t**2) * du / 2)
