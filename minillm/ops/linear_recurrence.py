"""The linear recurrence: a state that decays, and takes up what is new.

    h_t = a_t * h_{t-1} + b_t          element by element

Neither a_t nor b_t depends on h: this is what the recurrences of 2023 gave up.  In return, time can
be cut anywhere, because two steps in a row are one step of the same form:

    a_2 (a_1 h + b_1) + b_2 = (a_2 a_1) h + (a_2 b_1 + b_2)

so steps are pairs (a, b) with an operation that joins them,

    (a_1, b_1) then (a_2, b_2) = (a_2 a_1, a_2 b_1 + b_2)

and the operation is associative: the steps of any stretch of time can be joined in any grouping.
All states can thus be computed in log T rounds on a machine with many processors (a scan).  On a
CPU one pass from the first step to the last does the least work, with the D columns side by side.

The states could also be written as A_t (h_0 + sum over s <= t of b_s / A_s) with the products
A_t = a_1 ... a_t.  They must not be computed like this: A_t underflows after a few hundred steps.

Legend: B batch, T time, D width.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import twinned
from minillm.checks import op
from minillm.ops.padding import OptionalLengths, zero_padding
from minillm.ops.recurrence import Array, Lengths, sequence


@op("a: B T D, b: B T D, h0: B D, lengths: B <= T or T -> hs: B T D, h_last: B D")
def linear_recurrence(
    a: NDArray, b: NDArray, h0: NDArray, lengths: OptionalLengths = None
) -> tuple[tuple[NDArray, NDArray], Callable]:
    """The states of h_t = a_t * h_{t-1} + b_t.

    a and b (B, T, D), h0 (B, D), lengths (B,) or None -> hs (B, T, D), h_last (B, D).
    ``backward(dhs, dh_last=None)`` -> da, db, dh0.
    Keeps a, h0 and hs.

    Backward.  h_t reaches the loss as an output, and through h_{t+1}.  Let g_t be the sum of both:

        g_t = dh_t + a_{t+1} * g_{t+1}          the same recurrence, from the last step to the first
        db_t = g_t        da_t = g_t * h_{t-1}        dh_0 = a_1 * g_1

    Sources: Blelloch (1990), "Prefix sums and their applications", section 1.4.1, for the pairs;
    Martin and Cundy (2018), "Parallelizing linear recurrent neural nets over sequence length",
    for the backward.
    """
    hs, h_last = linear_recurrence_forward(a, b, h0, lengths)

    def backward(dhs, dh_last=None):
        return linear_recurrence_backward(dhs, dh_last, a, h0, hs, lengths)

    return (hs, h_last), backward


@twinned
def linear_recurrence_forward(
    a: Array, b: Array, h0: Array, lengths: Lengths
) -> tuple[Array, Array]:
    """a and b (B, T, D), h0 (B, D) -> hs (B, T, D), h_last (B, D)."""
    h, hs = h0, list[Array]()
    for t in range(a.shape[1]):
        h_t = a[:, t] * h + b[:, t]
        hs.append(h_t)
        h = np.where((t < lengths)[:, None], h_t, h)
    return sequence(hs, lengths), h


@twinned
def linear_recurrence_backward(
    dhs: Array, dh_last: Array, a: Array, h0: Array, hs: Array, lengths: Lengths
) -> tuple[Array, Array, Array]:
    """dhs (B, T, D), dh_last (B, D) -> da, db (B, T, D), dh0 (B, D)."""
    dhs = zero_padding(dhs, lengths)
    da, db = np.zeros_like(a), np.zeros_like(a)
    dh = dh_last
    for t in reversed(range(a.shape[1])):
        h_prev = hs[:, t - 1] if t > 0 else h0
        running = (t < lengths)[:, None]
        # h = a h_prev + b
        g = dhs[:, t] + dh
        da[:, t], db[:, t] = np.where(running, g * h_prev, 0), np.where(running, g, 0)
        dh = np.where(running, g * a[:, t], dh)
    return da, db, dh
