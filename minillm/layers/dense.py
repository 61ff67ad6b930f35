"""A dense layer: an affine map, and an activation function if there is one.

y = f(x W + b)
"""

from collections.abc import Callable

from numpy.typing import NDArray

from minillm.layers.fresh import Draw, Fresh, uniform
from minillm.layers.types import Params
from minillm.layers.weights import product


def new_layer(prefix: str, I: int, O: int) -> dict[str, Fresh]:
    """Declare the weights from I inputs to O outputs: W of variance 1 / (3 I), and b = 0."""
    return new_matrix(prefix, "", I, O, uniform(I**-0.5))


def new_matrix(prefix: str, suffix: str, I: int, O: int, draw: Draw) -> dict[str, Fresh]:
    """Declare a matrix, ``prefix.W`` with the suffix, and its bias of zeros."""
    return {
        f"{prefix}.W{suffix}": Fresh((I, O), draw, "matrix"),
        f"{prefix}.b{suffix}": Fresh((O,)),
    }


def layer(
    params: Params,
    prefix: str,
    x: NDArray,
    activation: Callable[[NDArray], tuple[NDArray, Callable]] | None = None,
    suffix: str = "",
) -> tuple[NDArray, Callable]:
    """y = f(x W + b), where f is an op such as ``ops.tanh``; None: y = x W + b.

    x (..., I) -> y (..., O).  Weights: ``prefix.W`` (I, O) and ``prefix.b`` (O,); with a suffix
    such as "_1", ``prefix.W_1`` and ``prefix.b_1``.  If params has no b, there is no bias.
    ``backward(dy)`` -> dx, gradients.  Keeps x, W and whatever the activation keeps.
    """
    z, product_backward = product(params, f"{prefix}.W{suffix}", x, f"{prefix}.b{suffix}")
    if activation is None:
        return z, product_backward
    y, activation_backward = activation(z)

    def backward(dy):
        return product_backward(activation_backward(dy))

    return y, backward
