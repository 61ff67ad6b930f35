"""The attention of the Transformer with a bias: a number for each pair of positions."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm import checks
from minillm.ops.attention import attend, attend_backward, attending
from minillm.ops.padding import length_mask, zero_padding


@checks.op
def biased_attention(
    q: NDArray,
    k: NDArray,
    v: NDArray,
    bias: NDArray,
    lengths: NDArray[np.integer] | None = None,
) -> tuple[NDArray, Callable]:
    """Attention whose scores get a bias that depends on the positions alone.

        y = softmax(q k^T / sqrt(D) + bias) v

    q (B, N, T, D), k (B, N, S, D), v (B, N, S, E), bias (N, T, S), lengths (B,) or None
    -> y (B, N, T, E).  ``backward(dy)`` -> dq, dk, dv, dbias.  Keeps the arguments and the weights.

    The score is a sum, so its gradient goes to both terms unchanged.  All rows of a batch share the
    bias, so their gradients are added:

        dbias = sum over b of dscores        dq = dscores k / sqrt(D)

    Raises TypeError or ValueError where dtypes, shapes or lengths do not fit.
    Source: Shaw, Uszkoreit and Vaswani (2018), "Self-attention with relative position
    representations"; a bias in place of vectors, Raffel et al. (2020), "Exploring the limits of
    transfer learning with a unified text-to-text Transformer", section 2.1.
    """
    op = "biased_attention"
    shapes = {"q": (q, "B N T D"), "k": (k, "B N S D"), "v": (v, "B N S E")}
    sizes = checks.floats(op, **shapes, bias=(bias, "N T S"))
    steps = checks.sequence_lengths(op, lengths, sizes["B"], sizes["S"])
    k, v = zero_padding(k, steps), zero_padding(v, steps)
    scale = q.dtype.type(sizes["D"] ** -0.5)
    allowed = length_mask(steps, sizes["S"])[:, None, None]  # (B, 1, 1, S)
    y, weights = attend(q @ k.mT * scale + bias, v, allowed)

    def backward(dy):
        # y = softmax(scores) v
        dscores, dv = attend_backward(dy, 0.0, v, weights, allowed)
        # scores = q k^T / sqrt(D) + bias
        attends = attending(weights)
        dq = np.where(attends, dscores @ k, 0) * scale
        dk = dscores.mT @ np.where(attends, q, 0) * scale
        return dq, zero_padding(dk, steps), zero_padding(dv, steps), dscores.sum(axis=0)

    return y, backward
