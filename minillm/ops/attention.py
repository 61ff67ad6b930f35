"""Attentions whose weights are kept: multiplicative, additive, and with a bias.

Legend: B batch, T queries (the decoder's steps), S keys (the encoder's),
D, E and A widths.  Each attention is

    weights = softmax over s of score(query_t, key_s)
    context_t = sum over s of weight_s value_s

They differ only in the score: :func:`multiplicative_attention`, :func:`additive_attention` and
:func:`biased_attention`.  With the derivative of the softmax, weight_s
([s = r] - weight_r), every backward begins

    dweight_s += dcontext . value_s        dvalue_s = sum over t of weight_s dcontext_t
    dscore_s = weight_s (dweight_s - sum over r of weight_r dweight_r)

With teacher forcing, all T queries of a sequence are passed at once; a single step of a decoder
has T = 1.  In beam search the T queries are the hypotheses of one source, which share its keys.

``lengths`` (B,): the keys of row b past lengths[b] are masked.  Their score is minus infinity,
not a large negative number, so the padding changes no result and no gradient.  A query without
keys, or whose scores are all minus infinity, has zero context, zero weights, and no gradient.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import twinned
from minillm.checks import op
from minillm.ops.linear import linear
from minillm.ops.padding import OptionalLengths, length_mask, zero_padded, zero_padding
from minillm.ops.softmax import masked_softmax, softmax_backward

Array = NDArray[np.floating]
Lengths = NDArray[np.int64]


def attending(weights: Array) -> NDArray[np.bool_]:
    """A mask of the queries that attend to any key: weights (..., T, S) -> (..., T, 1).

    The other queries are left out of every product.  Their weights are zero, but zero times an
    infinite key or value would be NaN.
    """
    return (weights != 0).any(axis=-1, keepdims=True)


def of_attending(x: Array, weights: Array) -> Array:
    """A copy of x (..., T, E) with zeros for the queries that do not attend to any key."""
    y = x.copy()
    y[~attending(weights)[..., 0]] = 0
    return y


def attend(scores: Array, values: Array, allowed: NDArray[np.bool_]) -> tuple[Array, Array]:
    """scores (..., T, S), values (..., S, E) -> context (..., T, E), weights (..., T, S)."""
    weights, _ = masked_softmax(scores, allowed)
    return of_attending(weights @ values, weights), weights


def attend_backward(
    dcontext: Array,
    dweights: Array | float,
    values: Array,
    weights: Array,
    allowed: NDArray[np.bool_],
) -> tuple[Array, Array]:
    """dcontext (..., T, E), dweights (..., T, S) -> dscores (..., T, S), dvalues (..., S, E)."""
    attends, dcontext = attending(weights), of_attending(dcontext, weights)
    # context = weights values; the weights are an output, too
    dvalues = weights.mT @ dcontext
    dweights = np.where(allowed & attends, dweights + dcontext @ values.mT, 0)
    # weights = softmax(scores)
    dscores = softmax_backward(dweights, weights)
    return np.where(allowed & attends, dscores, 0), dvalues


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

    Source: Luong, Pham and Manning (2015), "Effective approaches to attention-based
    neural machine translation", equation 8.
    """
    q, q_backward = (query, None) if W is None else linear(query, W)
    keys, values = zero_padded(keys, lengths), zero_padded(values, lengths)
    allowed = length_mask(lengths, keys.shape[1])[:, None]  # (B, 1, S)
    scores = q @ keys.mT  # (B, T, S)
    context, weights = attend(scores, values, allowed)

    def backward(dcontext, dweights=None):
        dscores, dvalues = attend_backward(dcontext, dweights, values, weights, allowed)
        # scores = q keys^T
        dq = of_attending(dscores @ keys, weights)
        dkeys = dscores.mT @ of_attending(q, weights)
        dkeys, dvalues = zero_padding(dkeys, lengths), zero_padding(dvalues, lengths)
        if q_backward is None:
            return dq, dkeys, dvalues
        # q = query W
        dquery, dW = q_backward(dq)
        return dquery, dkeys, dvalues, dW

    return (context, weights), backward


@op(
    "query: B T D, keys: B S C, values: B S E, W_q: D A, W_k: C A or C=A, v: A, "
    "lengths: B <= S or S -> context: B T E, weights: B T S"
)
def additive_attention(
    query: NDArray,
    keys: NDArray,
    values: NDArray,
    W_q: NDArray,
    W_k: NDArray | None,
    v: NDArray,
    lengths: OptionalLengths = None,
) -> tuple[tuple[NDArray, NDArray], Callable]:
    """Attention that scores with a small network of one hidden layer.

        score(q, k) = v . tanh(q W_q + k W_k)

    query (B, T, D), keys (B, S, C), values (B, S, E), W_q (D, A), W_k (C, A),
    v (A,), lengths (B,) or None -> context (B, T, E), weights (B, T, S).
    ``backward(dcontext, dweights=None)`` -> dquery, dkeys, dvalues, dW_q, dW_k, dv.
    Keeps the arguments, the two projections and the weights; tanh, (B, T, S, A), is
    computed again.

    If W_k is None, the keys are projected already, (B, S, A), and there is no dW_k.  A decoder
    that runs step by step projects them once.

        dhidden = dscore v (1 - tanh^2)        dv = sum over b, t, s of dscore tanh
        d(q W_q) = sum over s of dhidden       d(k W_k) = sum over t of dhidden

    Source: Bahdanau, Cho and Bengio (2015), "Neural machine translation by jointly
    learning to align and translate", appendix A.1.2 (without a bias, as there).
    """
    q, q_backward = linear(query, W_q)
    present = zero_padding(keys, lengths)  # dW_k multiplies all of them
    k, k_backward = (keys, None) if W_k is None else linear(present, W_k)
    context, weights = additive_attention_forward(q, k, values, v, lengths)

    def backward(dcontext, dweights=None):
        dq, dk, dvalues, dv = additive_attention_backward(
            dcontext, dweights, q, k, values, v, lengths, weights
        )
        dquery, dW_q = q_backward(dq)
        if k_backward is None:
            return dquery, dk, dvalues, dW_q, dv
        dkeys, dW_k = k_backward(dk)
        return dquery, dkeys, dvalues, dW_q, dW_k, dv

    return (context, weights), backward


@twinned
def additive_attention_forward(
    query: Array, keys: Array, values: Array, v: Array, lengths: Lengths
) -> tuple[Array, Array]:
    """projected query (B, T, A) and keys (B, S, A), values (B, S, E), v (A,)
    -> context (B, T, E), weights (B, T, S)."""
    keys, values = zero_padded(keys, lengths), zero_padded(values, lengths)
    hidden = np.tanh(query[:, :, None] + keys[:, None])  # (B, T, S, A)
    scores = hidden @ v  # (B, T, S)
    return attend(scores, values, length_mask(lengths, keys.shape[1])[:, None])


@twinned
def additive_attention_backward(
    dcontext: Array,
    dweights: Array,
    query: Array,
    keys: Array,
    values: Array,
    v: Array,
    lengths: Lengths,
    weights: Array,
) -> tuple[Array, Array, Array, Array]:
    """-> dquery (B, T, A), dkeys (B, S, A), dvalues (B, S, E), dv (A,)."""
    keys, values = zero_padded(keys, lengths), zero_padded(values, lengths)
    allowed = length_mask(lengths, keys.shape[1])[:, None]  # (B, 1, S)
    dscores, dvalues = attend_backward(dcontext, dweights, values, weights, allowed)
    present = (allowed & attending(weights))[..., None]  # (B, T, S, 1)
    # scores = hidden v
    hidden = np.where(present, np.tanh(query[:, :, None] + keys[:, None]), 0)  # (B, T, S, A)
    dv = np.tensordot(dscores, hidden, axes=3)
    # hidden = tanh(query + key)
    da = np.where(present, dscores[..., None] * v * (1 - hidden**2), 0)
    return da.sum(axis=2), da.sum(axis=1), zero_padding(dvalues, lengths), dv


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

    Source: Shaw, Uszkoreit and Vaswani (2018), "Self-attention with relative position
    representations"; a bias in place of vectors, Raffel et al. (2020), "Exploring the limits of
    transfer learning with a unified text-to-text Transformer", section 2.1.
    """
    k, v = zero_padded(k, lengths), zero_padded(v, lengths)
    scale = q.dtype.type(q.shape[-1] ** -0.5)
    allowed = length_mask(lengths, k.shape[2])[:, None, None]  # (B, 1, 1, S)
    y, weights = attend(q @ k.mT * scale + bias, v, allowed)

    def backward(dy):
        # y = softmax(scores) v
        dscores, dv = attend_backward(dy, 0.0, v, weights, allowed)
        # scores = q k^T / sqrt(D) + bias
        dq = of_attending(dscores @ k, weights) * scale
        dk = dscores.mT @ of_attending(q, weights) * scale
        return dq, zero_padding(dk, lengths), zero_padding(dv, lengths), dscores.sum(axis=0)

    return y, backward
