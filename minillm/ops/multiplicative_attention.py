"""Multiplicative attention: the score of a query and a key is their product."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm.checks import op
from minillm.ops.attention import attend, attend_backward, attending, transposed
from minillm.ops.linear import linear
from minillm.ops.padding import OptionalLengths, length_mask, zero_padding


@op(
    "query: B T D, keys: B S C, values: B S E, W: D C or C=D, "
    "lengths: B <= S or S -> context: B T E, weights: B T S"
)
def multiplicative_attention(
    query: NDArray,
    keys: NDArray,
    values: NDArray,
    W: NDArray | None = None,
    lengths: OptionalLengths = None,
) -> tuple[tuple[NDArray, NDArray], Callable]:
    """Attention that scores with a product: "general" with a matrix W, "dot" without.

        score(q, k) = q W k^T        or, without W,        q k^T

    query (B, T, D), keys (B, S, C), values (B, S, E), W (D, C) or None (then C is
    D), lengths (B,) or None -> context (B, T, E), weights (B, T, S).
    ``backward(dcontext, dweights=None)`` -> dquery, dkeys, dvalues, and dW if there
    is a W.  Keeps the arguments, q W and the weights.

        d(q W) = sum over s of dscore k        dk = sum over t of dscore q W

    Raises TypeError or ValueError where dtypes, shapes or lengths do not fit.
    Source: Luong, Pham and Manning (2015), "Effective approaches to attention-based
    neural machine translation", equation 8.
    """
    q, q_backward = (query, None) if W is None else linear(query, W)
    keys, values = zero_padding(keys, lengths), zero_padding(values, lengths)
    allowed = length_mask(lengths, keys.shape[1])[:, None]  # (B, 1, S)
    scores = q @ transposed(keys)  # (B, T, S)
    context, weights = attend(scores, values, allowed)

    def backward(dcontext, dweights=None):
        attends = attending(weights)
        dscores, dvalues = attend_backward(dcontext, dweights, values, weights, allowed)
        # scores = q keys^T
        dq = np.where(attends, dscores @ keys, 0)
        dkeys = transposed(dscores) @ np.where(attends, q, 0)
        dkeys, dvalues = zero_padding(dkeys, lengths), zero_padding(dvalues, lengths)
        if q_backward is None:
            return dq, dkeys, dvalues
        # q = query W
        dquery, dW = q_backward(dq)
        return dquery, dkeys, dvalues, dW

    return (context, weights), backward
