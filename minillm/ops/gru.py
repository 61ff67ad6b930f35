"""The gated recurrent unit.  See ``recurrence`` for the legend and the shared parts."""

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
    rows,
    sequence,
    state_term_backward,
    without_ids,
)


@op(
    "x: B T I | B T < I, h0: B H, W_x: I 3H, W_h: H 3H, b_x: 3H, b_h: 3H, "
    "lengths: B <= T or T -> hs: B T H, h_last: B H"
)
def gru(
    x: NDArray,
    h0: NDArray,
    W_x: NDArray,
    W_h: NDArray,
    b_x: NDArray,
    b_h: NDArray,
    lengths: OptionalLengths = None,
) -> tuple[tuple[NDArray, NDArray], Callable]:
    """The gated recurrent unit: a state that moves part of the way to a candidate n.

        x_r, x_z, x_n = x_t W_x + b_x        h_r, h_z, h_n = h_{t-1} W_h + b_h
        r = sigmoid(x_r + h_r)
        z = sigmoid(x_z + h_z)
        n = tanh(x_n + r h_n)
        h_t = (1 - z) n + z h_{t-1}

    x (B, T, I) or ids (B, T), h0 (B, H), W_x (I, 3H), W_h (H, 3H), b_x and b_h (3H,),
    lengths (B,) or None -> hs (B, T, H), h_last (B, H).
    ``backward(dhs, dh_last=None)`` -> dx (not by ids), dh0, dW_x, dW_h, db_x, db_h.
    Keeps the arguments, hs, the gates (B, T, 3H) and h_n (B, T, H).

    Backward, from the last step to the first:

        dn, dz, dh_{t-1} = dh_t (1 - z), dh_t (h_{t-1} - n), dh_t z
        da_n = dn (1 - n^2)        dr = da_n h_n
        da_t by x: [dr r (1 - r), dz z (1 - z), da_n]
        da_t by h: [dr r (1 - r), dz z (1 - z), da_n r]

    Source: Cho et al. (2014), "Learning phrase representations using RNN
    encoder-decoder", equations 5 to 8, with the reset applied after the recurrent
    product, as in the paper's first version, cuDNN and PyTorch.
    """
    hs, h_last, gates, h_n = gru_forward(x, h0, W_x, W_h, b_x, b_h, lengths)

    def backward(dhs, dh_last=None):
        gradients = gru_backward(dhs, dh_last, x, h0, W_x, W_h, lengths, hs, gates, h_n)
        return without_ids(*gradients)

    return (hs, h_last), backward


@twinned
def gru_forward(
    x: Inputs, h0: Array, W_x: Array, W_h: Array, b_x: Array, b_h: Array, lengths: Lengths
) -> tuple[Array, Array, Array, Array]:
    """x (B, T, I), h0 (B, H), W_x (I, 3H), W_h (H, 3H), b_x and b_h (3H,)
    -> hs (B, T, H), h_last (B, H), gates (B, T, 3H), h_ns (B, T, H)."""
    a_x = input_term(x, W_x, b_x, lengths)  # (B, T, 3H)
    h = h0  # (B, H)
    hs, gates, h_ns = [], [], []
    for t in range(x.shape[1]):
        h_t, gates_t, h_n = _cell(a_x[:, t], product(h, W_h) + b_h, h)
        hs.append(h_t)
        gates.append(gates_t)
        h_ns.append(h_n)
        h = np.where((t < lengths)[:, None], h_t, h)
    return sequence(hs, lengths), h, sequence(gates, lengths), sequence(h_ns, lengths)


def _cell(a_x: Array, a_h: Array, h_prev: Array) -> tuple[Array, Array, Array]:
    """a_x, a_h (B, 3H), h_prev (B, H) -> h (B, H), gates (B, 3H), h_n (B, H)."""
    x_r, x_z, x_n = np.split(a_x, 3, axis=1)  # (B, H) each
    h_r, h_z, h_n = np.split(a_h, 3, axis=1)
    r = logistic(x_r + h_r)
    z = logistic(x_z + h_z)
    n = np.tanh(x_n + r * h_n)
    h = (1 - z) * n + z * h_prev
    return h, np.concatenate([r, z, n], axis=1), h_n


@twinned
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
    """-> dx (None by ids), dh0, dW_x, dW_h, db_x, db_h."""
    dhs = zero_padding(dhs, lengths)
    da_x, da_h = np.zeros_like(gates), np.zeros_like(gates)  # (B, T, 3H)
    dh = dh_last  # (B, H)
    for t in reversed(range(x.shape[1])):
        r, z, n = np.split(gates[:, t], 3, axis=1)
        h_prev = hs[:, t - 1] if t > 0 else h0
        # h = (1 - z) n + z h_prev
        dh_t = dh + dhs[:, t]
        dn, dz, dh_prev = dh_t * (1 - z), dh_t * (h_prev - n), dh_t * z
        # n = tanh(x_n + r h_n)
        da_n = dn * (1 - n**2)
        dr, dh_n = da_n * h_n[:, t], da_n * r
        # r = sigmoid(x_r + h_r); z = sigmoid(x_z + h_z)
        da_r, da_z = dr * r * (1 - r), dz * z * (1 - z)
        # a_x = [x_r, x_z, x_n] = x W_x + b_x; a_h = [h_r, h_z, h_n] = h_prev W_h + b_h
        da_x_t = np.concatenate([da_r, da_z, da_n], axis=1)
        da_h_t = np.concatenate([da_r, da_z, dh_n], axis=1)
        # past its end, a row's state does not change
        running = (t < lengths)[:, None]  # (B, 1)
        da_x[:, t], da_h[:, t] = np.where(running, da_x_t, 0), np.where(running, da_h_t, 0)
        dh = np.where(running, dh_prev + product(da_h_t, W_h.T), dh)
    dx, dW_x, db_x = input_term_backward(da_x, x, W_x, lengths)
    dW_h, db_h = state_term_backward(da_h, h0, hs, lengths), rows(da_h).sum(axis=0)
    return dx, dh, dW_x, dW_h, db_x, db_h


@op("x: B I | B < I, h: B H, W_x: I 3H, W_h: H 3H, b_x: 3H, b_h: 3H")
@twinned
def gru_step(x: Inputs, h: Array, W_x: Array, W_h: Array, b_x: Array, b_h: Array) -> Array:
    """One step of ``gru`` without a backward: x (B, I) or ids (B,), h (B, H) -> h (B, H)."""
    h_new, _, _ = _cell(input_term(x, W_x, b_x), h @ W_h + b_h, h)
    return h_new


CELLS["gru"] = Cell(gru, gru_step, state=("h",), weights=("W_x", "W_h", "b_x", "b_h"), gates=3)
