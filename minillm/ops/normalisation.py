"""Layer normalisation."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import active_kernels
from minillm.ops import _validate


def layer_norm(
    x: NDArray, gain: NDArray, bias: NDArray, eps: float = 1e-5
) -> tuple[NDArray, Callable]:
    """Each row to mean 0 and variance 1, then a learned gain and bias.

        x_hat = (x - mean) / sqrt(variance + eps)        y = gain x_hat + bias

    x (..., D), gain (D,), bias (D,) -> y (..., D), with mean and (biased)
    variance over the last axis.
    ``backward(dy)`` -> dx, dgain, dbias.  Keeps x, mean, 1 / sqrt and gain.

    Every x moves its row's mean and variance too.  Both paths take out of
    dx_hat = gain dy what they would undo: its mean, and its part along x_hat.

        dx = (dx_hat - mean(dx_hat) - x_hat mean(dx_hat x_hat)) / sqrt(variance + eps)

    Raises TypeError or ValueError where dtypes or shapes do not fit, or eps is
    not positive.
    Source: Ba, Kiros and Hinton (2016), "Layer normalization", equation 4.
    """
    _validate.floats("layer_norm", x=(x, "... D"), gain=(gain, "D"), bias=(bias, "D"))
    if not eps > 0:
        raise ValueError(f"layer_norm: eps must be positive, found {eps}")
    D = x.shape[-1]
    kernels = active_kernels()
    rows, scale = np.ascontiguousarray(x).reshape(-1, D), np.ascontiguousarray(gain)
    y, mean, inverse_std = kernels.layer_norm_forward(
        rows, scale, np.ascontiguousarray(bias), float(eps)
    )

    def backward(dy):
        upstream = np.ascontiguousarray(dy).reshape(-1, D)
        dx, dgain, dbias = kernels.layer_norm_backward(upstream, rows, scale, mean, inverse_std)
        return dx.reshape(x.shape), dgain, dbias

    return y.reshape(x.shape), backward
