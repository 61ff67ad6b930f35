"""The recurrences, forward and backward through time: the NumPy original.

Legend: B batch, T time, I input width, H hidden width.  ``ops.recurrent``
states the equations and checks the arguments; here they are trusted.

All three forwards have one shape.  The input's share of every step,
``x W_x + b``, depends on no earlier step, so that it is one matrix product
before the loop.  What remains in the loop is ``h W_h`` and the gates.

All three backwards have one shape too.  The loop runs from the last step to
the first and finds ``da``, the gradient by the pre-activations ``a``, of every
step.  With those in hand, the weights' gradients are one matrix product each
after the loop, deep in B * T:

    a_t = x_t W_x + h_{t-1} W_h + b    (forward)
    dx = da W_x^T    dW_x = x^T da    dW_h = h_prev^T da    db = sum of da

Unequal lengths: a row is alive at step t while t < its length.  After that its
output is zero and its state stands still, so that its gradient passes through
unchanged and ``da`` is zero.

Source: Werbos (1990), "Backpropagation through time: what it does and how to
do it".
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Lengths = NDArray[np.int64]


def _sigmoid(x: Array) -> Array:
    # The tanh form overflows nowhere; 1 / (1 + exp(-x)) does at x = -1000.
    return 0.5 * np.tanh(0.5 * x) + 0.5


def _rows(x: Array) -> Array:
    return x.reshape(-1, x.shape[-1])  # (B, T, D) -> (B * T, D)


def _input_term(x: Array, W_x: Array, b: Array) -> Array:
    a = _rows(x) @ W_x
    a += b
    return a.reshape(x.shape[0], x.shape[1], -1)  # (B, T, gates * H)


def _weight_gradients(
    da_x: Array, da_h: Array, x: Array, h0: Array, hs: Array, W_x: Array
) -> tuple[Array, Array, Array, Array, Array]:
    """From the gradients by both pre-activations, all steps at once."""
    h_prev = np.concatenate([h0[:, None], hs[:, :-1]], axis=1)  # (B, T, H)
    rows_x, rows_h = _rows(da_x), _rows(da_h)
    dx = (rows_x @ W_x.T).reshape(x.shape)
    dW_x = _rows(x).T @ rows_x
    dW_h = _rows(h_prev).T @ rows_h
    return dx, dW_x, dW_h, rows_x.sum(axis=0), rows_h.sum(axis=0)


# --- rnn (Elman): h_t = tanh(x_t W_x + h_{t-1} W_h + b) ---------------------


def rnn_forward(
    x: Array, h0: Array, W_x: Array, W_h: Array, b: Array, lengths: Lengths
) -> tuple[Array, Array]:
    """-> hs (B, T, H), h_last (B, H)."""
    hs = _input_term(x, W_x, b)  # becomes the output in place
    h = h0
    for t in range(x.shape[1]):
        alive = (t < lengths)[:, None]
        h_new = np.tanh(hs[:, t] + h @ W_h)
        h = np.where(alive, h_new, h)
        hs[:, t] = np.where(alive, h_new, 0)
    return hs, h


def rnn_backward(
    dhs: Array,
    dh_last: Array,
    x: Array,
    h0: Array,
    W_x: Array,
    W_h: Array,
    lengths: Lengths,
    hs: Array,
) -> tuple[Array, Array, Array, Array, Array]:
    """-> dx, dh0, dW_x, dW_h, db."""
    da = np.empty_like(hs)
    dh = dh_last
    for t in reversed(range(x.shape[1])):
        alive = (t < lengths)[:, None]
        # h = tanh(a)
        da[:, t] = np.where(alive, (dh + dhs[:, t]) * (1 - hs[:, t] ** 2), 0)
        dh = np.where(alive, da[:, t] @ W_h.T, dh)
    dx, dW_x, dW_h, db, _ = _weight_gradients(da, da, x, h0, hs, W_x)
    return dx, dh, dW_x, dW_h, db


def rnn_step(x: Array, h: Array, W_x: Array, W_h: Array, b: Array) -> Array:
    """One step without history: x (B, I), h (B, H) -> h (B, H)."""
    return np.tanh(x @ W_x + h @ W_h + b)


# --- lstm: gates i, f, g, o; c = f c + i g; h = o tanh(c) -------------------


def _lstm_cell(a: Array, c_prev: Array) -> tuple[Array, Array]:
    """Turn pre-activations into gates, in place, and run the cell: -> h, c."""
    H = c_prev.shape[1]
    a[:, : 2 * H] = _sigmoid(a[:, : 2 * H])
    a[:, 2 * H : 3 * H] = np.tanh(a[:, 2 * H : 3 * H])
    a[:, 3 * H :] = _sigmoid(a[:, 3 * H :])
    i, f, g, o = np.split(a, 4, axis=1)
    c = f * c_prev + i * g
    return o * np.tanh(c), c


def lstm_forward(
    x: Array, h0: Array, c0: Array, W_x: Array, W_h: Array, b: Array, lengths: Lengths
) -> tuple[Array, Array, Array, Array, Array]:
    """-> hs (B, T, H), h_last, c_last (B, H), gates (B, T, 4H), cs (B, T, H)."""
    gates = _input_term(x, W_x, b)
    hs = np.empty((*x.shape[:2], h0.shape[1]), x.dtype)
    cs = np.empty_like(hs)
    h, c = h0, c0
    for t in range(x.shape[1]):
        alive = (t < lengths)[:, None]
        a = gates[:, t] + h @ W_h
        h_new, c_new = _lstm_cell(a, c)
        h, c = np.where(alive, h_new, h), np.where(alive, c_new, c)
        hs[:, t] = np.where(alive, h_new, 0)
        cs[:, t] = np.where(alive, c_new, 0)
        gates[:, t] = np.where(alive, a, 0)
    return hs, h, c, gates, cs


def lstm_backward(
    dhs: Array,
    dh_last: Array,
    dc_last: Array,
    x: Array,
    h0: Array,
    c0: Array,
    W_x: Array,
    W_h: Array,
    lengths: Lengths,
    hs: Array,
    gates: Array,
    cs: Array,
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """-> dx, dh0, dc0, dW_x, dW_h, db."""
    da = np.empty_like(gates)
    dh, dc = dh_last, dc_last
    for t in reversed(range(x.shape[1])):
        alive = (t < lengths)[:, None]
        i, f, g, o = np.split(gates[:, t], 4, axis=1)
        c_prev = cs[:, t - 1] if t > 0 else c0
        tanh_c = np.tanh(cs[:, t])

        # h = o tanh(c)
        dh_t = dh + dhs[:, t]
        do = dh_t * tanh_c
        dc_t = dc + dh_t * o * (1 - tanh_c**2)
        # c = f c_prev + i g
        di, df, dg = dc_t * g, dc_t * c_prev, dc_t * i
        # i, f, o = sigmoid(a); g = tanh(a)
        da_t = np.concatenate(
            [di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)], axis=1
        )
        da[:, t] = np.where(alive, da_t, 0)
        dh = np.where(alive, da[:, t] @ W_h.T, dh)
        dc = np.where(alive, dc_t * f, dc)
    dx, dW_x, dW_h, db, _ = _weight_gradients(da, da, x, h0, hs, W_x)
    return dx, dh, dc, dW_x, dW_h, db


def lstm_step(
    x: Array, h: Array, c: Array, W_x: Array, W_h: Array, b: Array
) -> tuple[Array, Array]:
    """One step without history: x (B, I), h and c (B, H) -> h, c (B, H)."""
    return _lstm_cell(x @ W_x + h @ W_h + b, c)


# --- gru: gates r, z, n; the reset after the recurrent product ---------------


def _gru_cell(a_x: Array, a_h: Array, h_prev: Array) -> tuple[Array, Array, Array, Array]:
    """-> h, r, z, n from the input's and the state's pre-activations (B, 3H)."""
    x_r, x_z, x_n = np.split(a_x, 3, axis=1)
    h_r, h_z, h_n = np.split(a_h, 3, axis=1)
    r = _sigmoid(x_r + h_r)
    z = _sigmoid(x_z + h_z)
    n = np.tanh(x_n + r * h_n)
    return (1 - z) * n + z * h_prev, r, z, n


def gru_forward(
    x: Array, h0: Array, W_x: Array, W_h: Array, b_x: Array, b_h: Array, lengths: Lengths
) -> tuple[Array, Array, Array, Array]:
    """-> hs (B, T, H), h_last (B, H), gates (B, T, 3H), h_n (B, T, H)."""
    H = h0.shape[1]
    gates = _input_term(x, W_x, b_x)
    hs = np.empty((*x.shape[:2], H), x.dtype)
    h_n = np.empty_like(hs)
    h = h0
    for t in range(x.shape[1]):
        alive = (t < lengths)[:, None]
        a_h = h @ W_h + b_h
        h_new, r, z, n = _gru_cell(gates[:, t], a_h, h)
        h = np.where(alive, h_new, h)
        hs[:, t] = np.where(alive, h_new, 0)
        gates[:, t] = np.where(alive, np.concatenate([r, z, n], axis=1), 0)
        h_n[:, t] = np.where(alive, a_h[:, 2 * H :], 0)
    return hs, h, gates, h_n


def gru_backward(
    dhs: Array,
    dh_last: Array,
    x: Array,
    h0: Array,
    W_x: Array,
    W_h: Array,
    lengths: Lengths,
    hs: Array,
    gates: Array,
    h_n: Array,
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """-> dx, dh0, dW_x, dW_h, db_x, db_h."""
    da_x = np.empty_like(gates)  # by x W_x + b_x
    da_h = np.empty_like(gates)  # by h W_h + b_h: differs in n, which the reset scales
    dh = dh_last
    for t in reversed(range(x.shape[1])):
        alive = (t < lengths)[:, None]
        r, z, n = np.split(gates[:, t], 3, axis=1)
        h_prev = hs[:, t - 1] if t > 0 else h0

        # h = (1 - z) n + z h_prev
        dh_t = dh + dhs[:, t]
        dn, dz = dh_t * (1 - z), dh_t * (h_prev - n)
        # n = tanh(x_n + r h_n); r, z = sigmoid(x + h)
        da_n = dn * (1 - n**2)
        dr = da_n * h_n[:, t]
        da_r, da_z = dr * r * (1 - r), dz * z * (1 - z)
        da_x[:, t] = np.where(alive, np.concatenate([da_r, da_z, da_n], axis=1), 0)
        da_h[:, t] = np.where(alive, np.concatenate([da_r, da_z, da_n * r], axis=1), 0)
        dh = np.where(alive, dh_t * z + da_h[:, t] @ W_h.T, dh)
    dx, dW_x, dW_h, db_x, db_h = _weight_gradients(da_x, da_h, x, h0, hs, W_x)
    return dx, dh, dW_x, dW_h, db_x, db_h


def gru_step(x: Array, h: Array, W_x: Array, W_h: Array, b_x: Array, b_h: Array) -> Array:
    """One step without history: x (B, I), h (B, H) -> h (B, H)."""
    return _gru_cell(x @ W_x + b_x, h @ W_h + b_h, h)[0]
