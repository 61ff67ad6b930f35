"""What all attentions share: which keys exist, and the softmax over them.

Legend: B batch, N heads, T queries (the decoder's steps), S keys (the encoder's),
D, E and A widths.  Each attention is

    weights = softmax over s of score(query_t, key_s)
    context_t = sum over s of weight_s value_s

and they differ in the score alone.  With the softmax's own derivative, weight_s
([s = r] - weight_r), every backward begins

    dweight_s += dcontext . value_s        dvalue_s = sum over t of weight_s dcontext_t
    dscore_s = weight_s (dweight_s - sum over r of weight_r dweight_r)

Read on in ``additive_attention``, ``multiplicative_attention`` and
``scaled_dot_product_attention``.  The queries of a whole teacher-forced sequence are
given at once; for one step of a decoder, T is 1.  In beam search the T queries are the
hypotheses of one source, which share its keys.

``lengths`` (B,): the keys at lengths[b] and later do not exist for row b.  Their
score is minus infinity, not a large negative number, so that nothing that stands
there changes any result or gradient.  A query without any key, or whose scores are
all minus infinity, has the context zero, the weights zero, and no gradient.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Lengths = NDArray[np.int64]


def transposed(x: Array) -> Array:
    """Each matrix of a stack transposed."""
    return np.swapaxes(x, -1, -2)


def softmax_of_allowed(scores: Array, allowed: NDArray[np.bool_]) -> tuple[Array, Array]:
    """The softmax over the allowed ones of scores (..., S), and log(sum of exp(score)) (..., 1).

    The other weights are zero, whatever the scores are.  Where no allowed score is above
    minus infinity, all are, and the logarithm is 0.
    """
    scores = np.where(allowed, scores, -np.inf)
    largest = scores.max(axis=-1, keepdims=True)
    largest = np.where(largest == -np.inf, 0, largest)
    exp_scores = np.exp(scores - largest)
    total = exp_scores.sum(axis=-1, keepdims=True)
    total = np.where(total == 0, 1, total)
    return np.where(allowed, exp_scores / total, 0), largest + np.log(total)


def attending(weights: Array) -> NDArray[np.bool_]:
    """Which queries attend to any key: weights (..., T, S) -> (..., T, 1).

    The others are left out of every product: their weights are zero, but zero times an
    infinite key or value would be NaN.
    """
    return (weights != 0).any(axis=-1, keepdims=True)


def attend(scores: Array, values: Array, allowed: NDArray[np.bool_]) -> tuple[Array, Array]:
    """scores (..., T, S), values (..., S, E) -> context (..., T, E), weights (..., T, S)."""
    weights, _ = softmax_of_allowed(scores, allowed)
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
    # context = weights values, and the weights are an output themselves
    dvalues = transposed(weights) @ dcontext
    dweights = np.where(allowed & attends, dweights + dcontext @ transposed(values), 0)
    # weights = softmax(scores)
    dscores = weights * (dweights - (weights * dweights).sum(axis=-1, keepdims=True))
    return np.where(allowed & attends, dscores, 0), dvalues
