"""The attention of the Transformer with a bias: a number for each pair of positions."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm.checks import op
from minillm.ops.attention import attend, attend_backward, attending
from minillm.ops.padding import OptionalLengths, length_mask, zero_padding


@op("q: B N T D, k: B N S D, v: B N S E, bias: N T S, lengths: B <= S or S -> y: B N T E")
def biased_attention(
    q: NDArray,
    k: NDArray,
    v: NDArray,
    bias: NDArray,
    lengths: OptionalLengths = None,
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
    k, v = zero_padding(k, lengths), zero_padding(v, lengths)
    scale = q.dtype.type(q.shape[-1] ** -0.5)
    allowed = length_mask(lengths, k.shape[2])[:, None, None]  # (B, 1, 1, S)
    y, weights = attend(q @ k.mT * scale + bias, v, allowed)

    def backward(dy):
        # y = softmax(scores) v
        dscores, dv = attend_backward(dy, 0.0, v, weights, allowed)
        # scores = q k^T / sqrt(D) + bias
        attends = attending(weights)
        dq = np.where(attends, dscores @ k, 0) * scale
        dk = dscores.mT @ np.where(attends, q, 0) * scale
        return dq, zero_padding(dk, lengths), zero_padding(dv, lengths), dscores.sum(axis=0)

    return y, backward
