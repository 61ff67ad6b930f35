"""A dense layer: an affine map, and an activation function if there is one.

    y = f(x W + b)

With LoRA (:mod:`minillm.training.lora`) the parameters have ``W.A`` (I, r) and ``W.B`` (r, O)
beside W = W_0 + A B.  Then A and B are trained, and W_0 and b are not.  The gradients are
dA = dW B^T and dB = A^T dW, where dW = x^T dy.  In another order, the products need no matrix as
large as W:

    dA = x^T (dy B^T)        dB = (x A)^T dy

That is 2 r (I + O) multiplications for each row of x instead of I O.

A quantised W (:mod:`minillm.ops.quantised`) is constant, and stays packed.  With A and B beside it,
it is W_0, and their product is never added to it (Dettmers et al. 2023, "QLoRA", equation 5):

    y = f(x W_0 + (x A) B)

Source: Hu et al. (2021), "LoRA: low-rank adaptation of large language models", section 4.1.
"""

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from minillm import ops
from minillm.layers.fresh import Draw, Fresh, uniform
from minillm.layers.types import Params
from minillm.ops import _validate
from minillm.ops.linear import _matmul


def new_layer(prefix: str, I: int, O: int) -> dict[str, Fresh]:
    """Declare the weights from I inputs to O outputs: W of variance 1 / (3 I), and b = 0."""
    return new_matrix(prefix, "", I, O, uniform(I**-0.5))


def new_matrix(prefix: str, suffix: str, I: int, O: int, draw: Draw) -> dict[str, Fresh]:
    """Declare a matrix, ``prefix.W`` with the suffix, and its bias of zeros."""
    return {f"{prefix}.W{suffix}": Fresh((I, O), draw), f"{prefix}.b{suffix}": Fresh((O,))}


def layer(
    params: Params,
    prefix: str,
    x: NDArray,
    activation: Callable[[NDArray], tuple[NDArray, Callable]] | None = None,
    suffix: str = "",
    recompute: Callable[[], NDArray] | None = None,
) -> tuple[NDArray, Callable]:
    """y = f(x W + b), where f is an op such as ``ops.tanh``; None: y = x W + b.

    x (..., I) -> y (..., O).  Weights: ``prefix.W`` (I, O) and ``prefix.b`` (O,); with a suffix
    such as "_1", ``prefix.W_1`` and ``prefix.b_1``.  If params has no b, there is no bias.
    ``backward(dy, trained=None)`` -> dx, gradients.  With ``trained``, the names of the trained
    weights, the other weights get no gradient.  Keeps x, W and whatever the activation keeps.
    A quantised W has no bias, and no gradient; A and B beside it have one.  Only their gradients
    need x.  With ``recompute``, which computes x once more, x is not kept for them.
    """
    W, b = f"{prefix}.W{suffix}", f"{prefix}.b{suffix}"
    matrix: Any = params[W]
    if isinstance(matrix, ops.Quantised):
        return _quantised_layer(params, W, matrix, x, activation, recompute)
    z, linear_backward = ops.linear(x, params[W], params.get(b))
    y, activation_backward = (z, None) if activation is None else activation(z)
    inputs, weight = x.view(), params[W].view()  # their shapes stay, whatever the caller does
    output = z.shape, z.dtype
    has_lora = f"{W}.A" in params and f"{W}.B" in params
    if has_lora:
        A, B = params[f"{W}.A"].view(), params[f"{W}.B"].view()
        shapes = {W: (weight, "I O"), f"{W}.A": (A, "I R"), f"{W}.B": (B, "R O")}
        _validate.floats("dense", **shapes)

    def backward(dy, trained=None):
        dz = dy if activation_backward is None else activation_backward(dy)
        if not has_lora and (trained is None or W in trained):
            dx, *gradients = linear_backward(dz)
            return dx, dict(zip((W, b), gradients, strict=False))  # no db where there is no b
        # z = x W + b
        dz, gradients = _validate.checked_gradient("dense", "dy", "C", *output, dz), {}
        dx, _ = ops.linear(dz, weight.T)
        rows, drows = inputs.reshape(-1, weight.shape[0]), dz.reshape(-1, weight.shape[1])
        if b in params and (trained is None or b in trained):
            gradients[b] = drows.sum(axis=0)
        if has_lora and (trained is None or W in trained):
            # W = W_0 + A B
            gradients[f"{W}.A"] = _matmul(rows.T, _matmul(drows, B.T))
            gradients[f"{W}.B"] = _matmul(_matmul(rows, A).T, drows)
        return dx, gradients

    return y, backward


def _quantised_layer(
    params: Params,
    W: str,
    matrix: ops.Quantised,
    x: NDArray,
    activation: Callable[[NDArray], tuple[NDArray, Callable]] | None,
    recompute: Callable[[], NDArray] | None,
) -> tuple[NDArray, Callable]:
    """y = f(x W), or f(x W + (x A) B)."""
    z, linear_backward = ops.quantised_linear(x, matrix)
    has_lora = f"{W}.A" in params and f"{W}.B" in params
    if has_lora:
        A, B = params[f"{W}.A"].view(), params[f"{W}.B"].view()
        _validate.floats("dense", x=(x, "... I"), A=(A, "I R"), B=(B, "R O"), z=(z, "... O"))
        rows = x.reshape(-1, len(A))
        h = _matmul(rows, A)
        z += _matmul(h, B).reshape(z.shape)
        kept = None if recompute else rows
    y, activation_backward = (z, None) if activation is None else activation(z)

    def backward(dy, trained=None):
        dz = dy if activation_backward is None else activation_backward(dy)
        dx = linear_backward(dz)
        if not has_lora:
            return dx, {}
        # z = x W + (x A) B
        drows = dz.reshape(-1, B.shape[1])
        dh = _matmul(drows, B.T)
        dx += _matmul(dh, A.T).reshape(dx.shape)
        inputs = recompute().reshape(-1, len(A)) if kept is None else kept
        return dx, {f"{W}.A": _matmul(inputs.T, dh), f"{W}.B": _matmul(h.T, drows)}

    return y, backward
