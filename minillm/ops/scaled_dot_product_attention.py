"""The attention of the Transformer, all heads at once.

The weights of all heads, (B, N, T, S), would be the largest array of a Transformer.
They are not kept.  The backward computes them again from the scores and one number
for each query: weight = exp(score - log of the sum of exp(scores)).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import twinned
from minillm.checks import op
from minillm.ops.attention import Array, Lengths
from minillm.ops.padding import OptionalLengths
from minillm.ops.softmax import masked_softmax, softmax_backward


@op(
    "q: B N T D, k: B M S D, v: B M S E, causal: flag, lengths: B <= S or S, start: B <= S?, "
    "window: count? -> y: B N T E",
    order="rows",
)
def scaled_dot_product_attention(
    q: NDArray,
    k: NDArray,
    v: NDArray,
    causal: bool = False,
    lengths: OptionalLengths = None,
    start: OptionalLengths = None,
    window: int | None = None,
) -> tuple[NDArray, Callable]:
    """The attention of the Transformer, all heads at once.

        y = softmax(q k^T / sqrt(D)) v

    q (B, N, T, D), k (B, M, S, D), v (B, M, S, E), lengths (B,) or None
    -> y (B, N, T, E).  ``backward(dy)`` -> dq, dk, dv.
    Keeps the arguments and, for each query, the logarithm of its softmax's sum.

    M divides N: each head of keys and values is shared by N / M heads of queries ("grouped
    queries"; with M = 1, "multi-query").

    ``causal``: later keys are masked.  ``start`` (B,) is the position of each row's first query
    among the keys: query t of row b attends to the keys up to start[b] + t.  None means S - T:
    the queries are the last T of the S positions.

    ``window``: of these keys, a query attends to the last ``window`` only, its own position
    included.  A layer then costs T window products rather than T S, and a cache needs no older
    keys.  L layers still reach L (window - 1) positions back, because a key of the second layer
    has attended to a window of its own.

    A masked key has the weight zero, but zero times NaN or infinity is NaN.  Which queries a NaN
    reaches that is masked for them is not defined.

    q, k and v may be slices of larger arrays, such as a cache.  They are not copied if their
    last axis is contiguous.

    A score is a sum of D products.  If they are independent and have variance 1, the score has
    variance D.  Without the scale, the weights would come close to 0 and 1, where the softmax has
    hardly any gradient.

    Raises TypeError or ValueError where dtypes, shapes, lengths, start or window do not fit.
    Source: Vaswani et al. (2017), "Attention is all you need", equation 1; without
    the weights in memory, Dao et al. (2022), "FlashAttention", section 3.1; grouped
    queries, Ainslie et al. (2023), "GQA"; windows, Beltagy, Peters and Cohan (2020),
    "Longformer", section 3.1, and Jiang et al. (2023), "Mistral 7B", section 2.
    """
    op = "scaled_dot_product_attention"
    (B, N, T, _), (_, M, S, _) = q.shape, k.shape
    if N % M:
        raise ValueError(f"{op}: k: expected heads that divide the {N} of q, found {M}")
    if window is not None and not causal:
        raise ValueError(f"{op}: window: expected None without causal, found {window}")
    first, steps = np.full(B, S - T) if start is None else start, lengths
    if causal and start is not None:  # no query reaches the free part of a cache
        steps = np.minimum(start + T, lengths)
    window = None if window is None else min(window, S + T)  # as good as any larger one
    inputs = q, k, v, steps, causal, first, window
    y, log_sums = scaled_attention_forward(*inputs)

    def backward(dy):
        return scaled_attention_backward(dy, *inputs, log_sums)

    return y, backward


def _for_each_query(x: Array, lengths: Lengths, N: int) -> Array:
    """The keys or values of each head of queries, with zeros in the padding.

    (B, M, S, D) -> (B, N, S, D).  The padding may be NaN, and zero times NaN is NaN.
    """
    padding = np.arange(x.shape[2]) >= lengths[:, None]  # (B, S)
    return np.repeat(np.where(padding[:, None, :, None], 0, x), N // x.shape[1], axis=1)


def _for_each_key(dx: Array, lengths: Lengths, M: int) -> Array:
    """The gradients of N heads of queries, summed for each of the M heads of keys they share."""
    B, N, S, D = dx.shape
    padding = np.arange(S) >= lengths[:, None]  # (B, S)
    return np.where(padding[:, None, :, None], 0, dx.reshape(B, M, N // M, S, D).sum(axis=2))


def _allowed(
    lengths: Lengths, causal: bool, start: Lengths, window: int | None, T: int, S: int
) -> NDArray[np.bool_]:
    """A mask of the keys of each query: (B, 1, T, S), or (B, 1, 1, S) if all have the same."""
    key = np.arange(S)
    allowed = key < lengths[:, None, None, None]
    if causal:
        position = (start[:, None] + np.arange(T))[:, None, :, None]  # (B, 1, T, 1)
        allowed = allowed & (key <= position)
        if window is not None:
            allowed = allowed & (key > position - window)
    return allowed


@twinned
def scaled_attention_forward(
    query: Array,
    keys: Array,
    values: Array,
    lengths: Lengths,
    causal: bool,
    start: Lengths,
    window: int | None,
) -> tuple[Array, Array]:
    """query (B, N, T, D), keys (B, M, S, D), values (B, M, S, E), start (B,)
    -> context (B, N, T, E), log_sums (B, N, T)."""
    (_, N, T, D), S = query.shape, keys.shape[2]
    keys, values = (_for_each_query(x, lengths, N) for x in (keys, values))
    scores = query @ keys.mT * D**-0.5  # (B, N, T, S)
    weights, log_sums = masked_softmax(scores, _allowed(lengths, causal, start, window, T, S))
    context = weights @ values
    return np.where(_attends(weights), context, 0), log_sums[..., 0]


@twinned
def scaled_attention_backward(
    dcontext: Array,
    query: Array,
    keys: Array,
    values: Array,
    lengths: Lengths,
    causal: bool,
    start: Lengths,
    window: int | None,
    log_sums: Array,
) -> tuple[Array, Array, Array]:
    """-> dquery (B, N, T, D), dkeys (B, M, S, D), dvalues (B, M, S, E)."""
    (_, N, T, D), (_, M, S, _) = query.shape, keys.shape
    keys, values = (_for_each_query(x, lengths, N) for x in (keys, values))
    scores = query @ keys.mT * D**-0.5
    allowed = _allowed(lengths, causal, start, window, T, S)
    weights = np.exp(np.where(allowed, scores - log_sums[..., None], -np.inf))  # (B, N, T, S)
    attends = _attends(weights)
    query, dcontext = np.where(attends, query, 0), np.where(attends, dcontext, 0)
    # context = weights values
    dweights = np.where(allowed & attends, dcontext @ values.mT, 0)
    dvalues = weights.mT @ dcontext
    # weights = softmax(scores)
    dscores = np.where(allowed & attends, softmax_backward(dweights, weights), 0)
    # scores = query keys^T / sqrt(D)
    dquery = np.where(attends, dscores @ keys, 0) * D**-0.5
    dkeys = dscores.mT @ query * D**-0.5
    return dquery, *(_for_each_key(dx, lengths, M) for dx in (dkeys, dvalues))


def _attends(weights: Array) -> NDArray[np.bool_]:
    """A mask of the queries that attend to any key: weights (B, N, T, S) -> (B, N, T, 1).

    The others have no context and no gradient.  Zero times an infinite key or value would be NaN.
    """
    return (weights != 0).any(axis=-1, keepdims=True)
