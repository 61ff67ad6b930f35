"""The ops that are broken on purpose.  Here all of them are right.

The equations and their backwards are those of ``minillm/ops`` on November 26, 2026, without
checks, kernels and derivations: one file that needs nothing but NumPy.  A few ops that the
package does not have are at the end.  The shapes are in ``cases.py``.

This file is frozen, and so are the bugs: a change here would change them without notice.
"""

import math

import numpy as np

# --- parts that several ops share ------------------------------------------------------------


def or_zeros(gradient, output):
    """Return the gradient of an output; None means zero."""
    return np.zeros_like(output) if gradient is None else gradient


def rows(x):
    """(..., D) -> (N, D)"""
    return x.reshape(-1, x.shape[-1])


def transposed(x):
    """(..., M, N) -> (..., N, M)"""
    return np.swapaxes(x, -1, -2)


def length_mask(lengths, T):
    """lengths (B,) -> (B, T), True before each row's length"""
    return np.arange(T) < lengths[:, None]


def zero_padding(x, lengths):
    """x (B, ..., T, D) -> x with zeros from each row's length on"""
    between = [1] * (x.ndim - 3)
    mask = length_mask(lengths, x.shape[-2]).reshape(len(x), *between, x.shape[-2], 1)
    return np.where(mask, x, 0)


def logistic(x):
    return 0.5 * np.tanh(0.5 * x) + 0.5


def exponentials(x):
    """x (..., D) -> x - max(x), its exponential, and the sum of that (..., 1)"""
    z = x - x.max(axis=-1, keepdims=True)
    exp_z = np.exp(z)
    return z, exp_z, exp_z.sum(axis=-1, keepdims=True)


def softmax_backward(dy, y):
    return y * (dy - (dy * y).sum(axis=-1, keepdims=True))


def masked_softmax(x, allowed):
    """A softmax over the allowed entries; where there are none, all weights are zero."""
    x = np.where(allowed, x, -np.inf)
    largest = x.max(axis=-1, keepdims=True)
    exp_z = np.exp(x - np.where(largest == -np.inf, 0, largest))
    total = exp_z.sum(axis=-1, keepdims=True)
    return exp_z / np.where(total == 0, 1, total)


def attend_backward(dcontext, dweights, values, weights):
    # context = weights values; the weights are an output, too
    dvalues = transposed(weights) @ dcontext
    dweights = dweights + dcontext @ transposed(values)
    # weights = softmax(scores)
    return softmax_backward(dweights, weights), dvalues


def input_term_backward(da, x, W_x, lengths):
    # a = x W_x + b + ...
    db = rows(da).sum(axis=0)
    dx = zero_padding(da @ W_x.T, lengths)
    dW_x = rows(zero_padding(x, lengths)).T @ rows(da)
    return dx, dW_x, db


def state_term_backward(da, h0, hs, lengths):
    # a = h_prev W_h + ...
    h_prev = np.concatenate([h0[:, None], hs[:, :-1]], axis=1)
    return rows(zero_padding(h_prev, lengths)).T @ rows(da)


# --- ops of the package -----------------------------------------------------------------------


def linear(x, W, b):
    y = x @ W + b

    def backward(dy):
        # y = x W + b
        dx = dy @ W.T
        dW = rows(x).T @ rows(dy)
        db = rows(dy).sum(axis=0)
        return dx, dW, db

    return y, backward


def embedding(ids, E):
    y = E[ids]

    def backward(dy):
        dE = np.zeros_like(E)
        # y = E[ids]; the gradients of a row that is used several times add up
        np.add.at(dE, ids, dy)
        return dE

    return y, backward


def tanh(x):
    y = np.tanh(x)

    def backward(dy):
        return dy * (1 - y**2)

    return y, backward


def sigmoid(x):
    y = logistic(x)

    def backward(dy):
        return dy * y * (1 - y)

    return y, backward


def relu(x):
    y = np.maximum(x, 0)

    def backward(dy):
        return dy * (x > 0)

    return y, backward


def silu(x):
    s = logistic(x)
    y = x * s

    def backward(dy):
        # y = x s, where ds/dx = s (1 - s)
        return dy * s * (1 + x * (1 - s))

    return y, backward


def gelu(x):
    scale = math.sqrt(2 / math.pi)
    t = np.tanh(scale * (x + 0.044715 * x**3))
    y = x * (1 + t) / 2

    def backward(dy):
        # u = scale (x + 0.044715 x^3)
        du = scale * (1 + 3 * 0.044715 * x**2)
        # y = x (1 + tanh(u)) / 2
        return dy * ((1 + t) / 2 + x * (1 - t**2) * du / 2)

    return y, backward


def exact_gelu(x):
    cdf = np.vectorize(math.erfc, otypes=[float])(-x / math.sqrt(2)) / 2
    y = x * cdf

    def backward(dy):
        # y = x Phi(x), where the derivative of Phi is the density
        density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
        return dy * (cdf + x * density)

    return y, backward


def softmax(x):
    _, exp_z, total = exponentials(x)
    y = exp_z / total

    def backward(dy):
        return y * (dy - (dy * y).sum(axis=-1, keepdims=True))

    return y, backward


def layer_norm(x, gain, bias):
    mean = x.mean(axis=-1, keepdims=True)
    inverse_std = 1 / np.sqrt(((x - mean) ** 2).mean(axis=-1, keepdims=True) + 1e-5)
    x_hat = (x - mean) * inverse_std
    y = gain * x_hat + bias

    def backward(dy):
        # y = gain x_hat + bias
        dbias = rows(dy).sum(axis=0)
        dgain = rows(dy * x_hat).sum(axis=0)
        dx_hat = dy * gain
        # x_hat = (x - mean) inverse_std
        along_ones = dx_hat.mean(axis=-1, keepdims=True)
        along_x_hat = (dx_hat * x_hat).mean(axis=-1, keepdims=True)
        dx = (dx_hat - along_ones - x_hat * along_x_hat) * inverse_std
        return dx, dgain, dbias

    return y, backward


def add_norm(x, h, gain, bias):
    total = x + h
    y, norm_backward = layer_norm(total, gain, bias)

    def backward(dtotal, dy=None):
        dtotal, dy = or_zeros(dtotal, total), or_zeros(dy, y)
        # y = layer_norm(total)
        dx, dgain, dbias = norm_backward(dy)
        # total is an output as well
        dx = dtotal + dx
        return dx, dx.copy(), dgain, dbias

    return (total, y), backward


def rms_norm(x, gain):
    inverse_rms = 1 / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-5)
    x_hat = x * inverse_rms
    y = gain * x_hat

    def backward(dy):
        # y = gain x_hat
        dgain = rows(dy * x_hat).sum(axis=0)
        dx_hat = dy * gain
        # x_hat = x inverse_rms
        along_x_hat = (dx_hat * x_hat).mean(axis=-1, keepdims=True)
        dx = (dx_hat - x_hat * along_x_hat) * inverse_rms
        return dx, dgain

    return y, backward


def rotary(x, positions):
    angles = positions[:, None, :, None] * 100.0 ** (-np.arange(x.shape[-1] // 2))
    cos, sin = np.cos(angles), np.sin(angles)
    first, second = np.split(x, 2, axis=-1)
    y = np.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)

    def backward(dy):
        dfirst, dsecond = np.split(dy, 2, axis=-1)
        return np.concatenate([dfirst * cos + dsecond * sin, dsecond * cos - dfirst * sin], axis=-1)

    return y, backward


def dropout(x, kept):
    scale = 1 / 0.7
    y = x * kept * scale

    def backward(dy):
        return dy * kept * scale

    return y, backward


def cross_entropy(logits, targets, mask, class_weights):
    smoothing, V = 0.1, logits.shape[-1]
    z, exp_z, total = exponentials(logits[mask])
    p, kept, count = exp_z / total, targets[mask], mask.sum()
    expected = (1 - smoothing) * z[np.arange(count), kept] + smoothing * z.mean(axis=-1)
    nats = np.log(total[:, 0]) - expected
    loss = (class_weights[kept] * nats).sum() / count

    def backward(dloss):
        q = np.full_like(p, smoothing / V)
        q[np.arange(count), kept] += 1 - smoothing
        share = dloss / count
        dlogits = np.zeros_like(logits)
        dlogits[mask] = share * class_weights[kept][:, None] * (p - q)
        # several places may have the same target
        dclass_weights = np.zeros_like(class_weights)
        np.add.at(dclass_weights, kept, share * nats)
        return dlogits, dclass_weights

    return loss, backward


def reverse(x, lengths):
    B, T, _ = x.shape
    source = lengths[:, None] - 1 - np.arange(T)

    def reversed_rows(a):
        return np.where((source >= 0)[..., None], a[np.arange(B)[:, None], source], 0)

    def backward(dy):
        return reversed_rows(dy)

    return reversed_rows(x), backward


def rnn(x, h0, W_x, W_h, b, lengths):
    a = zero_padding(x, lengths) @ W_x + b
    h, states = h0, []
    for t in range(x.shape[1]):
        h_t = np.tanh(a[:, t] + h @ W_h)
        states.append(h_t)
        h = np.where((t < lengths)[:, None], h_t, h)
    hs, h_last = zero_padding(np.stack(states, axis=1), lengths), h

    def backward(dhs, dh_last=None):
        dhs, dh = zero_padding(or_zeros(dhs, hs), lengths), or_zeros(dh_last, h_last)
        da = np.zeros_like(hs)
        for t in reversed(range(x.shape[1])):
            running = (t < lengths)[:, None]
            # h = tanh(a)
            da_t = (dh + dhs[:, t]) * (1 - hs[:, t] ** 2)
            da[:, t] = np.where(running, da_t, 0)
            # a = x W_x + b + h_prev W_h; past its end, a row's state does not change
            dh = np.where(running, da_t @ W_h.T, dh)
        dx, dW_x, db = input_term_backward(da, x, W_x, lengths)
        dW_h = state_term_backward(da, h0, hs, lengths)
        return dx, dh, dW_x, dW_h, db

    return (hs, h_last), backward


def lstm(x, h0, c0, W_x, W_h, b, lengths):
    a = zero_padding(x, lengths) @ W_x + b
    h, c, states, cells, gates = h0, c0, [], [], []
    for t in range(x.shape[1]):
        i, f, g, o = np.split(a[:, t] + h @ W_h, 4, axis=1)
        i, f, g, o = logistic(i), logistic(f), np.tanh(g), logistic(o)
        c_t = f * c + i * g
        h_t = o * np.tanh(c_t)
        states.append(h_t)
        cells.append(c_t)
        gates.append((i, f, g, o))
        running = (t < lengths)[:, None]
        h, c = np.where(running, h_t, h), np.where(running, c_t, c)
    hs, h_last, c_last = zero_padding(np.stack(states, axis=1), lengths), h, c

    def backward(dhs, dh_last=None, dc_last=None):
        dhs = zero_padding(or_zeros(dhs, hs), lengths)
        dh, dc = or_zeros(dh_last, h_last), or_zeros(dc_last, c_last)
        da = np.zeros_like(a)
        for t in reversed(range(x.shape[1])):
            i, f, g, o = gates[t]
            c_prev = cells[t - 1] if t > 0 else c0
            tanh_c = np.tanh(cells[t])
            # h = o tanh(c)
            dh_t = dh + dhs[:, t]
            do = dh_t * tanh_c
            dc_t = dc + dh_t * o * (1 - tanh_c**2)
            # c = f c_prev + i g
            df, dc_prev = dc_t * c_prev, dc_t * f
            di, dg = dc_t * g, dc_t * i
            # i, f, o = sigmoid(a); g = tanh(a)
            da_i, da_f = di * i * (1 - i), df * f * (1 - f)
            da_g, da_o = dg * (1 - g**2), do * o * (1 - o)
            da_t = np.concatenate([da_i, da_f, da_g, da_o], axis=1)
            # a = x W_x + b + h_prev W_h; past its end, a row's state does not change
            running = (t < lengths)[:, None]
            da[:, t] = np.where(running, da_t, 0)
            dh, dc = np.where(running, da_t @ W_h.T, dh), np.where(running, dc_prev, dc)
        dx, dW_x, db = input_term_backward(da, x, W_x, lengths)
        dW_h = state_term_backward(da, h0, hs, lengths)
        return dx, dh, dc, dW_x, dW_h, db

    return (hs, h_last, c_last), backward


def gru(x, h0, W_x, W_h, b_x, b_h, lengths):
    a_x = zero_padding(x, lengths) @ W_x + b_x
    h, states, gates = h0, [], []
    for t in range(x.shape[1]):
        x_r, x_z, x_n = np.split(a_x[:, t], 3, axis=1)
        h_r, h_z, h_n = np.split(h @ W_h + b_h, 3, axis=1)
        r, z = logistic(x_r + h_r), logistic(x_z + h_z)
        n = np.tanh(x_n + r * h_n)
        h_t = (1 - z) * n + z * h
        states.append(h_t)
        gates.append((r, z, n, h_n))
        h = np.where((t < lengths)[:, None], h_t, h)
    hs, h_last = zero_padding(np.stack(states, axis=1), lengths), h

    def backward(dhs, dh_last=None):
        dhs, dh = zero_padding(or_zeros(dhs, hs), lengths), or_zeros(dh_last, h_last)
        da_x, da_h = np.zeros_like(a_x), np.zeros_like(a_x)
        for t in reversed(range(x.shape[1])):
            r, z, n, h_n = gates[t]
            h_prev = hs[:, t - 1] if t > 0 else h0
            # h = (1 - z) n + z h_prev
            dh_t = dh + dhs[:, t]
            dn, dz, dh_prev = dh_t * (1 - z), dh_t * (h_prev - n), dh_t * z
            # n = tanh(x_n + r h_n)
            da_n = dn * (1 - n**2)
            dr, dh_n = da_n * h_n, da_n * r
            # r = sigmoid(x_r + h_r); z = sigmoid(x_z + h_z)
            da_r, da_z = dr * r * (1 - r), dz * z * (1 - z)
            # [x_r, x_z, x_n] = x W_x + b_x; [h_r, h_z, h_n] = h_prev W_h + b_h
            da_x_t = np.concatenate([da_r, da_z, da_n], axis=1)
            da_h_t = np.concatenate([da_r, da_z, dh_n], axis=1)
            # past its end, a row's state does not change
            running = (t < lengths)[:, None]
            da_x[:, t], da_h[:, t] = np.where(running, da_x_t, 0), np.where(running, da_h_t, 0)
            dh = np.where(running, dh_prev + da_h_t @ W_h.T, dh)
        dx, dW_x, db_x = input_term_backward(da_x, x, W_x, lengths)
        dW_h, db_h = state_term_backward(da_h, h0, hs, lengths), rows(da_h).sum(axis=0)
        return dx, dh, dW_x, dW_h, db_x, db_h

    return (hs, h_last), backward


def additive_attention(query, keys, values, W_q, W_k, v, lengths):
    present, values = zero_padding(keys, lengths), zero_padding(values, lengths)
    q, k = query @ W_q, present @ W_k
    hidden = np.tanh(q[:, :, None] + k[:, None])
    weights = masked_softmax(hidden @ v, length_mask(lengths, keys.shape[1])[:, None])
    context = weights @ values

    def backward(dcontext, dweights=None):
        dcontext, dweights = or_zeros(dcontext, context), or_zeros(dweights, weights)
        dscores, dvalues = attend_backward(dcontext, dweights, values, weights)
        # scores = hidden v
        dv = np.tensordot(dscores, hidden, axes=3)
        # hidden = tanh(q + k)
        da = dscores[..., None] * v * (1 - hidden**2)
        dq, dk = da.sum(axis=2), da.sum(axis=1)
        # q = query W_q; k = keys W_k
        dquery, dkeys = dq @ W_q.T, dk @ W_k.T
        dW_q, dW_k = rows(query).T @ rows(dq), rows(present).T @ rows(dk)
        return dquery, dkeys, dvalues, dW_q, dW_k, dv

    return (context, weights), backward


def multiplicative_attention(query, keys, values, W, lengths):
    keys, values = zero_padding(keys, lengths), zero_padding(values, lengths)
    q = query @ W
    scores = q @ transposed(keys)
    weights = masked_softmax(scores, length_mask(lengths, keys.shape[1])[:, None])
    context = weights @ values

    def backward(dcontext, dweights=None):
        dcontext, dweights = or_zeros(dcontext, context), or_zeros(dweights, weights)
        dscores, dvalues = attend_backward(dcontext, dweights, values, weights)
        # scores = q keys^T
        dq = dscores @ keys
        dkeys = transposed(dscores) @ q
        # q = query W
        dquery, dW = dq @ W.T, rows(query).T @ rows(dq)
        return dquery, dkeys, dvalues, dW

    return (context, weights), backward


def scaled_attention(q, k, v, lengths):
    (B, N, T, D), (_, M, S, _) = q.shape, k.shape
    keys = np.repeat(zero_padding(k, lengths), N // M, axis=1)
    values = np.repeat(zero_padding(v, lengths), N // M, axis=1)
    before = np.arange(S) <= S - T + np.arange(T)[:, None]
    scores = q @ transposed(keys) * D**-0.5
    allowed = length_mask(lengths, S)[:, None, None]
    weights = masked_softmax(scores, allowed & before)
    y = weights @ values

    def backward(dy):
        dscores, dvalues = attend_backward(dy, 0.0, values, weights)
        # scores = q keys^T / sqrt(D)
        dq = dscores @ keys * D**-0.5
        dkeys = transposed(dscores) @ q * D**-0.5
        # N / M heads of queries share a head of keys
        dk = dkeys.reshape(B, M, N // M, S, -1).sum(axis=2)
        dv = dvalues.reshape(B, M, N // M, S, -1).sum(axis=2)
        return dq, dk, dv

    return y, backward


def attention_flow(h, u, w_h, w_u, w_hu, lengths, question_lengths):
    h, u = zero_padding(h, lengths), zero_padding(u, question_lengths)
    T = h.shape[1]
    # s_tj = w_h . h_t + (h_t * w_hu + w_u) . u_j
    q = h * w_hu + w_u
    question_mask = length_mask(question_lengths, u.shape[1])[:, None]
    scores = q @ transposed(u)
    a = masked_softmax(scores, question_mask)
    v = a @ u
    scores = np.where(question_mask, scores, -np.inf)
    closest = scores.argmax(axis=2)[..., None]
    best = np.take_along_axis(scores, closest, axis=2)[..., 0] + h @ w_h
    b = masked_softmax(best, length_mask(lengths, T))[:, None]
    c = b @ h
    g = zero_padding(np.concatenate([h, v, h * v, h * c], axis=2), lengths)

    def backward(dg):
        # g = [h, v, h v, h c]
        dh, dv, dhv, dhc = np.split(zero_padding(dg, lengths), 4, axis=2)
        dh = dh + dhv * v + dhc * c
        dv = dv + dhv * h
        dc = (dhc * h).sum(axis=1, keepdims=True)
        # c = b h
        dh = dh + transposed(b) * dc
        db = dc @ transposed(h)
        # b = softmax(best), best_t = the largest s_tj + w_h . h_t
        dbest = transposed(b * (db - (b * db).sum(axis=2, keepdims=True)))
        dh = dh + dbest * w_h
        dw_h = (dbest * h).sum(axis=(0, 1))
        # v = a u, a = softmax(scores)
        da = dv @ transposed(u)
        du = transposed(a) @ dv
        dscores = a * (da - (a * da).sum(axis=2, keepdims=True))
        to_closest = np.take_along_axis(dscores, closest, axis=2) + dbest
        np.put_along_axis(dscores, closest, to_closest, axis=2)
        # scores = q u^T
        dq = dscores @ u
        du = du + transposed(dscores) @ q
        # q = h w_hu + w_u
        dh = dh + dq * w_hu
        dw_u, dw_hu = dq.sum(axis=(0, 1)), (dq * h).sum(axis=(0, 1))
        return zero_padding(dh, lengths), zero_padding(du, question_lengths), dw_h, dw_u, dw_hu

    return g, backward


def mean_pool(x, lengths):
    count = np.maximum(lengths, 1)[:, None]
    y = zero_padding(x, lengths).sum(axis=1) / count

    def backward(dy):
        share = (dy / count)[:, None]
        return zero_padding(np.broadcast_to(share, x.shape), lengths)

    return y, backward


def max_pool(x, lengths):
    among = np.where(length_mask(lengths, x.shape[1])[..., None], x, -np.inf)
    place, empty = among.argmax(axis=1)[:, None], (lengths == 0)[:, None]
    y = np.where(empty, 0, np.take_along_axis(x, place, axis=1)[:, 0])

    def backward(dy):
        dx = np.zeros_like(x)
        np.put_along_axis(dx, place, np.where(empty, 0, dy)[:, None], axis=1)
        return dx

    return y, backward


# --- ops of others ----------------------------------------------------------------------------


def convolution(x, W, b):
    steps = x.shape[1] - len(W) + 1
    y = b + sum(x[:, k : k + steps] @ W[k] for k in range(len(W)))

    def backward(dy):
        dx, dW = np.zeros_like(x), np.zeros_like(W)
        for k in range(len(W)):
            # y_t = ... + x_{t + k} W_k
            dx[:, k : k + steps] += dy @ W[k].T
            dW[k] = rows(x[:, k : k + steps]).T @ rows(dy)
        db = rows(dy).sum(axis=0)
        return dx, dW, db

    return y, backward


def batch_norm(x, gain, bias):
    mean = x.mean(axis=0)
    inverse_std = 1 / np.sqrt(((x - mean) ** 2).mean(axis=0) + 1e-5)
    x_hat = (x - mean) * inverse_std
    y = gain * x_hat + bias

    def backward(dy):
        dbias = dy.sum(axis=0)
        dgain = (dy * x_hat).sum(axis=0)
        # x_hat = (x - mean) inverse_std
        dx = dy - dy.mean(axis=0) - x_hat * (dy * x_hat).mean(axis=0)
        return dx * gain * inverse_std, dgain, dbias

    return y, backward


def scale_and_shift(x, gain, bias):
    y = x * gain + bias  # gain (T, 1), bias (B, 1, D)

    def backward(dy):
        dgain = (dy * x).sum(axis=(0, 2))[:, None]
        dbias = dy.sum(axis=1, keepdims=True)
        return dy * gain, dgain, dbias

    return y, backward


def tied(x, E):
    h = np.tanh(x @ E)
    y = h @ E.T

    def backward(dy):
        # y = h E^T
        dh, dE = dy @ E, rows(dy).T @ rows(h)
        # h = tanh(x E)
        da = dh * (1 - h**2)
        return da @ E.T, dE + rows(x).T @ rows(da)

    return y, backward


def bilinear(x, W, z):
    y = np.einsum("bi,oij,bj->bo", x, W, z)

    def backward(dy):
        dx = np.einsum("bo,oij,bj->bi", dy, W, z)
        dW = np.einsum("bo,bi,bj->oij", dy, x, z)
        dz = np.einsum("bo,oij,bi->bj", dy, W, x)
        return dx, dW, dz

    return y, backward


def leaky_relu(x, slope):
    y = np.where(x > 0, x, slope * x)

    def backward(dy):
        dx = np.where(x > 0, dy, slope * dy)
        dslope = rows(np.where(x > 0, 0, dy * x)).sum(axis=0)
        return dx, dslope

    return y, backward


def softplus(x):
    y = np.log(1 + np.exp(x))

    def backward(dy):
        return dy * logistic(x)

    return y, backward


def log_softmax(x):
    z, _, total = exponentials(x)
    y = z - np.log(total)

    def backward(dy):
        return dy - np.exp(y) * dy.sum(axis=-1, keepdims=True)

    return y, backward


def normalise(x):
    """Divide each row by its length."""
    length = np.sqrt((x**2).sum(axis=-1, keepdims=True))
    y = x / length

    def backward(dy):
        return (dy - y * (dy * y).sum(axis=-1, keepdims=True)) / length

    return y, backward
