"""An LSTM and causal attention in Numba, forward and backward: for `benchmarks.cases`."""

import numba
import numpy as np
from numba import prange

from .ladder.in_numba import OPTIONS, attend, attend_backward, exp, jit

# Attention, which has no product of a BLAS, runs on several threads.  Numba's other layer, OpenMP,
# shares its library with PyTorch's, and allows teams within teams there: PyTorch's attention took
# twenty times as long.
numba.config.THREADING_LAYER = "workqueue"


@jit
def lstm(x, h0, c0, W_x, W_h, b, dhs):
    """x (B, T, I), h0 and c0 (B, H), dhs (B, T, H) -> hs, dx, dW_x, dW_h, as ops.lstm has them.

    The terms of the input are one product, and a step has one product, followed by one loop.
    """
    B, T, I = x.shape
    H = h0.shape[1]
    x = np.ascontiguousarray(x.transpose(1, 0, 2)).reshape(T * B, I)
    gates = np.dot(x, W_x).reshape(T, B, 4 * H)  # of the input, then the activations
    hs, cs = np.empty((T + 1, B, H), x.dtype), np.empty((T + 1, B, H), x.dtype)
    hs[0], cs[0] = h0, c0
    # forward
    for t in range(T):
        a = np.dot(hs[t], W_h)
        for n in range(B):
            for j in range(H):
                i = sigmoid(gates[t, n, j] + a[n, j] + b[j])
                f = sigmoid(gates[t, n, H + j] + a[n, H + j] + b[H + j])
                g = tanh(gates[t, n, 2 * H + j] + a[n, 2 * H + j] + b[2 * H + j])
                o = sigmoid(gates[t, n, 3 * H + j] + a[n, 3 * H + j] + b[3 * H + j])
                gates[t, n, j], gates[t, n, H + j] = i, f
                gates[t, n, 2 * H + j], gates[t, n, 3 * H + j] = g, o
                cs[t + 1, n, j] = f * cs[t, n, j] + i * g
                hs[t + 1, n, j] = o * tanh(cs[t + 1, n, j])
    # backward
    da, one = np.empty((T, B, 4 * H), x.dtype), np.float32(1)
    dh, dc = np.zeros((B, H), x.dtype), np.zeros((B, H), x.dtype)
    for t in range(T - 1, -1, -1):
        for n in range(B):
            for j in range(H):
                i, f = gates[t, n, j], gates[t, n, H + j]
                g, o = gates[t, n, 2 * H + j], gates[t, n, 3 * H + j]
                squashed, d = tanh(cs[t + 1, n, j]), dh[n, j] + dhs[n, t, j]
                of_c = dc[n, j] + d * o * (one - squashed * squashed)
                da[t, n, j] = of_c * g * i * (one - i)
                da[t, n, H + j] = of_c * cs[t, n, j] * f * (one - f)
                da[t, n, 2 * H + j] = of_c * i * (one - g * g)
                da[t, n, 3 * H + j] = d * squashed * o * (one - o)
                dc[n, j] = of_c * f
        dh = np.dot(da[t], W_h.T)
    da = da.reshape(T * B, 4 * H)
    dW_h = np.dot(hs[:T].reshape(T * B, H).T, da)
    dx = np.dot(da, W_x.T).reshape(T, B, I)
    return hs[1:].transpose(1, 0, 2), dx.transpose(1, 0, 2), np.dot(x.T, da), dW_h


@jit
def sigmoid(x):
    return np.float32(1) / (np.float32(1) + exp(-x))


@jit
def tanh(x):
    return np.float32(1) - np.float32(2) / (exp(np.float32(2) * x) + np.float32(1))


@numba.njit(**OPTIONS, parallel=numba.get_num_threads() > 1)
def causal_attention(q, k, v, dy):
    """q, k, v and dy (B, N, T, width) -> y, dq, dk, dv."""
    B, N, T, _ = q.shape
    y, dq, dk, dv = np.empty_like(q), np.empty_like(q), np.empty_like(k), np.empty_like(v)
    for job in prange(B * N):
        i, n = job // N, job % N
        weights = np.empty((T, T), q.dtype)
        y[i, n] = attend(q[i, n], k[i, n], v[i, n], weights)
        gradients = attend_backward(dy[i, n], q[i, n], k[i, n], v[i, n], weights)
        dq[i, n], dk[i, n], dv[i, n] = gradients
    return y, dq, dk, dv
