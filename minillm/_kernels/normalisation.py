"""Layer normalisation of rows: the NumPy original.

The forward keeps no x_hat: the backward makes it again from x, mean and 1 / sqrt.
"""

import numpy as np
from numpy.typing import NDArray


def layer_norm_forward(
    x: NDArray, gain: NDArray, bias: NDArray, eps: float
) -> tuple[NDArray, NDArray, NDArray]:
    """x (N, D), gain (D,), bias (D,) -> y (N, D), mean (N,), inverse_std (N,)."""
    mean = x.mean(axis=1)
    y = x - mean[:, None]
    variance = np.einsum("nd,nd->n", y, y) / x.shape[1]
    inverse_std = 1 / np.sqrt(variance + eps)
    y *= inverse_std[:, None]
    y *= gain
    y += bias
    return y, mean, inverse_std


def layer_norm_backward(
    dy: NDArray, x: NDArray, gain: NDArray, mean: NDArray, inverse_std: NDArray
) -> tuple[NDArray, NDArray, NDArray]:
    """dx (N, D), dgain (D,), dbias (D,)."""
    x_hat = x - mean[:, None]
    x_hat *= inverse_std[:, None]
    dgain = np.einsum("nd,nd->d", dy, x_hat)
    dbias = dy.sum(axis=0)
    dx = gain * dy  # dx_hat, until the last line
    along = np.einsum("nd,nd->n", dx, x_hat) / x.shape[1]
    dx -= dx.mean(axis=1)[:, None]
    x_hat *= along[:, None]
    dx -= x_hat
    dx *= inverse_std[:, None]
    return dx, dgain, dbias
