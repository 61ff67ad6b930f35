"""Root mean square normalisation."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import twinned
from minillm.checks import op


@op("x: ... D, gain: D, eps: positive -> y: ... D")
def rms_norm(x: NDArray, gain: NDArray, eps: float = 1e-5) -> tuple[NDArray, Callable]:
    """Normalise each row to a mean square of 1, then apply a learned gain.

        x_hat = x / sqrt(mean(x^2) + eps)        y = gain x_hat

    x (..., D), gain (D,) -> y (..., D), with the mean over the last axis.
    ``backward(dy)`` -> dx, dgain.  Keeps x, gain and 1 / sqrt(mean(x^2) + eps).  x_hat
    is computed again.

    It is layer_norm without the mean and the bias.  A step along x_hat itself does not change
    x_hat (apart from eps).  This component of dx_hat = gain dy is therefore subtracted.

        dx = (dx_hat - x_hat mean(dx_hat x_hat)) / sqrt(mean(x^2) + eps)

    Source: Zhang and Sennrich (2019), "Root mean square layer normalization",
    equation 4; eps is added as in Llama.
    """
    y, inverse_rms = rms_norm_forward(x, gain, eps)

    def backward(dy):
        return rms_norm_backward(dy, x, gain, inverse_rms)

    return y, backward


@twinned
def rms_norm_forward(x: NDArray, gain: NDArray, eps: float) -> tuple[NDArray, NDArray]:
    """x (N, D), gain (D,) -> y (N, D), inverse_rms (N,)."""
    inverse_rms = 1 / np.sqrt((x**2).mean(axis=1) + eps)
    return gain * (x * inverse_rms[:, None]), inverse_rms


@twinned
def rms_norm_backward(
    dy: NDArray, x: NDArray, gain: NDArray, inverse_rms: NDArray
) -> tuple[NDArray, NDArray]:
    """dy, x (N, D), gain (D,), inverse_rms (N,) -> dx (N, D), dgain (D,)."""
    # y = gain x_hat
    x_hat = x * inverse_rms[:, None]
    dgain = (dy * x_hat).sum(axis=0)
    dx_hat = dy * gain
    # x_hat = x inverse_rms
    along_x_hat = (dx_hat * x_hat).mean(axis=1, keepdims=True)
    return (dx_hat - x_hat * along_x_hat) * inverse_rms[:, None], dgain
