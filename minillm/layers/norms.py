"""Norms with named weights: a layer norm, or an RMS norm if there is no bias."""

from collections.abc import Callable

from numpy.typing import NDArray

from minillm import ops
from minillm.layers.fresh import ParamSpec, ones
from minillm.layers.types import Params

EPS = 1e-5


def new_norm(prefix: str, D: int) -> dict[str, ParamSpec]:
    """Declare the weights of a layer norm: gain 1, bias 0."""
    return {f"{prefix}.gain": ParamSpec((D,), ones), f"{prefix}.bias": ParamSpec((D,))}


def norm(params: Params, prefix: str, x: NDArray, eps: float = EPS) -> tuple[NDArray, Callable]:
    """Layer norm, with ``prefix.gain`` and ``prefix.bias``; without a bias, RMS norm.

    x (..., D) -> y (..., D).  ``backward(dy)`` -> dx, gradients.
    """
    names = f"{prefix}.gain", f"{prefix}.bias"
    gain, bias = params[names[0]], params.get(names[1])
    if bias is None:
        y, op_backward = ops.rms_norm(x, gain, eps)
    else:
        y, op_backward = ops.layer_norm(x, gain, bias, eps)

    def backward(dy):
        dx, *gradients = op_backward(dy)
        return dx, dict(zip(names, gradients, strict=False))

    return y, backward


def norm_if_any(
    params: Params, prefix: str, x: NDArray, eps: float = EPS
) -> tuple[NDArray, Callable]:
    """The norm with the gain of this prefix, or x itself if the model has no such norm.

    x (..., D) -> y (..., D).  ``backward(dy)`` -> dx, gradients.
    """
    if f"{prefix}.gain" not in params:
        return x, lambda dy: (dy, {})
    return norm(params, prefix, x, eps)
