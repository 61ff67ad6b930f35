"""The minimal GRU and LSTM, whose gates do not read the state.

See ``recurrence`` for the legend.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm.checks import op
from minillm.ops.activations import logistic
from minillm.ops.linear_recurrence import linear_recurrence_backward, linear_recurrence_forward
from minillm.ops.padding import OptionalLengths
from minillm.ops.recurrence import (
    CELLS,
    Array,
    Cell,
    input_term,
    input_term_backward,
    without_ids,
)


@op("x: B T I | B T < I, h0: B H, W_x: I 2H, b: 2H, lengths: B <= T or T -> hs: B T H, h_last: B H")
def min_gru(
    x: NDArray,
    h0: NDArray,
    W_x: NDArray,
    b: NDArray,
    lengths: OptionalLengths = None,
) -> tuple[tuple[NDArray, NDArray], Callable]:
    """The minimal GRU: a state that moves part of the way to a candidate n, as the input says.

        a_z, a_n = x_t W_x + b
        z = sigmoid(a_z)        n = a_n
        h_t = (1 - z) h_{t-1} + z n

    Without W_h, the pre-activations of all steps are one product, and what remains is a linear
    recurrence (:mod:`minillm.ops.linear_recurrence`).

    x (B, T, I) or ids (B, T), h0 (B, H), W_x (I, 2H), b (2H,), lengths (B,) or None
    -> hs (B, T, H), h_last (B, H).
    ``backward(dhs, dh_last=None)`` -> dx (not by ids), dh0, dW_x, db.  Keeps the
    arguments, hs, z and n.

    With dkept and dnew, the gradients of 1 - z and of z n from the linear recurrence:

        dz = dnew n - dkept        da_z = dz z (1 - z)        da_n = dnew z

    Source: Feng et al. (2024), "Were RNNs all we needed?", section 3.1.
    """
    z, n = _gru_gates(input_term(x, W_x, b, lengths))
    kept = 1 - z
    hs, h_last = linear_recurrence_forward(kept, z * n, h0, lengths)

    def backward(dhs, dh_last=None):
        # h = (1 - z) h_prev + z n
        dkept, dnew, dh0 = linear_recurrence_backward(dhs, dh_last, kept, h0, hs, lengths)
        # z = sigmoid(a_z); n = a_n
        da_z = (dnew * n - dkept) * z * kept
        da = np.concatenate([da_z, dnew * z], axis=-1)
        # a = x W_x + b
        dx, dW_x, db = input_term_backward(da, x, W_x, lengths)
        return without_ids(dx, dh0, dW_x, db)

    return (hs, h_last), backward


def _gru_gates(a: Array) -> tuple[Array, Array]:
    """a (..., 2H) -> z, n (..., H)."""
    a_z, n = np.split(a, 2, axis=-1)
    return logistic(a_z), n


@op("x: B I | B < I, h: B H, W_x: I 2H, b: 2H")
def min_gru_step(x: NDArray, h: NDArray, W_x: NDArray, b: NDArray) -> NDArray:
    """One step of ``min_gru`` without a backward: x (B, I) or ids (B,), h (B, H) -> h (B, H)."""
    z, n = _gru_gates(input_term(x, W_x, b))
    return (1 - z) * h + z * n


CELLS["min_gru"] = Cell(min_gru, min_gru_step, state=("h",), weights=("W_x", "b"), gates=2)


@op("x: B T I | B T < I, h0: B H, W_x: I 3H, b: 3H, lengths: B <= T or T -> hs: B T H, h_last: B H")
def min_lstm(
    x: NDArray,
    h0: NDArray,
    W_x: NDArray,
    b: NDArray,
    lengths: OptionalLengths = None,
) -> tuple[tuple[NDArray, NDArray], Callable]:
    """The minimal LSTM: it keeps a part of its state, and takes up the rest from a candidate n.

        a_f, a_i, a_n = x_t W_x + b
        f = sigmoid(a_f)        i = sigmoid(a_i)        n = a_n
        k = f / (f + i)
        h_t = k h_{t-1} + (1 - k) n

    The gates are divided by their sum, so that the state is a mean of what it has taken up, and
    its size does not depend on T.

    x (B, T, I) or ids (B, T), h0 (B, H), W_x (I, 3H), b (3H,), lengths (B,) or None
    -> hs (B, T, H), h_last (B, H).
    ``backward(dhs, dh_last=None)`` -> dx (not by ids), dh0, dW_x, db.  Keeps the
    arguments, hs, f, i, k and n.

    With dkept and dnew, the gradients of k and of (1 - k) n from the linear recurrence:

        dk = dkept - dnew n        da_n = dnew (1 - k)
        da_f = dk k (1 - k) (1 - f)        da_i = -dk k (1 - k) (1 - i)

    because dk/df = i / (f + i)^2 = k (1 - k) / f, and df/da_f = f (1 - f); likewise for i.

    Source: Feng et al. (2024), "Were RNNs all we needed?", section 3.2.
    """
    f, i, n, k = _lstm_gates(input_term(x, W_x, b, lengths))
    hs, h_last = linear_recurrence_forward(k, (1 - k) * n, h0, lengths)

    def backward(dhs, dh_last=None):
        # h = k h_prev + (1 - k) n
        dkept, dnew, dh0 = linear_recurrence_backward(dhs, dh_last, k, h0, hs, lengths)
        # k = f / (f + i); f, i = sigmoid(a); n = a_n
        slope = (dkept - dnew * n) * k * (1 - k)
        da = np.concatenate([slope * (1 - f), -slope * (1 - i), dnew * (1 - k)], axis=-1)
        # a = x W_x + b
        dx, dW_x, db = input_term_backward(da, x, W_x, lengths)
        return without_ids(dx, dh0, dW_x, db)

    return (hs, h_last), backward


def _lstm_gates(a: Array) -> tuple[Array, Array, Array, Array]:
    """a (..., 3H) -> f, i, n, and the kept part k of the state, (..., H) each."""
    a_f, a_i, n = np.split(a, 3, axis=-1)
    # k = 1 / (1 + i / f); as exponents, so that two closed gates are not 0 / 0
    k = np.exp(-np.logaddexp(0, np.logaddexp(0, -a_f) - np.logaddexp(0, -a_i))).astype(a.dtype)
    return logistic(a_f), logistic(a_i), n, k


@op("x: B I | B < I, h: B H, W_x: I 3H, b: 3H")
def min_lstm_step(x: NDArray, h: NDArray, W_x: NDArray, b: NDArray) -> NDArray:
    """One step of ``min_lstm`` without a backward: x (B, I) or ids (B,), h (B, H) -> h (B, H)."""
    _, _, n, k = _lstm_gates(input_term(x, W_x, b))
    return k * h + (1 - k) * n


CELLS["min_lstm"] = Cell(
    min_lstm, min_lstm_step, state=("h",), weights=("W_x", "b"), gates=3, open_gate=0
)
