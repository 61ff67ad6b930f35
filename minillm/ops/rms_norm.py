"""Root mean square normalisation."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm.ops import _validate


def rms_norm(x: NDArray, gain: NDArray, eps: float = 1e-5) -> tuple[NDArray, Callable]:
    """Normalise each row to a mean square of 1, then apply a learned gain.

        x_hat = x / sqrt(mean(x^2) + eps)        y = gain x_hat

    x (..., D), gain (D,) -> y (..., D), with the mean over the last axis.
    ``backward(dy)`` -> dx, dgain.  Keeps gain, x_hat and 1 / sqrt(mean(x^2) + eps).

    It is layer_norm without the mean and the bias.  A step along x_hat itself does not change
    x_hat (apart from eps).  This component of dx_hat = gain dy is therefore subtracted.

        dx = (dx_hat - x_hat mean(dx_hat x_hat)) / sqrt(mean(x^2) + eps)

    Raises TypeError or ValueError where dtypes or shapes do not fit, or eps is
    not positive.
    Source: Zhang and Sennrich (2019), "Root mean square layer normalization",
    equation 4; eps is added as in Llama.
    """
    _validate.floats("rms_norm", x=(x, "... D"), gain=(gain, "D"))
    epsilon = _validate.positive("rms_norm", "eps", eps)
    D = x.shape[-1]
    inverse_rms = 1 / np.sqrt((x**2).mean(axis=-1, keepdims=True) + epsilon)  # (..., 1)
    x_hat = x * inverse_rms
    y = gain * x_hat
    upstream = _validate.upstream("rms_norm", dy=y)

    def backward(dy):
        dy = upstream(dy)
        # y = gain x_hat
        dgain = (dy * x_hat).reshape(-1, D).sum(axis=0)
        dx_hat = dy * gain
        # x_hat = x inverse_rms
        along_x_hat = (dx_hat * x_hat).mean(axis=-1, keepdims=True)
        dx = (dx_hat - x_hat * along_x_hat) * inverse_rms
        return dx, dgain

    return y, backward
