"""Activation functions: tanh, the sigmoid, ReLU, SiLU, softplus, GELU, and the gated SwiGLU."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import twinned
from minillm.checks import op

_SCALE = float(np.sqrt(2 / np.pi))
_DENSITY_AT_ZERO = float(np.sqrt(1 / (2 * np.pi)))  # of the standard normal distribution


def logistic(x: NDArray) -> NDArray:
    """1 / (1 + exp(-x)), computed as (1 + tanh(x / 2)) / 2, so that exp never overflows."""
    return 0.5 * np.tanh(0.5 * x) + 0.5


@op("x: ... -> y: ...")
def tanh(x: NDArray) -> tuple[NDArray, Callable]:
    """The hyperbolic tangent: y = tanh(x), of any shape.

    ``backward(dy)`` -> dx = dy (1 - y^2).  Keeps y.
    """
    y = np.tanh(x)

    def backward(dy):
        return dy * (1 - y**2)

    return y, backward


@op("x: ... -> y: ...")
def sigmoid(x: NDArray) -> tuple[NDArray, Callable]:
    """The logistic function: y = 1 / (1 + exp(-x)), of any shape.

    ``backward(dy)`` -> dx = dy y (1 - y).  Keeps y.
    """
    y = logistic(x)

    def backward(dy):
        return dy * y * (1 - y)

    return y, backward


@op("x: ... -> y: ...")
def relu(x: NDArray) -> tuple[NDArray, Callable]:
    """The rectifier: y = max(x, 0), of any shape.

    ``backward(dy)`` -> dx = dy where x > 0, otherwise 0; at the kink, 0 by convention.
    Keeps x.

    Source: Nair and Hinton (2010), "Rectified linear units improve restricted
    Boltzmann machines".
    """
    y = np.maximum(x, 0)

    def backward(dy):
        return dy * (x > 0)

    return y, backward


@op("x: ... -> y: ...")
def silu(x: NDArray) -> tuple[NDArray, Callable]:
    """The sigmoid-weighted linear unit: y = x s with s = sigmoid(x), of any shape.

    ``backward(dy)`` -> dx = dy s (1 + x (1 - s)).  Keeps x.

    Source: Elfwing, Uchibe and Doya (2018), "Sigmoid-weighted linear units for
    neural network function approximation in reinforcement learning", equation 5;
    it is the "swish" of Ramachandran, Zoph and Le (2017).
    """

    def backward(dy):
        return silu_backward(dy, x)

    return silu_forward(x), backward


@twinned
def silu_forward(x: NDArray) -> NDArray:
    """x (N,) -> y (N,)."""
    return x * logistic(x)


@twinned
def silu_backward(dy: NDArray, x: NDArray) -> NDArray:
    """dy, x (N,) -> dx (N,)."""
    s = logistic(x)
    # y = x s, where ds/dx = s (1 - s)
    return dy * s * (1 + x * (1 - s))


@op("x: ... -> y: ...")
def softplus(x: NDArray) -> tuple[NDArray, Callable]:
    """A smooth ReLU, which is always positive: y = log(1 + exp(x)), of any shape.

    ``backward(dy)`` -> dx = dy sigmoid(x).  Keeps x.

    Source: Dugas, Bengio, Bélisle, Nadeau and Garcia (2000), "Incorporating second-order
    functional knowledge for better option pricing", equation 2.
    """

    def backward(dy):
        return softplus_backward(dy, x)

    return softplus_forward(x), backward


@twinned
def softplus_forward(x: NDArray) -> NDArray:
    """x (N,) -> y (N,)."""
    return np.logaddexp(x, x.dtype.type(0))  # no exp overflows


@twinned
def softplus_backward(dy: NDArray, x: NDArray) -> NDArray:
    """dy, x (N,) -> dx (N,)."""
    return dy * logistic(x)


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
    y = gelu_forward(x) if approximate else exact_gelu_forward(x)

    def backward(dy):
        return gelu_backward(dy, x) if approximate else exact_gelu_backward(dy, x)

    return y, backward


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


@op("x: ... 2F -> y: ... F")
def swiglu(x: NDArray) -> tuple[NDArray, Callable]:
    """One half of each row gates the other.

        [gate, up] = x        y = silu(gate) up        silu(gate) = gate s, s = sigmoid(gate)

    x (..., 2 F) -> y (..., F).  ``backward(dy)`` -> dx.  Keeps x.

    In a product, the slope by one factor is the other factor:

        dup = dy silu(gate)        dgate = dy up s (1 + gate (1 - s))

    Source: Shazeer (2020), "GLU variants improve Transformer", equation 6.
    """

    def backward(dy):
        return swiglu_backward(dy, x)

    return swiglu_forward(x), backward


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
