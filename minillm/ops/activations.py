"""Element-wise non-linearities, and softmax over the last axis."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import active_kernels
from minillm.ops import _validate


def tanh(x: NDArray) -> tuple[NDArray, Callable]:
    """The hyperbolic tangent: y = tanh(x), of any shape.

    ``backward(dy)`` -> dx = dy (1 - y^2).  Keeps y.
    """
    _validate.floats("tanh", x=(x, "..."))
    y = np.tanh(x)

    def backward(dy):
        return dy * (1 - y**2)

    return y, backward


def sigmoid(x: NDArray) -> tuple[NDArray, Callable]:
    """The logistic function: y = 1 / (1 + exp(-x)), of any shape.

    ``backward(dy)`` -> dx = dy y (1 - y).  Keeps y.

    Computed as (1 + tanh(x / 2)) / 2, which is the same and never overflows.
    """
    _validate.floats("sigmoid", x=(x, "..."))
    y = 0.5 * np.tanh(0.5 * x) + 0.5

    def backward(dy):
        return dy * y * (1 - y)

    return y, backward


def relu(x: NDArray) -> tuple[NDArray, Callable]:
    """The rectifier: y = max(x, 0), of any shape.

    ``backward(dy)`` -> dx = dy where x > 0, else 0; at the kink, 0 by convention.
    Keeps x.

    Source: Nair and Hinton (2010), "Rectified linear units improve restricted
    Boltzmann machines".
    """
    _validate.floats("relu", x=(x, "..."))
    y = np.maximum(x, 0)

    def backward(dy):
        return dy * (x > 0)

    return y, backward


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
    kernels = active_kernels()
    flat = np.ascontiguousarray(x).ravel()
    y = kernels.gelu_forward(flat).reshape(x.shape)

    def backward(dy):
        upstream = np.ascontiguousarray(dy).ravel()
        return kernels.gelu_backward(upstream, flat).reshape(x.shape)

    return y, backward


def softmax(x: NDArray) -> tuple[NDArray, Callable]:
    """Positive weights that sum to one over the last axis: y_i = exp(x_i) / sum_j exp(x_j).

    x (..., D) -> y (..., D).  ``backward(dy)`` -> dx.  Keeps y.

    Since dy_i/dx_j = y_i ([i = j] - y_j),

        dx_j = y_j (dy_j - sum_i dy_i y_i)

    The largest x is subtracted first: it cancels, and exp cannot overflow.
    An entry of minus infinity gets weight zero and gradient zero; at least one
    in each row must be finite.

    Source: Bridle (1990), "Probabilistic interpretation of feedforward
    classification network outputs".
    """
    _validate.floats("softmax", x=(x, "... D"))
    y = np.exp(x - x.max(axis=-1, keepdims=True))
    y /= y.sum(axis=-1, keepdims=True)

    def backward(dy):
        return y * (dy - (dy * y).sum(axis=-1, keepdims=True))

    return y, backward
