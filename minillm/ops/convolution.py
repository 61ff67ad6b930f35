"""A convolution over time: the same weights at each place of a sequence."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm.ops import _validate
from minillm.ops._padding import zero_padding
from minillm.ops.linear import linear


def convolution(
    x: NDArray, W: NDArray, b: NDArray, lengths: NDArray[np.integer] | None = None
) -> tuple[NDArray, Callable]:
    """Each step's neighbourhood of K steps, through one linear map.

        y_t = sum over k of x_{t + k - c} W_k + b        c = (K - 1) // 2, and x is 0 outside

    x (B, T, I), W (K, I, O), b (O,), lengths (B,) or None -> y (B, T, O), zero past each length.
    ``backward(dy)`` -> dx, dW, db.  Keeps the neighbourhoods (B, T, K I) and W.

    It is one matrix product over all neighbourhoods, laid side by side.  In the backward, step t
    gets a gradient from each neighbourhood that it was in.

    Raises TypeError or ValueError where dtypes or shapes do not fit.
    Source: Waibel, Hanazawa, Hinton, Shikano and Lang (1989), "Phoneme recognition using
    time-delay neural networks"; of text, Collobert and Weston (2008), section 3.2.
    """
    sizes = _validate.floats("convolution", x=(x, "B T I"), W=(W, "K I O"), b=(b, "O"))
    B, T, I, K = (sizes[name] for name in "BTIK")
    steps = _validate.sequence_lengths("convolution", lengths, B, T)
    before = (K - 1) // 2
    padded = np.zeros((B, T + K - 1, I), x.dtype)
    padded[:, before : before + T] = zero_padding(x, steps)
    shape = padded.shape
    windows = np.concatenate([padded[:, k : k + T] for k in range(K)], axis=2)  # (B, T, K I)
    y, linear_backward = linear(windows, W.reshape(K * I, -1), b)
    y = zero_padding(y, steps)
    upstream = _validate.upstream("convolution", dy=y)

    def backward(dy):
        dwindows, dW, db = linear_backward(zero_padding(upstream(dy), steps))
        dpadded = np.zeros(shape, dy.dtype)
        for k in range(K):  # windows_tk = padded_{t + k}
            dpadded[:, k : k + T] += dwindows[..., k * I : (k + 1) * I]
        dx = zero_padding(dpadded[:, before : before + T], steps)
        return dx, dW.reshape(K, I, -1), db

    return y, backward
