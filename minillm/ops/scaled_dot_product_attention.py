"""The attention of the Transformer, all heads at once.

The weights of all heads, (B, N, T, S), would be the largest array of a Transformer.
They are not kept.  The backward computes them again from the scores and one number
for each query: weight = exp(score - log of the sum of exp(scores)).
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import twinned
from minillm.checks import op
from minillm.ops.attention import Array, attending
from minillm.ops.mask import Mask
from minillm.ops.padding import OptionalLengths
from minillm.ops.softmax import masked_softmax, softmax_backward


@op(
    "q: B N T D, k: B M S D, v: B M S E, causal: flag, lengths: B <= S?, start: B <= S?, "
    "mask: any -> y: B N T E",
    order="rows",
)
def scaled_dot_product_attention(
    q: NDArray,
    k: NDArray,
    v: NDArray,
    causal: bool = False,
    lengths: OptionalLengths = None,
    start: OptionalLengths = None,
    mask: Mask | None = None,
) -> tuple[NDArray, Callable]:
    """The attention of the Transformer, all heads at once.

        y = softmax(q k^T / sqrt(D)) v

    q (B, N, T, D), k (B, M, S, D), v (B, M, S, E), lengths and start (B,) or None
    -> y (B, N, T, E).  ``backward(dy)`` -> dq, dk, dv.
    Keeps the arguments and, for each query, the logarithm of its softmax's sum.

    M divides N: each head of keys and values is shared by N / M heads of queries ("grouped
    queries"; with M = 1, "multi-query").

    ``causal``, ``lengths`` and ``start`` are fields of a :class:`minillm.ops.mask.Mask`, which
    defines who sees whom.  A whole ``mask`` takes their place.

    A masked key has the weight zero, but zero times NaN or infinity is NaN.  Which queries a NaN
    reaches that is masked for them is not defined.

    q, k and v may be slices of larger arrays, such as a cache.  They are not copied if their
    last axis is contiguous.

    A score is a sum of D products.  If they are independent and have variance 1, the score has
    variance D.  Without the scale, the weights would come close to 0 and 1, where the softmax has
    hardly any gradient.

    Source: Vaswani et al. (2017), "Attention is all you need", equation 1; without
    the weights in memory, Dao et al. (2022), "FlashAttention", section 3.1; grouped
    queries, Ainslie et al. (2023), "GQA".
    """
    op = "scaled_dot_product_attention"
    (B, N, T, _), (_, M, S, _) = q.shape, k.shape
    if N % M:
        raise ValueError(f"{op}: k: expected heads that divide the {N} of q, found {M}")
    if mask is None:
        mask = Mask(causal, lengths, start)
    elif causal or lengths is not None or start is not None:
        raise ValueError(f"{op}: mask: expected None with causal, lengths or start, found a mask")
    if mask.rows is not None:
        return _each_sequence(q, k, v, replace(mask, rows=None), mask.sequences(op, B, T, S))
    inputs = q, k, v, mask.fitted(op, B, T, S)
    y, log_sums = scaled_attention_forward(*inputs)

    def backward(dy):
        return scaled_attention_backward(dy, *inputs, log_sums)

    return y, backward


def _each_sequence(
    q: Array, k: Array, v: Array, mask: Mask, sequences: list[slice]
) -> tuple[Array, Callable]:
    """The sequences of a packed row, each by itself, so that no pair of two is computed."""
    contexts, backwards = zip(
        *[
            scaled_dot_product_attention(q[:, :, at], k[:, :, at], v[:, :, at], mask=mask)
            for at in sequences
        ],
        strict=True,
    )

    def backward(dy):
        gradients = [each(dy[:, :, at]) for each, at in zip(backwards, sequences, strict=True)]
        return tuple(np.concatenate(parts, axis=2) for parts in zip(*gradients, strict=True))

    return np.concatenate(contexts, axis=2), backward


def _for_each_query(x: Array, mask: Mask, N: int) -> Array:
    """The keys or values of each head of queries: (B, M, S, D) -> (B, N, S, D)."""
    return np.repeat(mask.without_padding(x), N // x.shape[1], axis=1)


def _for_each_key(dx: Array, mask: Mask, M: int) -> Array:
    """The gradients of N heads of queries, summed for each of the M heads of keys they share."""
    B, N, S, D = dx.shape
    return mask.without_padding(dx.reshape(B, M, N // M, S, D).sum(axis=2))


@twinned
def scaled_attention_forward(
    query: Array, keys: Array, values: Array, mask: Mask
) -> tuple[Array, Array]:
    """query (B, N, T, D), keys (B, M, S, D), values (B, M, S, E), a fitted mask
    -> context (B, N, T, E), log_sums (B, N, T)."""
    (_, N, T, D), S = query.shape, keys.shape[2]
    keys, values = (_for_each_query(x, mask, N) for x in (keys, values))
    scores = query @ keys.mT * D**-0.5  # (B, N, T, S)
    weights, log_sums = masked_softmax(scores, mask.allowed(T, S))
    context = weights @ values
    return np.where(attending(weights), context, 0), log_sums[..., 0]


@twinned
def scaled_attention_backward(
    dcontext: Array,
    query: Array,
    keys: Array,
    values: Array,
    mask: Mask,
    log_sums: Array,
) -> tuple[Array, Array, Array]:
    """-> dquery (B, N, T, D), dkeys (B, M, S, D), dvalues (B, M, S, E)."""
    (_, N, T, D), (_, M, S, _) = query.shape, keys.shape
    keys, values = (_for_each_query(x, mask, N) for x in (keys, values))
    scores = query @ keys.mT * D**-0.5
    allowed = mask.allowed(T, S)
    weights = np.exp(np.where(allowed, scores - log_sums[..., None], -np.inf))  # (B, N, T, S)
    attends = attending(weights)
    query, dcontext = np.where(attends, query, 0), np.where(attends, dcontext, 0)
    # context = weights values
    dweights = np.where(allowed & attends, dcontext @ values.mT, 0)
    dvalues = weights.mT @ dcontext
    # weights = softmax(scores)
    dscores = np.where(allowed & attends, softmax_backward(dweights, weights), 0)
    # scores = query keys^T / sqrt(D)
    dquery = np.where(attends, dscores @ keys, 0) * D**-0.5
    dkeys = dscores.mT @ query * D**-0.5
    return dquery, *(_for_each_key(dx, mask, M) for dx in (dkeys, dvalues))
