"""Normalisation of rows: layer norm, and RMS norm, which has no mean and no bias."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import twinned
from minillm.checks import op


@op("x: ... D, gain: D, bias: D, eps: positive -> y: ... D")
def layer_norm(
    x: NDArray, gain: NDArray, bias: NDArray, eps: float = 1e-5
) -> tuple[NDArray, Callable]:
    """Normalise each row to mean 0 and variance 1, then apply a learned gain and bias.

        x_hat = (x - mean) / sqrt(variance + eps)        y = gain x_hat + bias

    x (..., D), gain (D,), bias (D,) -> y (..., D), with mean and (biased)
    variance over the last axis.
    ``backward(dy)`` -> dx, dgain, dbias.  Keeps x, gain, and the mean and
    1 / sqrt(variance + eps) of each row.  x_hat is computed again.

    Each x also changes the mean and the variance of its row.  With r = 1 / sqrt(variance + eps),
    the derivative of the mean with respect to x_i is 1 / D, of r it is -r^2 x_hat_i / D, of x_hat_j

        r ([i = j] - 1 / D - x_hat_j x_hat_i / D)

    Adding a constant to the row does not change x_hat.  Neither does a step along x_hat itself
    (apart from eps).  Both components of dx_hat = gain dy are therefore subtracted.

        dx = (dx_hat - mean(dx_hat) - x_hat mean(dx_hat x_hat)) / sqrt(variance + eps)

    Source: Ba, Kiros and Hinton (2016), "Layer normalization", equation 4.
    """
    y, mean, inverse_std = layer_norm_forward(x, gain, bias, eps)

    def backward(dy):
        return layer_norm_backward(dy, x, gain, mean, inverse_std)

    return y, backward


@twinned
def layer_norm_forward(
    x: NDArray, gain: NDArray, bias: NDArray, eps: float
) -> tuple[NDArray, NDArray, NDArray]:
    """x (N, D), gain (D,), bias (D,) -> y (N, D), mean (N,), inverse_std (N,)."""
    mean = x.mean(axis=1)
    inverse_std = 1 / np.sqrt(x.var(axis=1) + eps)
    x_hat = (x - mean[:, None]) * inverse_std[:, None]
    return gain * x_hat + bias, mean, inverse_std


@twinned
def layer_norm_backward(
    dy: NDArray, x: NDArray, gain: NDArray, mean: NDArray, inverse_std: NDArray
) -> tuple[NDArray, NDArray, NDArray]:
    """dy, x (N, D), gain (D,), mean, inverse_std (N,) -> dx (N, D), dgain (D,), dbias (D,)."""
    # y = gain x_hat + bias
    x_hat = (x - mean[:, None]) * inverse_std[:, None]
    dbias = dy.sum(axis=0)
    dgain = (dy * x_hat).sum(axis=0)
    dx_hat = dy * gain
    # x_hat = (x - mean) inverse_std
    along_ones = dx_hat.mean(axis=1, keepdims=True)
    along_x_hat = (dx_hat * x_hat).mean(axis=1, keepdims=True)
    dx = (dx_hat - along_ones - x_hat * along_x_hat) * inverse_std[:, None]
    return dx, dgain, dbias


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
