"""Convolutional layers: filters of several widths side by side, and stacks of them.

Legend: B batch, T time, I input width, H filters of each width, M = 3 H the width of a layer's
output.

Source: Kim (2014), "Convolutional neural networks for sentence classification", section 2, with
filters of 1 to 3 words where he has 3 to 5: of a few thousand texts, the shorter ones learn more.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers.dropout import dropout as drop
from minillm.layers.fresh import Fresh, uniform

WIDTHS = (1, 2, 3)

Params = dict[str, NDArray]


def new_layer(prefix: str, I: int, H: int) -> dict[str, Fresh]:
    """Fresh weights: ``prefix.1.W`` (1, I, H), ``prefix.1.b`` and so on; the weights have
    variance 1 / fan-in, the biases are zero."""
    params = {}
    for width in WIDTHS:
        draw = uniform(np.sqrt(3 / (width * I)))
        params[f"{prefix}.{width}.W"] = Fresh((width, I, H), draw)
        params[f"{prefix}.{width}.b"] = Fresh((H,))
    return params


def layer(
    params: Params, prefix: str, x: NDArray, lengths: NDArray[np.integer]
) -> tuple[NDArray, Callable]:
    """y = relu(convolution(x)) of each width, side by side.

    x (B, T, I), lengths (B,) -> y (B, T, M).  ``backward(dy)`` -> dx, gradients.
    """
    outputs, backwards = [], []
    for width in WIDTHS:
        W, b = f"{prefix}.{width}.W", f"{prefix}.{width}.b"
        z, convolution_backward = ops.convolution(x, params[W], params[b], lengths)
        h, relu_backward = ops.relu(z)
        outputs.append(h)
        backwards.append((W, b, convolution_backward, relu_backward))

    def backward(dy):
        dx, gradients = np.zeros_like(x), {}
        dhs = np.split(dy, len(WIDTHS), axis=2)
        for dh, (W, b, convolution_backward, relu_backward) in zip(dhs, backwards, strict=True):
            dx_width, gradients[W], gradients[b] = convolution_backward(relu_backward(dh))
            dx += dx_width
        return dx, gradients

    return np.concatenate(outputs, axis=2), backward


def stack(
    params: Params,
    prefix: str,
    x: NDArray,
    layers: int,
    lengths: NDArray[np.integer],
    dropout: float = 0.0,
    rng: np.random.Generator | None = None,
    frozen: int = 0,
) -> tuple[NDArray, Callable]:
    """L layers, each over the outputs of the one before, with dropout between them.

    x (B, T, I) -> y (B, T, M).  The weights of layer l are under ``prefix.l``.
    ``backward(dy)`` -> dx, gradients; it ends above the lowest ``frozen`` layers.
    """
    backwards = []
    for number in range(layers):
        x, dropout_backward = drop(x, dropout, rng if number > 0 else None)
        x, layer_backward = layer(params, f"{prefix}.{number}", x, lengths)
        if number >= frozen:
            backwards.append((dropout_backward, layer_backward))

    def backward(dy):
        dx, gradients = dy, {}
        for dropout_backward, layer_backward in reversed(backwards):
            dx, layer_gradients = layer_backward(dx)
            dx = dropout_backward(dx)
            gradients |= layer_gradients
        return dx, gradients

    return x, backward
