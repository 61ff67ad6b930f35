"""Feed-forward layers: each token is transformed separately, by two matrices and a function.

    y = f(x W_1 + b_1) W_2 + b_2                          the hidden width F is usually 4 D
    y = (silu(x W_gate) * x W_up) W_down                  gated (SwiGLU), W_gate_up in one matrix

Legend: D width, F hidden width.

Sources: Vaswani et al. (2017), "Attention is all you need", section 3.3; Shazeer (2020), "GLU
variants improve Transformer", equation 6.
"""

from collections.abc import Callable

from numpy.typing import NDArray

from minillm import ops
from minillm.layers import dense
from minillm.layers.gradients import merge_gradients
from minillm.layers.types import Op, Params


def feed_forward(
    params: Params, prefix: str, x: NDArray, activation: Op = ops.gelu
) -> tuple[NDArray, Callable]:
    """y = f(x W_1 + b_1) W_2 + b_2: x (..., D) -> y (..., D).

    ``backward(dy)`` -> dx, gradients.
    """
    return _two_layers(params, prefix, x, activation, "_1", "_2")


def gated_feed_forward(params: Params, prefix: str, x: NDArray) -> tuple[NDArray, Callable]:
    """y = swiglu(x W_gate_up) W_down: x (..., D) -> y (..., D).  ``backward(dy)`` -> dx, gradients.

    Weights: ``prefix.W_gate_up`` (D, 2F), ``prefix.W_down`` (F, D).
    """
    return _two_layers(params, prefix, x, ops.swiglu, "_gate_up", "_down")


def _two_layers(
    params: Params, prefix: str, x: NDArray, activation: Op, first: str, second: str
) -> tuple[NDArray, Callable]:
    h, first_backward = dense.layer(params, prefix, x, activation, suffix=first)  # (..., F)
    y, second_backward = dense.layer(params, prefix, h, suffix=second)

    def backward(dy):
        dh, of_second = second_backward(dy)
        dx, of_first = first_backward(dh)
        return dx, merge_gradients(of_first, of_second)

    return y, backward
