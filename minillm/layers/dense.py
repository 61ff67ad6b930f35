"""Dense layers: an affine map, an activation function, and two of them in a row.

    y = f(x W + b)
    y = f(x W_1 + b_1) W_2 + b_2                  the feed-forward layer of a Transformer
    y = (silu(x W_gate) * x W_up) W_down          gated (SwiGLU), W_gate_up in one matrix

A feed-forward layer transforms each token separately.  Its hidden width F is usually 4 D, and
8/3 D where it is gated.

A weight is an array, or an object that multiplies like one (:class:`Weight`): a matrix of integers
with scales (:mod:`minillm.quantised`), or a matrix to which a product of two thin ones is added
(:mod:`minillm.training.lora`).  Layers ask such a weight for its product, and for the gradients of
whatever is trained in it.  Ops work on arrays only.

Legend: I inputs, O outputs, D width, F hidden width.

Sources: Vaswani et al. (2017), "Attention is all you need", section 3.3; Shazeer (2020), "GLU
variants improve Transformer", equation 6.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.checks import op
from minillm.layers.fresh import Draw, ParamSpec, uniform
from minillm.layers.gradients import is_trained, merge_gradients
from minillm.layers.types import Gradients, Ids, Op, Params

Product = tuple[NDArray, Callable[[NDArray], tuple[NDArray, Gradients]]]


def new_layer(prefix: str, I: int, O: int) -> dict[str, ParamSpec]:
    """Declare the weights from I inputs to O outputs: W of variance 1 / (3 I), and b = 0."""
    return new_matrix(prefix, "", I, O, uniform(I**-0.5))


def new_matrix(prefix: str, suffix: str, I: int, O: int, draw: Draw) -> dict[str, ParamSpec]:
    """Declare a matrix, ``prefix.W`` with the suffix, and its bias of zeros."""
    return {
        f"{prefix}.W{suffix}": ParamSpec((I, O), draw, "matrix"),
        f"{prefix}.b{suffix}": ParamSpec((O,)),
    }


def layer(
    params: Params, prefix: str, x: NDArray, activation: Op | None = None, suffix: str = ""
) -> tuple[NDArray, Callable]:
    """y = f(x W + b), where f is an op such as ``ops.tanh``; None: y = x W + b.

    x (..., I) -> y (..., O).  Weights: ``prefix.W`` (I, O) and ``prefix.b`` (O,); with a suffix
    such as "_1", ``prefix.W_1`` and ``prefix.b_1``.  If params has no b, there is no bias.
    ``backward(dy)`` -> dx, gradients.  Keeps x, W and whatever the activation keeps.
    """
    z, affine_backward = affine(params, f"{prefix}.W{suffix}", x, f"{prefix}.b{suffix}")
    if activation is None:
        return z, affine_backward
    y, activation_backward = activation(z)

    def backward(dy):
        return affine_backward(activation_backward(dy))

    return y, backward


def feed_forward(
    params: Params,
    prefix: str,
    x: NDArray,
    activation: Op = ops.gelu,
    first: str = "_1",
    second: str = "_2",
) -> tuple[NDArray, Callable]:
    """y = f(x W_1 + b_1) W_2 + b_2: x (..., D) -> y (..., D).  ``backward(dy)`` -> dx, gradients.

    ``first`` and ``second`` are the suffixes of the two matrices.
    """
    h, first_backward = layer(params, prefix, x, activation, suffix=first)  # (..., F)
    y, second_backward = layer(params, prefix, h, suffix=second)

    def backward(dy):
        dh, of_second = second_backward(dy)
        dx, of_first = first_backward(dh)
        return dx, merge_gradients(of_first, of_second)

    return y, backward


def gated_feed_forward(
    params: Params, prefix: str, x: NDArray, gate: Op = ops.swiglu
) -> tuple[NDArray, Callable]:
    """y = swiglu(x W_gate_up) W_down: x (..., D) -> y (..., D).  ``backward(dy)`` -> dx, gradients.

    Weights: ``prefix.W_gate_up`` (D, 2F), ``prefix.W_down`` (F, D).
    """
    return feed_forward(params, prefix, x, gate, "_gate_up", "_down")


class Weight(Protocol):
    """A matrix (I, O) that is not an array."""

    dtype: np.dtype
    ndim: int
    shape: tuple[int, int]
    size: int

    def linear(self, x: NDArray, b: NDArray | None = None) -> Product:
        """y = x W + b: x (..., I) -> y (..., O).

        ``backward(dy)`` -> dx, and the gradients of what is trained in the weight, by the ends of
        their names: {".A": dA, ".B": dB}.
        """

    def rows(self, ids: Ids) -> NDArray:
        """The rows of a table, which are constant: ids (...) -> (..., O)."""

    @property
    def T(self) -> Any:
        """The transpose."""


def affine(
    params: Params, W: str, x: NDArray, b: str | None = None, transposed: bool = False
) -> Product:
    """y = x W + b, with the weight and the bias of these names; y = x W if there is no bias.

    x (..., I) -> y (..., O).  If ``transposed``, y = x W^T + b.  ``backward(dy)`` -> dx, gradients
    by name.  Where W is not trained, x is not kept, and no gradient of W is computed.
    """
    weight, bias = params[W].T if transposed else params[W], None if b is None else params.get(b)
    if isinstance(weight, np.ndarray) and is_trained(params, W):
        y, linear_backward = ops.linear(x, weight, bias)

        def backward(dy):
            dx, dW, *db = linear_backward(dy)
            gradients = {W: dW.T if transposed else dW}
            return dx, gradients | {b: db[0]} if db else gradients

        return y, backward
    if isinstance(weight, np.ndarray):
        y, constant_backward = constant_linear(x, weight, bias)

        def weight_backward(dy):
            return constant_backward(dy), {}
    else:
        y, weight_backward = weight.linear(x, bias)
    biases = [] if b is None or bias is None or not is_trained(params, b) else [b]

    def backward_of_others(dy):
        dx, of_weight = weight_backward(dy)
        gradients = {W + end: gradient for end, gradient in of_weight.items()}
        return dx, gradients | {b: dy.reshape(-1, dy.shape[-1]).sum(axis=0) for b in biases}

    return y, backward_of_others


@op("x: ... I, W: I O constant, b: O constant? -> y: ... O", order="any")
def constant_linear(x: NDArray, W: NDArray, b: NDArray | None = None) -> tuple[NDArray, Callable]:
    """y = x W + b of a W and b that are not trained.  ``backward(dy)`` -> dx.  Keeps W."""
    transpose = W.T
    return ops.linear(x, W, b)[0], lambda dy: ops.linear(dy, transpose)[0]
