"""Coverage: a loss for attending to the same positions of a source again."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm.checks import op
from minillm.ops.padding import OptionalLengths, length_mask


@op("weights: B T S, lengths: B <= T or T -> loss:")
def coverage(weights: NDArray, lengths: OptionalLengths = None) -> tuple[np.floating, Callable]:
    """The mean attention per step to positions that earlier steps have attended to.

        c_t = w_1 + ... + w_{t-1}                      the coverage before step t
        loss = mean over steps t of sum over j of min(w_tj, c_tj)

    A summary that repeats itself attends to the same words twice, and then min(w, c) is large.
    Where a step attends to words that are new, it is 0.

    weights (B, T, S) from 0 up, lengths (B,), the steps of each row (None: all T) -> loss, a
    scalar.  ``backward(dloss=1.0)`` -> dweights.  Keeps where w < c.

    The smaller of w and c has the gradient.  c_u is a sum with a term w_t for each t before u, so
    all later steps whose c is the smaller one send theirs to w_t: one sum from the end.

        dw_t = [w_t < c_t] + sum over u > t of [c_u <= w_u]

    Padding has no loss, and no later step.
    Raises TypeError or ValueError where dtypes, shapes or lengths do not fit.
    Source: See, Liu and Manning (2017), "Get to the point: summarization with pointer-generator
    networks", equations 10 and 12.  Their attention also reads c_t, which makes it a recurrence
    over t; here it does not.
    """
    real = length_mask(lengths, weights.shape[1])[:, :, None]  # (B, T, 1)
    count = int(lengths.sum())
    if count == 0:
        raise ValueError("coverage: lengths: expected one above 0, found none")
    w = np.where(real, weights, 0)
    c = np.cumsum(w, axis=1) - w
    loss = np.minimum(w, c).sum() / weights.dtype.type(count)
    new = w < c

    def backward(dloss=1.0):
        share = weights.dtype.type(dloss / count)
        old = np.where(real & ~new, share, 0)
        # dc_u = [c_u <= w_u] goes to each w_t before it
        later = np.cumsum(old[:, ::-1], axis=1)[:, ::-1] - old
        return np.where(real, np.where(new, share, 0) + later, 0)

    return loss, backward
