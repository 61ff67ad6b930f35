"""Mamba's selective scan: a linear recurrence that chooses what to keep.

Each of the D columns has N numbers of memory, a row of h (D, N).  For one column x_t:

    h_t = exp(delta_t A) * h_{t-1} + delta_t x_t b_t        the state (N,): decay, and write
    y_t = c_t . h_t + skip x_t                              read

This discretises the differential equation h'(s) = A h(s) + b x(s), with x held constant for a time
delta.  The decay exp(delta A) is exact, and the second term is one step of Euler's method.  A is
negative, so the decay lies between 0 and 1.  A long delta forgets the state and takes up x_t; a
short one skips x_t.

In the models before Mamba (S4), delta, b and c were constants.  Here they are computed from x_t.
This is the selection: what is written depends on what is read.

Legend: B batch, T time, D width, N size of the state of a column.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import twinned
from minillm.checks import op
from minillm.ops.recurrence import Array


@op(
    "x: B T D, delta: B T D, A: D N, b: B T N, c: B T N, skip: D, h0: B D N -> y: B T D, "
    "h_last: B D N"
)
def selective_scan(
    x: NDArray, delta: NDArray, A: NDArray, b: NDArray, c: NDArray, skip: NDArray, h0: NDArray
) -> tuple[tuple[NDArray, NDArray], Callable]:
    """The outputs of h_t = exp(delta_t A) * h_{t-1} + delta_t x_t b_t, y_t = c_t . h_t + skip x_t.

    x and delta (B, T, D), A (D, N), b and c (B, T, N), skip (D,), h0 (B, D, N)
    -> y (B, T, D), h_last (B, D, N).
    ``backward(dy, dh_last=None)`` -> dx, ddelta, dA, db, dc, dskip, dh0.  Keeps the
    arguments.  The states, which take N times the memory of x, are computed again.

    Backward, from the last step to the first, with u = delta_t x_t and e = exp(delta_t A):

        dh_t += dy_t c_t            dc_t = sum over D of dy_t h_t        dskip = sum of dy_t x_t
        du = sum over N of dh_t b_t        db_t = sum over D of dh_t u
        dm = dh_t h_{t-1} e                           by the exponent m = delta_t A
        ddelta_t = sum over N of dm A + du x_t        dA = sum of dm delta_t
        dx_t = du delta_t + dy_t skip                 dh_{t-1} = dh_t e

    Source: Gu and Dao (2023), "Mamba: linear-time sequence modeling with selective state spaces",
    equations 2 and 4, algorithm 2; with delta b in place of the exact (e - 1) / A b, as its
    published code does.
    """
    y, h_last = selective_scan_forward(x, delta, A, b, c, skip, h0)

    def backward(dy, dh_last=None):
        return selective_scan_backward(dy, dh_last, x, delta, A, b, c, skip, h0)

    return (y, h_last), backward


@twinned
def selective_scan_forward(
    x: Array, delta: Array, A: Array, b: Array, c: Array, skip: Array, h0: Array
) -> tuple[Array, Array]:
    """-> y (B, T, D), h_last (B, D, N)."""
    y, h = skip * x, h0
    for t, h in enumerate(_states(x, delta, A, b, h0)):
        y[:, t] += (h * c[:, t, None, :]).sum(axis=-1)
    return y, h


def _states(x: Array, delta: Array, A: Array, b: Array, h: Array) -> list[Array]:
    """The state h_t (B, D, N) of each step."""
    hs: list[Array] = []
    for t in range(x.shape[1]):
        e = np.exp(delta[:, t, :, None] * A)  # (B, D, N)
        u = delta[:, t] * x[:, t]  # (B, D)
        h = e * h + u[:, :, None] * b[:, t, None, :]
        hs.append(h)
    return hs


@twinned
def selective_scan_backward(
    dy: Array,
    dh_last: Array,
    x: Array,
    delta: Array,
    A: Array,
    b: Array,
    c: Array,
    skip: Array,
    h0: Array,
) -> tuple[Array, Array, Array, Array, Array, Array, Array]:
    """-> dx, ddelta, dA, db, dc, dskip, dh0."""
    hs = [h0, *_states(x, delta, A, b, h0)]
    # y = c . h + skip x
    dx, dskip = dy * skip, (dy * x).sum(axis=(0, 1))
    ddelta, dA, db, dc = np.zeros_like(x), np.zeros_like(A), np.zeros_like(b), np.zeros_like(c)
    dh = dh_last  # (B, D, N)
    for t in reversed(range(x.shape[1])):
        h, h_prev = hs[t + 1], hs[t]
        dh = dh + dy[:, t, :, None] * c[:, t, None, :]
        dc[:, t] = (dy[:, t, :, None] * h).sum(axis=1)
        # h = e h_prev + u b
        e = np.exp(delta[:, t, :, None] * A)
        u = delta[:, t] * x[:, t]
        du = (dh * b[:, t, None, :]).sum(axis=-1)  # (B, D)
        db[:, t] = (dh * u[:, :, None]).sum(axis=1)
        dm = dh * h_prev * e  # e = exp(m)
        dh = dh * e
        # m = delta A; u = delta x
        ddelta[:, t] = (dm * A).sum(axis=-1) + du * x[:, t]
        dA += (dm * delta[:, t, :, None]).sum(axis=0)
        dx[:, t] += du * delta[:, t]
    return dx, ddelta, dA, db, dc, dskip, dh
