"""The minimal GRU: gates that do not read the state.  See ``recurrence`` for the legend."""

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
    ``backward(dhs, dh_last=None)`` -> dx (not by ids), dh0, dW_x, db.  None as a gradient means
    zero.  Keeps the arguments, hs, z and n.

    With dkept and dnew, the gradients of 1 - z and of z n from the linear recurrence:

        dz = dnew n - dkept        da_z = dz z (1 - z)        da_n = dnew z

    Raises TypeError or ValueError where dtypes, shapes, ids or lengths do not fit.
    Source: Feng et al. (2024), "Were RNNs all we needed?", section 3.1.
    """
    z, n = _gates(input_term(x, W_x, b, lengths))
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


def _gates(a: Array) -> tuple[Array, Array]:
    """a (..., 2H) -> z, n (..., H)."""
    a_z, n = np.split(a, 2, axis=-1)
    return logistic(a_z), n


@op("x: B I | B < I, h: B H, W_x: I 2H, b: 2H")
def min_gru_step(x: NDArray, h: NDArray, W_x: NDArray, b: NDArray) -> NDArray:
    """One step of ``min_gru`` without a backward: x (B, I) or ids (B,), h (B, H) -> h (B, H)."""
    z, n = _gates(input_term(x, W_x, b))
    return (1 - z) * h + z * n


CELLS["min_gru"] = Cell(min_gru, min_gru_step, state=("h",), weights=("W_x", "b"), gates=2)
