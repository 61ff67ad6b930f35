"""The recurrences, forward and backward through time: the NumPy original.

Legend: B batch, T time, I input width, H hidden width.  ``ops.recurrent``
states the equations and checks the arguments; here they are trusted.

x is (B, T, I), or ids (B, T) that stand for one-hot vectors: then ``x W_x`` is a
row of W_x for each, and its gradient a sum by id, and neither is a product.

All three forwards have one shape.  The input's share of every step,
``x W_x + b``, depends on no earlier step, so that it is one matrix product
before the loop.  What remains in the loop is ``h W_h`` and the gates.

All three backwards have one shape too.  The loop runs from the last step to
the first and finds ``da``, the gradient by the pre-activations ``a``, of every
step.  With those in hand, the weights' gradients are one matrix product each
after the loop, deep in B * T:

    a_t = x_t W_x + h_{t-1} W_h + b    (forward)
    dx = da W_x^T    dW_x = x^T da    dW_h = h_prev^T da    db = sum of da

Unequal lengths cost the loops nothing.  Forward, a row that has ended runs on
over its padding; afterwards what it made there is set to zero, and its last
state is read off at its last valid step.  Backward, no gradient comes in beyond
the end, so that ``da`` is zero there, and the gradient by the last state joins
at the step at which that state was made.

Source: Werbos (1990), "Backpropagation through time: what it does and how to
do it".
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm._kernels.embedding import embedding_backward

Array = NDArray[np.floating]
Inputs = NDArray[Any]  # floats (B, T, I), or ids (B, T) as int64
Lengths = NDArray[np.int64]


def _sigmoid(x: Array, out: Array) -> None:
    # The tanh form overflows nowhere; 1 / (1 + exp(-x)) does at x = -1000.
    np.multiply(x, 0.5, out=out)
    np.tanh(out, out=out)
    out *= 0.5
    out += 0.5


def _rows(x: Array) -> Array:
    return x.reshape(-1, x.shape[-1])  # (B, T, D) -> (B * T, D)


def _input_term(x: Inputs, W_x: Array, b: Array) -> Array:
    """x W_x + b of every step (B, T, gates * H), or of one (B, gates * H)."""
    shape = x.shape if x.dtype.kind == "i" else x.shape[:-1]
    a = W_x[x.ravel()] if x.dtype.kind == "i" else _rows(x) @ W_x
    a += b
    return a.reshape(*shape, -1)


def _beyond(lengths: Lengths, T: int) -> NDArray[np.bool_]:
    return np.arange(T) >= lengths[:, None]  # (B, T)


def _last(states: Array, initial: Array, lengths: Lengths) -> Array:
    """Each row's state at its last valid step: (B, T, H) -> (B, H)."""
    last = states[np.arange(len(lengths)), lengths - 1]
    return np.where((lengths > 0)[:, None], last, initial)


def _weight_gradients(
    da_x: Array, da_h: Array, x: Inputs, h0: Array, hs: Array, W_x: Array
) -> tuple[Array | None, Array, Array, Array, Array]:
    """From the gradients by both pre-activations, all steps at once."""
    h_prev = np.concatenate([h0[:, None], hs[:, :-1]], axis=1)  # (B, T, H)
    rows_x, rows_h = _rows(da_x), _rows(da_h)
    if x.dtype.kind == "i":
        dx, dW_x = None, embedding_backward(rows_x, x.ravel(), len(W_x))
    else:
        dx, dW_x = (rows_x @ W_x.T).reshape(x.shape), _rows(x).T @ rows_x
    dW_h = _rows(h_prev).T @ rows_h
    return dx, dW_x, dW_h, rows_x.sum(axis=0), rows_h.sum(axis=0)


# --- rnn (Elman): h_t = tanh(x_t W_x + h_{t-1} W_h + b) ---------------------


def rnn_forward(
    x: Inputs, h0: Array, W_x: Array, W_h: Array, b: Array, lengths: Lengths
) -> tuple[Array, Array]:
    """-> hs (B, T, H), h_last (B, H)."""
    hs = _input_term(x, W_x, b)  # becomes the output in place
    h = h0
    for t in range(x.shape[1]):
        hs[:, t] += h @ W_h
        np.tanh(hs[:, t], out=hs[:, t])
        h = hs[:, t]
    h_last = _last(hs, h0, lengths)
    hs[_beyond(lengths, x.shape[1])] = 0
    return hs, h_last


def rnn_backward(
    dhs: Array,
    dh_last: Array,
    x: Inputs,
    h0: Array,
    W_x: Array,
    W_h: Array,
    lengths: Lengths,
    hs: Array,
) -> tuple[Array | None, Array, Array, Array, Array]:
    """-> dx (None where x is ids), dh0, dW_x, dW_h, db."""
    T = x.shape[1]
    da = np.where(_beyond(lengths, T)[..., None], 0, dhs)  # becomes da in place
    W_h_T = np.ascontiguousarray(W_h.T)
    dh = np.zeros_like(h0)
    for t in reversed(range(T)):
        ends = lengths == t + 1
        dh[ends] += dh_last[ends]
        # h = tanh(a)
        da[:, t] += dh
        da[:, t] *= 1 - hs[:, t] ** 2
        dh = da[:, t] @ W_h_T
    dh[lengths == 0] += dh_last[lengths == 0]
    dx, dW_x, dW_h, db, _ = _weight_gradients(da, da, x, h0, hs, W_x)
    return dx, dh, dW_x, dW_h, db


def rnn_step(x: Inputs, h: Array, W_x: Array, W_h: Array, b: Array) -> Array:
    """One step without history: x (B, I) or ids (B,), h (B, H) -> h (B, H)."""
    return np.tanh(_input_term(x, W_x, b) + h @ W_h)


# --- lstm: gates i, f, g, o; c = f c + i g; h = o tanh(c) -------------------


def _lstm_cell(a: Array, c_prev: Array) -> tuple[Array, Array]:
    """Turn pre-activations into gates, in place, and run the cell: -> h, c."""
    i, f, g, o = np.split(a, 4, axis=1)  # views
    _sigmoid(i, out=i)
    _sigmoid(f, out=f)
    np.tanh(g, out=g)
    _sigmoid(o, out=o)
    c = f * c_prev + i * g
    return o * np.tanh(c), c


def lstm_forward(
    x: Inputs, h0: Array, c0: Array, W_x: Array, W_h: Array, b: Array, lengths: Lengths
) -> tuple[Array, Array, Array, Array, Array]:
    """-> hs (B, T, H), h_last, c_last (B, H), gates (B, T, 4H), cs (B, T, H)."""
    T = x.shape[1]
    gates = _input_term(x, W_x, b)
    hs = np.empty((*x.shape[:2], h0.shape[1]), h0.dtype)
    cs = np.empty_like(hs)
    h, c = h0, c0
    for t in range(T):
        gates[:, t] += h @ W_h
        h, c = _lstm_cell(gates[:, t], c)
        hs[:, t], cs[:, t] = h, c
    h_last, c_last = _last(hs, h0, lengths), _last(cs, c0, lengths)
    for kept in (hs, cs, gates):
        kept[_beyond(lengths, T)] = 0
    return hs, h_last, c_last, gates, cs


def lstm_backward(
    dhs: Array,
    dh_last: Array,
    dc_last: Array,
    x: Inputs,
    h0: Array,
    c0: Array,
    W_x: Array,
    W_h: Array,
    lengths: Lengths,
    hs: Array,
    gates: Array,
    cs: Array,
) -> tuple[Array | None, Array, Array, Array, Array, Array]:
    """-> dx (None where x is ids), dh0, dc0, dW_x, dW_h, db."""
    T = x.shape[1]
    dhs = np.where(_beyond(lengths, T)[..., None], 0, dhs)
    W_h_T = np.ascontiguousarray(W_h.T)
    da = np.empty_like(gates)
    dh, dc = np.zeros_like(h0), np.zeros_like(c0)
    for t in reversed(range(T)):
        i, f, g, o = np.split(gates[:, t], 4, axis=1)
        da_i, da_f, da_g, da_o = np.split(da[:, t], 4, axis=1)
        c_prev = cs[:, t - 1] if t > 0 else c0
        tanh_c = np.tanh(cs[:, t])
        ends = lengths == t + 1
        dh[ends] += dh_last[ends]
        dc[ends] += dc_last[ends]

        # h = o tanh(c)
        dh += dhs[:, t]
        dc += dh * o * (1 - tanh_c**2)
        # c = f c_prev + i g, where i, f, o = sigmoid(a) and g = tanh(a)
        da_i[...] = dc * g * i * (1 - i)
        da_f[...] = dc * c_prev * f * (1 - f)
        da_g[...] = dc * i * (1 - g**2)
        da_o[...] = dh * tanh_c * o * (1 - o)
        dc *= f
        dh = da[:, t] @ W_h_T
    dh[lengths == 0] += dh_last[lengths == 0]
    dc[lengths == 0] += dc_last[lengths == 0]
    dx, dW_x, dW_h, db, _ = _weight_gradients(da, da, x, h0, hs, W_x)
    return dx, dh, dc, dW_x, dW_h, db


def lstm_step(
    x: Inputs, h: Array, c: Array, W_x: Array, W_h: Array, b: Array
) -> tuple[Array, Array]:
    """One step without history: x (B, I) or ids (B,), h and c (B, H) -> h, c (B, H)."""
    return _lstm_cell(_input_term(x, W_x, b) + h @ W_h, c)


# --- gru: gates r, z, n; the reset after the recurrent product ---------------


def _gru_cell(a_x: Array, a_h: Array, h_prev: Array) -> Array:
    """Turn the input's pre-activations into gates, in place, and run the cell: -> h."""
    r, z, n = np.split(a_x, 3, axis=1)  # views
    h_r, h_z, h_n = np.split(a_h, 3, axis=1)
    r += h_r
    _sigmoid(r, out=r)
    z += h_z
    _sigmoid(z, out=z)
    n += r * h_n
    np.tanh(n, out=n)
    return (1 - z) * n + z * h_prev


def gru_forward(
    x: Inputs, h0: Array, W_x: Array, W_h: Array, b_x: Array, b_h: Array, lengths: Lengths
) -> tuple[Array, Array, Array, Array]:
    """-> hs (B, T, H), h_last (B, H), gates (B, T, 3H), h_n (B, T, H)."""
    T, H = x.shape[1], h0.shape[1]
    gates = _input_term(x, W_x, b_x)
    hs = np.empty((*x.shape[:2], H), h0.dtype)
    h_n = np.empty_like(hs)
    h = h0
    for t in range(T):
        a_h = h @ W_h + b_h
        h = _gru_cell(gates[:, t], a_h, h)
        hs[:, t], h_n[:, t] = h, a_h[:, 2 * H :]
    h_last = _last(hs, h0, lengths)
    for kept in (hs, gates, h_n):
        kept[_beyond(lengths, T)] = 0
    return hs, h_last, gates, h_n


def gru_backward(
    dhs: Array,
    dh_last: Array,
    x: Inputs,
    h0: Array,
    W_x: Array,
    W_h: Array,
    lengths: Lengths,
    hs: Array,
    gates: Array,
    h_n: Array,
) -> tuple[Array | None, Array, Array, Array, Array, Array]:
    """-> dx (None where x is ids), dh0, dW_x, dW_h, db_x, db_h."""
    T, H = x.shape[1], h0.shape[1]
    dhs = np.where(_beyond(lengths, T)[..., None], 0, dhs)
    W_h_T = np.ascontiguousarray(W_h.T)
    da_x = np.empty_like(gates)  # by x W_x + b_x
    da_h = np.empty_like(gates)  # by h W_h + b_h: differs in n, which the reset scales
    dh = np.zeros_like(h0)
    for t in reversed(range(T)):
        r, z, n = np.split(gates[:, t], 3, axis=1)
        da_r, da_z, da_n = np.split(da_x[:, t], 3, axis=1)
        h_prev = hs[:, t - 1] if t > 0 else h0
        ends = lengths == t + 1
        dh[ends] += dh_last[ends]

        # h = (1 - z) n + z h_prev, where n = tanh(x_n + r h_n) and r, z = sigmoid(x + h)
        dh += dhs[:, t]
        da_n[...] = dh * (1 - z) * (1 - n**2)
        da_z[...] = dh * (h_prev - n) * z * (1 - z)
        da_r[...] = da_n * h_n[:, t] * r * (1 - r)
        da_h[:, t] = da_x[:, t]
        da_h[:, t, 2 * H :] *= r
        dh = dh * z + da_h[:, t] @ W_h_T
    dh[lengths == 0] += dh_last[lengths == 0]
    dx, dW_x, dW_h, db_x, db_h = _weight_gradients(da_x, da_h, x, h0, hs, W_x)
    return dx, dh, dW_x, dW_h, db_x, db_h


def gru_step(x: Inputs, h: Array, W_x: Array, W_h: Array, b_x: Array, b_h: Array) -> Array:
    """One step without history: x (B, I) or ids (B,), h (B, H) -> h (B, H)."""
    return _gru_cell(_input_term(x, W_x, b_x), h @ W_h + b_h, h)
