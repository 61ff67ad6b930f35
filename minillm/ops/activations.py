"""Element-wise non-linearities: tanh, the sigmoid, ReLU, SiLU and softplus."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import twinned
from minillm.checks import op


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
    flat = x.ravel()
    y = silu_forward(flat).reshape(x.shape)

    def backward(dy):
        return silu_backward(dy.ravel(), flat).reshape(x.shape)

    return y, backward


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
    flat = x.ravel()
    y = softplus_forward(flat).reshape(x.shape)

    def backward(dy):
        return softplus_backward(dy.ravel(), flat).reshape(x.shape)

    return y, backward


@twinned
def softplus_forward(x: NDArray) -> NDArray:
    """x (N,) -> y (N,)."""
    return np.logaddexp(x, x.dtype.type(0))  # no exp overflows


@twinned
def softplus_backward(dy: NDArray, x: NDArray) -> NDArray:
    """dy, x (N,) -> dx (N,)."""
    return dy * logistic(x)
