"""A fully connected layer, with an activation function or without."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm.layers.linear import linear


def new_layer(
    prefix: str, I: int, O: int, rng: np.random.Generator, dtype: type = np.float32
) -> dict[str, NDArray]:
    """Fresh weights from I inputs to O outputs: ``prefix.W`` (I, O), uniform, and b = 0."""
    return {f"{prefix}.W": uniform((I, O), rng, dtype), f"{prefix}.b": np.zeros(O, dtype)}


def uniform(shape: tuple[int, ...], rng: np.random.Generator, dtype: type) -> NDArray:
    """Weights drawn evenly from -1/sqrt(I) to 1/sqrt(I), where I is the size of the first axis."""
    bound = shape[0] ** -0.5
    return rng.uniform(-bound, bound, shape).astype(dtype)


def normal(
    shape: tuple[int, int], variance: float, rng: np.random.Generator, dtype: type
) -> NDArray:
    """Normal weights (I, O) which give outputs ``variance`` times the variance of the inputs.

    Before a relu, which passes on half of it, the variance should be 2 (He, Zhang, Ren
    and Sun 2015, "Delving deep into rectifiers").
    """
    return ((variance / shape[0]) ** 0.5 * rng.standard_normal(shape)).astype(dtype)


def layer(
    params: dict[str, NDArray],
    prefix: str,
    x: NDArray,
    activation: Callable[[NDArray], tuple[NDArray, Callable]] | None = None,
) -> tuple[NDArray, Callable]:
    """y = f(x W + b), where f is an op such as ``ops.tanh``; None: y = x W + b.

    x (..., I) -> y (..., O).  Weights: ``prefix.W`` (I, O) and ``prefix.b`` (O,); a layer
    without ``prefix.b`` has no bias.
    ``backward(dy)`` -> dx, gradients.  Keeps x, W and what the activation keeps.
    """
    y, linear_backward = linear(params, f"{prefix}.W", f"{prefix}.b", x)
    activation_backward = None
    if activation is not None:
        y, activation_backward = activation(y)

    def backward(dy):
        if activation_backward is not None:
            dy = activation_backward(dy)
        return linear_backward(dy)

    return y, backward
