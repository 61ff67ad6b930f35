"""The Gaussian error linear unit."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import twinned
from minillm.checks import op

_SCALE = float(np.sqrt(2 / np.pi))
_DENSITY_AT_ZERO = float(np.sqrt(1 / (2 * np.pi)))  # of the standard normal distribution


@op("x: ..., approximate: flag -> y: ...")
def gelu(x: NDArray, approximate: bool = True) -> tuple[NDArray, Callable]:
    """The Gaussian error linear unit: x times the probability that a standard normal is below x.

        y = x Phi(x)        Phi(x) = (1 + erf(x / sqrt(2))) / 2

    or in the tanh form, a faster approximation that is within 0.0005:

        y = x (1 + tanh(u)) / 2        u = sqrt(2 / pi) (x + 0.044715 x^3)

    BERT and its sentence encoders are published with the exact form, GPT-2 with the tanh form.

    x of any shape.  ``backward(dy)`` -> dx.  Keeps x.

        exact:  dy/dx = Phi(x) + x exp(-x^2 / 2) / sqrt(2 pi)
        tanh:   dy/dx = (1 + tanh(u)) / 2 + x (1 - tanh(u)^2) u' / 2
                u' = sqrt(2 / pi) (1 + 3 * 0.044715 x^2)

    Source: Hendrycks and Gimpel (2016), "Gaussian error linear units", section 2.
    """
    flat = x.ravel()
    y = gelu_forward(flat) if approximate else exact_gelu_forward(flat)

    def backward(dy):
        of_form = gelu_backward if approximate else exact_gelu_backward
        return of_form(dy.ravel(), flat).reshape(x.shape)

    return y.reshape(x.shape), backward


@twinned
def gelu_forward(x: NDArray) -> NDArray:
    """x (N,) -> y (N,), in the tanh form."""
    u = _SCALE * (x + 0.044715 * x * x**2)  # x**3 would call pow, at 30 times the cost
    return x * (1 + np.tanh(u)) / 2


@twinned
def gelu_backward(dy: NDArray, x: NDArray) -> NDArray:
    """dy, x (N,) -> dx (N,), in the tanh form."""
    t = np.tanh(_SCALE * (x + 0.044715 * x * x**2))
    # u = scale (x + 0.044715 x^3)
    du = _SCALE * (1 + 3 * 0.044715 * x**2)
    # y = x (1 + tanh(u)) / 2
    return dy * ((1 + t) / 2 + x * (1 - t**2) * du / 2)


_erfc = np.vectorize(math.erfc, otypes=[float])  # NumPy has no erfc


def normal_cdf(x: NDArray) -> NDArray:
    """Phi(x), the probability that a standard normal variable is below x; of any shape.

    1 + erf(x / sqrt(2)) = erfc(-x / sqrt(2)), which keeps its digits close to zero.
    """
    return (_erfc(-x.astype(float) / math.sqrt(2)) / 2).astype(x.dtype)


@twinned
def exact_gelu_forward(x: NDArray) -> NDArray:
    """x (N,) -> y (N,)."""
    return x * normal_cdf(x)


@twinned
def exact_gelu_backward(dy: NDArray, x: NDArray) -> NDArray:
    """dy, x (N,) -> dx (N,)."""
    # y = x Phi(x), where the derivative of Phi is the density
    density = _DENSITY_AT_ZERO * np.exp(-(x**2) / 2)
    return dy * (normal_cdf(x) + x * density)
