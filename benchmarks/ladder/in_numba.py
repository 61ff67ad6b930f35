"""The same GPT in Numba: a whole step is one compiled function, whose loops are written out.

Products go to a BLAS, which is SciPy's, and has the threads.  Everything between two of them is a
loop, on one thread: with loops on several threads (prange), Numba's threads and the BLAS's wait for
each other, and the step is slower.  Sums may be taken in another order, so that they become
vectors.  The weights of all blocks lie side by side, (L, ...), and all weights in one vector.

Legend: B batch, T time, R = B T rows, V vocabulary, L layers, D width, N heads.
"""

import math

import numba
import numpy as np
import scipy.linalg.cython_blas  # noqa: F401  # Numba's BLAS: there before threads are limited

from .in_numpy import BETA1, BETA2, EPS, SCALE, TINY

OF_A_BLOCK = (
    *("norm_1.gain", "norm_1.bias", "attention.W_qkv", "attention.b_qkv"),
    *("attention.W_o", "attention.b_o", "norm_2.gain", "norm_2.bias"),
    *("feed_forward.W_1", "feed_forward.b_1", "feed_forward.W_2", "feed_forward.b_2"),
)
# Sums may be reordered, but NaN and infinity keep their meaning.  A division by zero raises no
# exception, because a loop that may raise one becomes no vectors.
OPTIONS = {"fastmath": {"reassoc", "contract", "nsz"}, "error_model": "numpy"}
jit = numba.njit(**OPTIONS)


def new_step(config, params, inputs, targets, learning_rate):
    """Make a step of Adam on one batch, which returns the loss before it."""
    stacked = [params["embedding.E"], params["positions.E"]]
    for name in OF_A_BLOCK:
        stacked.append(np.stack([params[f"blocks.{n}.{name}"] for n in range(config.layers)]))
    stacked += [params["norm.gain"], params["norm.bias"]]
    p = np.concatenate([array.ravel() for array in stacked])
    g, m, v = np.zeros_like(p), np.zeros_like(p), np.zeros_like(p)
    arrays = views(p, stacked), views(g, stacked)
    ids, t = (inputs.ravel(), targets.ravel()), 0

    def step():
        nonlocal t
        t += 1
        size, correction = learning_rate / (1 - BETA1**t), 1 / (1 - BETA2**t)
        return whole_step(*arrays, *ids, config.heads, p, g, m, v, size, correction)

    return step


def views(flat, like):
    """Arrays of the shapes of others, one after the other in a vector."""
    ends = np.cumsum([array.size for array in like])
    return tuple(
        part.reshape(array.shape) for part, array in zip(np.split(flat, ends), like, strict=False)
    )


@jit
def whole_step(params, gradients, inputs, targets, N, p, g, m, v, size, correction):
    """inputs and targets (R,) -> the loss.  p and its moments, m and v, change in place."""
    E, P, gain_1, bias_1, W_qkv, b_qkv, W_o, b_o = params[:8]
    gain_2, bias_2, W_1, b_1, W_2, b_2, gain, bias = params[8:]
    dE, dP, dgain_1, dbias_1, dW_qkv, db_qkv, dW_o, db_o = gradients[:8]
    dgain_2, dbias_2, dW_1, db_1, dW_2, db_2, dgain, dbias = gradients[8:]
    L, D = gain_1.shape
    T, R, F = len(P), len(inputs), b_1.shape[1]
    ones = np.ones(R, E.dtype)

    def kept(rows, columns):
        return np.empty((rows, R, columns), E.dtype)

    x_hat_1, h_1, x_hat_2, h_2, c = kept(L, D), kept(L, D), kept(L, D), kept(L, D), kept(L, D)
    scale_1, scale_2 = np.empty((L, R), E.dtype), np.empty((L, R), E.dtype)
    qkv, y_1, slope = kept(L, 3 * D), kept(L, F), kept(L, F)
    weights = np.empty((L, R // T, N, T, T), E.dtype)
    x, h, x_hat, scale = kept(1, D)[0], kept(1, D)[0], kept(1, D)[0], np.empty(R, E.dtype)
    # forward: a sum of x and the last branch, with its bias, is formed where it is normalised
    embed(E, P, inputs, x)
    layer_norm(x, gain_1[0], bias_1[0], x_hat_1[0], scale_1[0], h_1[0])
    for n in range(L):
        add(np.dot(h_1[n], W_qkv[n]), b_qkv[n], qkv[n])
        attention(qkv[n], T, N, weights[n], c[n])
        add_branch(x, np.dot(c[n], W_o[n]), b_o[n])
        layer_norm(x, gain_2[n], bias_2[n], x_hat_2[n], scale_2[n], h_2[n])
        gelu(np.dot(h_2[n], W_1[n]), b_1[n], y_1[n], slope[n])
        add_branch(x, np.dot(y_1[n], W_2[n]), b_2[n])
        if n + 1 < L:
            layer_norm(x, gain_1[n + 1], bias_1[n + 1], x_hat_1[n + 1], scale_1[n + 1], h_1[n + 1])
    layer_norm(x, gain, bias, x_hat, scale, h)
    logits = np.dot(h, E.T)
    loss = cross_entropy(logits, targets)  # logits are their gradients now
    # backward
    np.dot(logits.T, h, dE)
    dx, dqkv = np.zeros_like(x), np.empty_like(qkv[0])
    layer_norm_backward(np.dot(logits, E), x_hat, scale, gain, dx, dgain, dbias)
    for n in range(L - 1, -1, -1):
        np.dot(y_1[n].T, dx, dW_2[n])
        np.dot(ones, dx, db_2[n])
        dh = np.dot(dx, W_2[n].T)
        multiply(dh, slope[n])
        np.dot(h_2[n].T, dh, dW_1[n])
        np.dot(ones, dh, db_1[n])
        dh = np.dot(dh, W_1[n].T)
        layer_norm_backward(dh, x_hat_2[n], scale_2[n], gain_2[n], dx, dgain_2[n], dbias_2[n])
        np.dot(c[n].T, dx, dW_o[n])
        np.dot(ones, dx, db_o[n])
        attention_backward(np.dot(dx, W_o[n].T), qkv[n], T, N, weights[n], dqkv)
        np.dot(h_1[n].T, dqkv, dW_qkv[n])
        np.dot(ones, dqkv, db_qkv[n])
        dh = np.dot(dqkv, W_qkv[n].T)
        layer_norm_backward(dh, x_hat_1[n], scale_1[n], gain_1[n], dx, dgain_1[n], dbias_1[n])
    embed_backward(dx, inputs, dE, dP)
    adam(p, g, m, v, size, correction)
    return loss


# --- operations -----------------------------------------------------------------------------------


@jit
def embed(E, P, ids, x):
    for r in range(len(ids)):
        x[r] = E[ids[r]] + P[r % len(P)]


@jit
def embed_backward(dx, ids, dE, dP):
    dP[:] = 0
    for r in range(len(ids)):  # one thread: several rows may have the same id
        dE[ids[r]] += dx[r]
        dP[r % len(dP)] += dx[r]


@jit
def add(x, b, y):
    for r in range(len(x)):
        for i in range(len(b)):
            y[r, i] = x[r, i] + b[i]


@jit
def add_branch(x, h, b):
    for r in range(len(x)):
        for i in range(len(b)):
            x[r, i] += h[r, i] + b[i]


@jit
def multiply(x, y):
    for r in range(len(x)):
        for i in range(x.shape[1]):
            x[r, i] *= y[r, i]


@jit
def layer_norm(x, gain, bias, x_hat, scale, y):
    D = len(gain)
    for r in range(len(x)):
        mean = np.float32(0)
        for i in range(D):
            mean += x[r, i]
        mean /= np.float32(D)
        variance = np.float32(0)
        for i in range(D):
            variance += (x[r, i] - mean) ** 2
        scale[r] = np.float32(1) / np.sqrt(variance / np.float32(D) + np.float32(EPS))
        for i in range(D):
            x_hat[r, i] = (x[r, i] - mean) * scale[r]
            y[r, i] = gain[i] * x_hat[r, i] + bias[i]


@jit
def layer_norm_backward(dy, x_hat, scale, gain, dx, dgain, dbias):
    """Add to dx the gradient of the norm's input."""
    R, D = dy.shape
    for r in range(R):
        along_ones = along_x_hat = np.float32(0)
        for i in range(D):
            along_ones += dy[r, i] * gain[i]
            along_x_hat += dy[r, i] * gain[i] * x_hat[r, i]
        along_ones, along_x_hat = along_ones / np.float32(D), along_x_hat / np.float32(D)
        for i in range(D):
            dx[r, i] += scale[r] * (dy[r, i] * gain[i] - along_ones - x_hat[r, i] * along_x_hat)
    dgain[:], dbias[:] = 0, 0
    for r in range(R):
        for i in range(D):
            dgain[i] += dy[r, i] * x_hat[r, i]
            dbias[i] += dy[r, i]


@jit
def gelu(x, b, y, slope):
    """y = gelu(x + b), and its derivative."""
    half, one, two = np.float32(0.5), np.float32(1), np.float32(2)
    s, c = np.float32(SCALE), np.float32(0.044715)
    for r in range(len(x)):
        for i in range(len(b)):
            z = x[r, i] + b[i]
            tanh = one - two / (exp(two * s * (z + c * z * z * z)) + one)
            du = s * (one + np.float32(3) * c * z * z)
            y[r, i] = half * z * (one + tanh)
            slope[r, i] = half * (one + tanh) + half * z * (one - tanh * tanh) * du


@jit
def attention(qkv, T, N, weights, y):
    """qkv (R, 3 D) -> weights (B, N, T, T) and y (R, D), which are written."""
    width = y.shape[1] // N
    for job in range(len(y) // T * N):
        row, column = job // N * T, job % N * width
        q, k, v = head(qkv, row, T, column, width)
        y[row : row + T, column : column + width] = attend(q, k, v, weights[job // N, job % N])


@jit
def attention_backward(dy, qkv, T, N, weights, dqkv):
    D, width = dy.shape[1], dy.shape[1] // N
    for job in range(len(dy) // T * N):
        row, column = job // N * T, job % N * width
        q, k, v = head(qkv, row, T, column, width)
        d = dy[row : row + T, column : column + width].copy()
        dq, dk, dv = attend_backward(d, q, k, v, weights[job // N, job % N])
        dqkv[row : row + T, column : column + width] = dq
        dqkv[row : row + T, D + column : D + column + width] = dk
        dqkv[row : row + T, 2 * D + column : 2 * D + column + width] = dv


@jit
def head(qkv, row, T, column, width):
    """Copies of the queries, keys and values of one head of one text, (T, width) each."""
    D, rows = qkv.shape[1] // 3, qkv[row : row + T]
    q = rows[:, column : column + width].copy()
    k = rows[:, D + column : D + column + width].copy()
    return q, k, rows[:, 2 * D + column : 2 * D + column + width].copy()


@jit
def attend(q, k, v, weights):
    """Causal attention of one head: q, k, v (T, width) -> y (T, width), and weights (T, T)."""
    (T, width), k_transposed, y = q.shape, k.T.copy(), np.zeros_like(v)
    factor = np.float32(width**-0.5)
    for t in range(T):
        row = weights[t]
        row[:] = 0
        for i in range(width):
            for s in range(t + 1):
                row[s] += q[t, i] * k_transposed[i, s]
        largest, total = row[: t + 1].max() * factor, np.float32(0)
        for s in range(t + 1):
            row[s] = exp(row[s] * factor - largest)
            total += row[s]
        for s in range(t + 1):
            row[s] /= total
            for i in range(width):
                y[t, i] += row[s] * v[s, i]
    return y


@jit
def attend_backward(dy, q, k, v, weights):
    (T, width), v_transposed = q.shape, v.T.copy()
    dq, dk, dv, ds = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v), np.empty(T, q.dtype)
    factor = np.float32(width**-0.5)
    for t in range(T):
        ds[:] = 0
        for i in range(width):
            for s in range(t + 1):
                ds[s] += dy[t, i] * v_transposed[i, s]
        mean = np.float32(0)
        for s in range(t + 1):
            mean += weights[t, s] * ds[s]
        for s in range(t + 1):
            ds[s] = weights[t, s] * (ds[s] - mean) * factor
            for i in range(width):
                dq[t, i] += ds[s] * k[s, i]
                dk[s, i] += ds[s] * q[t, i]
                dv[s, i] += weights[t, s] * dy[t, i]
    return dq, dk, dv


@jit
def exp(x):
    """e^x of a float32 between -87 and 88, to 5e-7: 2^n e^r, with |r| up to ln(2) / 2.

    Without a library of vectors, Numba calls C's exp for each number.  This one becomes vectors.
    """
    x = min(max(x, np.float32(-87)), np.float32(88))
    n = np.floor(x * np.float32(1.4426950408889634) + np.float32(0.5))
    r = x - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)  # ln(2) in two parts
    e = np.float32(1 / 720)
    for factorial in (120, 24, 6, 2, 1, 1):
        e = e * r + np.float32(1 / factorial)
    return e * np.int32((np.int32(n) + 127) << 23).view(np.float32)


@jit
def cross_entropy(logits, targets):
    """The mean loss; dlogits take the place of the logits."""
    loss, R = 0.0, len(targets)
    for r in range(R):
        row, total = logits[r], np.float32(0)
        largest = row.max()
        for i in range(len(row)):
            row[i] = exp(row[i] - largest)
            total += row[i]
        loss -= math.log(row[targets[r]] / total) / R
        for i in range(len(row)):
            row[i] /= total * np.float32(R)
        row[targets[r]] -= np.float32(1) / np.float32(R)
    return loss


@jit
def adam(p, g, m, v, size, correction):
    b1, b2, tiny = np.float32(BETA1), np.float32(BETA2), np.float32(TINY)
    size, correction, one = np.float32(size), np.float32(correction), np.float32(1)
    for i in range(len(p)):
        m[i] = b1 * m[i] + (one - b1) * g[i]
        v[i] = b2 * v[i] + (one - b2) * g[i] * g[i]
        p[i] -= size * m[i] / (np.sqrt(v[i] * correction) + tiny)
