"""Long short-term memory.  See ``recurrence`` for the legend and the shared parts."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import twinned
from minillm.checks import op
from minillm.ops.activations import logistic
from minillm.ops.linear import product
from minillm.ops.padding import OptionalLengths, zero_padding
from minillm.ops.recurrence import (
    CELLS,
    Array,
    Cell,
    Inputs,
    Lengths,
    input_term,
    input_term_backward,
    sequence,
    state_term_backward,
    without_ids,
)


@op(
    "x: B T I | B T < I, h0: B H, c0: B H, W_x: I 4H, W_h: H 4H, b: 4H, "
    "lengths: B <= T or T -> hs: B T H, h_last: B H, c_last: B H"
)
def lstm(
    x: NDArray,
    h0: NDArray,
    c0: NDArray,
    W_x: NDArray,
    W_h: NDArray,
    b: NDArray,
    lengths: OptionalLengths = None,
) -> tuple[tuple[NDArray, NDArray, NDArray], Callable]:
    """Long short-term memory: a cell c, and gates that control how it is written, kept and read.

        i, f, g, o = x_t W_x + h_{t-1} W_h + b,   then sigmoid of i, f, o; tanh of g
        c_t = f c_{t-1} + i g
        h_t = o tanh(c_t)

    x (B, T, I) or ids (B, T), h0 and c0 (B, H), W_x (I, 4H), W_h (H, 4H), b (4H,),
    lengths (B,) or None -> hs (B, T, H), h_last (B, H), c_last (B, H).
    ``backward(dhs, dh_last=None, dc_last=None)`` -> dx (not by ids), dh0, dc0, dW_x,
    dW_h, db.
    Keeps the arguments, hs, the gates (B, T, 4H) and the cells (B, T, H).

    Backward, from the last step to the first:

        do = dh_t tanh(c_t)
        dc_t += dh_t o (1 - tanh(c_t)^2)
        di, df, dg, dc_{t-1} = dc_t g, dc_t c_{t-1}, dc_t i, dc_t f
        da_t = [di i (1 - i), df f (1 - f), dg (1 - g^2), do o (1 - o)]

    Source: Hochreiter and Schmidhuber (1997), "Long short-term memory", with the
    forget gate of Gers, Schmidhuber and Cummins (2000), "Learning to forget".
    """
    hs, h_last, c_last, gates, cs = lstm_forward(x, h0, c0, W_x, W_h, b, lengths)

    def backward(dhs, dh_last=None, dc_last=None):
        gradients = lstm_backward(
            dhs, dh_last, dc_last, x, h0, c0, W_x, W_h, lengths, hs, gates, cs
        )
        return without_ids(*gradients)

    return (hs, h_last, c_last), backward


@twinned
def lstm_forward(
    x: Inputs, h0: Array, c0: Array, W_x: Array, W_h: Array, b: Array, lengths: Lengths
) -> tuple[Array, Array, Array, Array, Array]:
    """x (B, T, I), h0 and c0 (B, H), W_x (I, 4H), W_h (H, 4H), b (4H,)
    -> hs (B, T, H), h_last, c_last (B, H), gates (B, T, 4H), cs (B, T, H)."""
    a = input_term(x, W_x, b, lengths)  # (B, T, 4H)
    h, c = h0, c0  # (B, H)
    hs, gates, cs = [], [], []
    for t in range(x.shape[1]):
        h_t, c_t, gates_t = _cell(a[:, t] + product(h, W_h), c)
        hs.append(h_t)
        cs.append(c_t)
        gates.append(gates_t)
        running = (t < lengths)[:, None]  # (B, 1)
        h, c = np.where(running, h_t, h), np.where(running, c_t, c)
    return sequence(hs, lengths), h, c, sequence(gates, lengths), sequence(cs, lengths)


def _cell(a: Array, c_prev: Array) -> tuple[Array, Array, Array]:
    """a (B, 4H), c_prev (B, H) -> h, c (B, H), gates (B, 4H)."""
    i, f, g, o = np.split(a, 4, axis=1)  # (B, H) each
    i, f, g, o = logistic(i), logistic(f), np.tanh(g), logistic(o)
    c = f * c_prev + i * g
    h = o * np.tanh(c)
    return h, c, np.concatenate([i, f, g, o], axis=1)


@twinned
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
    """-> dx (None by ids), dh0, dc0, dW_x, dW_h, db."""
    dhs = zero_padding(dhs, lengths)
    da = np.zeros_like(gates)  # (B, T, 4H)
    dh, dc = dh_last, dc_last  # (B, H)
    for t in reversed(range(x.shape[1])):
        i, f, g, o = np.split(gates[:, t], 4, axis=1)
        c_prev = cs[:, t - 1] if t > 0 else c0
        tanh_c = np.tanh(cs[:, t])
        # h = o tanh(c)
        dh_t = dh + dhs[:, t]
        do = dh_t * tanh_c
        dc_t = dc + dh_t * o * (1 - tanh_c**2)
        # c = f c_prev + i g
        df, dc_prev = dc_t * c_prev, dc_t * f
        di, dg = dc_t * g, dc_t * i
        # i, f, o = sigmoid(a); g = tanh(a)
        da_t = np.concatenate(
            [di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)], axis=1
        )
        # a = x W_x + b + h_prev W_h; past its end, a row's state does not change
        running = (t < lengths)[:, None]  # (B, 1)
        da[:, t] = np.where(running, da_t, 0)
        dh, dc = np.where(running, product(da_t, W_h.T), dh), np.where(running, dc_prev, dc)
    dx, dW_x, db = input_term_backward(da, x, W_x, lengths)
    dW_h = state_term_backward(da, h0, hs, lengths)
    return dx, dh, dc, dW_x, dW_h, db


@op("x: B I | B < I, h: B H, c: B H, W_x: I 4H, W_h: H 4H, b: 4H")
@twinned
def lstm_step(
    x: Inputs, h: Array, c: Array, W_x: Array, W_h: Array, b: Array
) -> tuple[Array, Array]:
    """One step of ``lstm`` without a backward: x (B, I) or ids (B,), h and c (B, H) -> h, c."""
    h_new, c_new, _ = _cell(input_term(x, W_x, b) + h @ W_h, c)
    return h_new, c_new


# With an open forget gate, an untrained cell remembers (Gers et al. 2000; Jozefowicz, Zaremba
# and Sutskever 2015).
CELLS["lstm"] = Cell(
    lstm, lstm_step, state=("h", "c"), weights=("W_x", "W_h", "b"), gates=4, open_gate=1
)
