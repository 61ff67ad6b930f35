"""The shared parts of two attentions, additive and multiplicative: the softmax and its backward.

Legend: B batch, T queries (the decoder's steps), S keys (the encoder's),
D, E and A widths.  Each attention is

    weights = softmax over s of score(query_t, key_s)
    context_t = sum over s of weight_s value_s

They differ only in the score.  With the derivative of the softmax, weight_s
([s = r] - weight_r), every backward begins

    dweight_s += dcontext . value_s        dvalue_s = sum over t of weight_s dcontext_t
    dscore_s = weight_s (dweight_s - sum over r of weight_r dweight_r)

See ``additive_attention``, ``multiplicative_attention`` and ``scaled_dot_product_attention``.
With teacher forcing, all T queries of a sequence are passed at once; a single step of a decoder
has T = 1.  In beam search the T queries are the hypotheses of one source, which share its keys.

``lengths`` (B,): the keys of row b past lengths[b] are masked.  Their score is minus infinity,
not a large negative number, so the padding changes no result and no gradient.  A query without
keys, or whose scores are all minus infinity, has zero context, zero weights, and no gradient.
"""

import numpy as np
from numpy.typing import NDArray

from minillm.ops.softmax import masked_softmax, softmax_backward

Array = NDArray[np.floating]
Lengths = NDArray[np.int64]


def transposed(x: Array) -> Array:
    """A stack of matrices, each transposed."""
    return np.swapaxes(x, -1, -2)


def attending(weights: Array) -> NDArray[np.bool_]:
    """A mask of the queries that attend to any key: weights (..., T, S) -> (..., T, 1).

    The other queries are left out of every product.  Their weights are zero, but zero times an
    infinite key or value would be NaN.
    """
    return (weights != 0).any(axis=-1, keepdims=True)


def attend(scores: Array, values: Array, allowed: NDArray[np.bool_]) -> tuple[Array, Array]:
    """scores (..., T, S), values (..., S, E) -> context (..., T, E), weights (..., T, S)."""
    weights, _ = masked_softmax(scores, allowed)
    return np.where(attending(weights), weights @ values, 0), weights


def attend_backward(
    dcontext: Array,
    dweights: Array | float,
    values: Array,
    weights: Array,
    allowed: NDArray[np.bool_],
) -> tuple[Array, Array]:
    """dcontext (..., T, E), dweights (..., T, S) -> dscores (..., T, S), dvalues (..., S, E)."""
    attends = attending(weights)
    dcontext = np.where(attends, dcontext, 0)
    # context = weights values; the weights are an output, too
    dvalues = transposed(weights) @ dcontext
    dweights = np.where(allowed & attends, dweights + dcontext @ transposed(values), 0)
    # weights = softmax(scores)
    dscores = softmax_backward(dweights, weights)
    return np.where(allowed & attends, dscores, 0), dvalues
