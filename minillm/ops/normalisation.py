"""Layer normalisation."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm.ops import _validate


def layer_norm(
    x: NDArray, gain: NDArray, bias: NDArray, eps: float = 1e-5
) -> tuple[NDArray, Callable]:
    """Each row to mean 0 and variance 1, then a learned gain and bias.

        x_hat = (x - mean) / sqrt(variance + eps)        y = gain x_hat + bias

    x (..., D), gain (D,), bias (D,) -> y (..., D), with mean and (biased)
    variance over the last axis.
    ``backward(dy)`` -> dx, dgain, dbias.  Keeps x_hat, 1 / sqrt and gain.

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
    x_hat = x - x.mean(axis=-1, keepdims=True)
    inverse_std = 1 / np.sqrt((x_hat**2).mean(axis=-1, keepdims=True) + eps)
    x_hat *= inverse_std
    y = gain * x_hat + bias

    def backward(dy):
        D = x_hat.shape[-1]
        dx_hat = gain * dy
        dx = inverse_std * (
            dx_hat
            - dx_hat.mean(axis=-1, keepdims=True)
            - x_hat * (dx_hat * x_hat).mean(axis=-1, keepdims=True)
        )
        dgain = (dy * x_hat).reshape(-1, D).sum(axis=0)
        dbias = dy.reshape(-1, D).sum(axis=0)
        return dx, dgain, dbias

    return y, backward
