"""The simple recurrent network.  See ``recurrence`` for the legend and the shared parts."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import twinned
from minillm.checks import op
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
    "x: B T I | B T < I, h0: B H, W_x: I H, W_h: H H, b: H, "
    "lengths: B <= T or T -> hs: B T H, h_last: B H"
)
def rnn(
    x: NDArray,
    h0: NDArray,
    W_x: NDArray,
    W_h: NDArray,
    b: NDArray,
    lengths: OptionalLengths = None,
) -> tuple[tuple[NDArray, NDArray], Callable]:
    """The simple recurrent network.

        h_t = tanh(x_t W_x + h_{t-1} W_h + b)

    x (B, T, I) or ids (B, T), h0 (B, H), W_x (I, H), W_h (H, H), b (H,), lengths (B,)
    or None -> hs (B, T, H), h_last (B, H).
    ``backward(dhs, dh_last=None)`` -> dx (not by ids), dh0, dW_x, dW_h, db.
    Keeps the arguments and hs.

    Backward, from the last step to the first, with dh_t gathered from hs, from
    h_last and from step t + 1:

        da_t = dh_t (1 - h_t^2)

    Source: Elman (1990), "Finding structure in time".
    """
    hs, h_last = rnn_forward(x, h0, W_x, W_h, b, lengths)

    def backward(dhs, dh_last=None):
        gradients = rnn_backward(dhs, dh_last, x, h0, W_x, W_h, lengths, hs)
        return without_ids(*gradients)

    return (hs, h_last), backward


@twinned
def rnn_forward(
    x: Inputs, h0: Array, W_x: Array, W_h: Array, b: Array, lengths: Lengths
) -> tuple[Array, Array]:
    """x (B, T, I), h0 (B, H), W_x (I, H), W_h (H, H), b (H,) -> hs (B, T, H), h_last (B, H)."""
    a = input_term(x, W_x, b, lengths)  # (B, T, H)
    h, hs = h0, []
    for t in range(x.shape[1]):
        h_t = np.tanh(a[:, t] + product(h, W_h))
        hs.append(h_t)
        h = np.where((t < lengths)[:, None], h_t, h)
    return sequence(hs, lengths), h


@twinned
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
    """-> dx (None by ids), dh0, dW_x, dW_h, db."""
    dhs = zero_padding(dhs, lengths)
    da = np.zeros_like(hs)
    dh = dh_last
    for t in reversed(range(x.shape[1])):
        running = (t < lengths)[:, None]  # (B, 1)
        # h = tanh(a)
        da_t = (dh + dhs[:, t]) * (1 - hs[:, t] ** 2)
        da[:, t] = np.where(running, da_t, 0)
        # a = x W_x + b + h_prev W_h; past its end, a row's state does not change
        dh = np.where(running, product(da_t, W_h.T), dh)
    dx, dW_x, db = input_term_backward(da, x, W_x, lengths)
    dW_h = state_term_backward(da, h0, hs, lengths)
    return dx, dh, dW_x, dW_h, db


@op("x: B I | B < I, h: B H, W_x: I H, W_h: H H, b: H")
@twinned
def rnn_step(x: Inputs, h: Array, W_x: Array, W_h: Array, b: Array) -> Array:
    """One step of ``rnn`` without a backward: x (B, I) or ids (B,), h (B, H) -> h (B, H)."""
    return np.tanh(input_term(x, W_x, b) + h @ W_h)


CELLS["rnn"] = Cell(rnn, rnn_step, state=("h",), weights=("W_x", "W_h", "b"), gates=1)
