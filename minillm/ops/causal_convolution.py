"""A causal convolution: each number sees itself and the few before it, in its own column.

    y_t = b + sum over j < K of W_j * x_{t-K+1+j}          element by element

It gives a linear recurrence what its gates lack: a look at the neighbours.  K is 4 in Mamba.  The
inputs before the first step are x_{1-K} .. x_{-1}: the last ones of the previous window, or zeros.

Legend: B batch, T time, D width, K size of the kernel, P = K - 1 inputs before the first.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm.checks import op


@op("x: B T D, W: K D, b: D, before: B K-1 D -> y: B T D, tail: B K-1 D")
def causal_convolution(
    x: NDArray, W: NDArray, b: NDArray, before: NDArray
) -> tuple[tuple[NDArray, NDArray], Callable]:
    """A convolution over time that sees no later step, one kernel for each column ("depthwise").

    x (B, T, D), W (K, D) with K > 1, b (D,), before (B, K - 1, D) -> y (B, T, D), and the last
    K - 1 inputs, which come before the next window: tail (B, K - 1, D).
    ``backward(dy, dtail=None)`` -> dx, dW, db, dbefore.
    Keeps W and u.

    Let u be ``before`` and x in a row, so that y_t = b + sum of W_j * u_{t+j}.  Then

        du_{t+j} += W_j * dy_t        dW_j = sum over t of u_{t+j} * dy_t        db = sum of dy_t

    Source: Gu and Dao (2023), "Mamba: linear-time sequence modeling with selective state spaces",
    figure 3; its kernels are PyTorch's ``conv1d`` with groups = D, transposed.
    """
    K, T = len(W), x.shape[1]
    u = np.concatenate([before, x], axis=1)  # (B, K - 1 + T, D)
    y = np.broadcast_to(b, x.shape).copy()
    for j, W_j in enumerate(W):
        y += W_j * u[:, j : j + T]

    def backward(dy, dtail=None):
        du, dW = np.zeros_like(u), np.zeros_like(W)
        # tail is the end of u
        du[:, T:] = dtail
        # y = b + W_0 u_t + W_1 u_{t+1} + ...
        for j, W_j in enumerate(W):
            du[:, j : j + T] += W_j * dy
            dW[j] = (u[:, j : j + T] * dy).sum(axis=(0, 1))
        return du[:, K - 1 :].copy(), dW, dy.sum(axis=(0, 1)), du[:, : K - 1].copy()

    return (y, u[:, T:].copy()), backward
