"""What all attentions share: which keys exist, and the softmax over them.

Legend: B batch, N heads, T queries (the decoder's steps), S keys (the encoder's),
D, E and A widths.  Each attention is

    weights = softmax over s of score(query_t, key_s)
    context_t = sum over s of weight_s value_s

and they differ in the score alone: see ``additive_attention``,
``multiplicative_attention`` and ``scaled_dot_product_attention``.  The queries of a
whole teacher-forced sequence are given at once; for one step of a decoder, T is 1.
In beam search the T queries are the hypotheses of one source, which share its keys.

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


def exponentials(scores: Array, allowed: NDArray[np.bool_]) -> tuple[Array, Array, Array]:
    """exp(scores - largest) of the allowed scores (..., S), their sum and the largest (..., 1).

    Where no allowed score is above minus infinity, the exponentials are zero, the sum
    is 1 (so that one can divide by it) and the largest is 0.
    """
    scores = np.where(allowed, scores, -np.inf)
    largest = scores.max(axis=-1, keepdims=True)
    largest = np.where(largest == -np.inf, 0, largest)
    exp_scores = np.exp(scores - largest)
    total = exp_scores.sum(axis=-1, keepdims=True)
    return exp_scores, np.where(total == 0, 1, total), largest


def masked_softmax(scores: Array, allowed: NDArray[np.bool_]) -> Array:
    """The softmax over the last axis among the allowed scores, zero elsewhere."""
    exp_scores, total, _ = exponentials(scores, allowed)
    return exp_scores / total


def masked_softmax_backward(weights: Array, dweights: Array, allowed: NDArray[np.bool_]) -> Array:
    """dscores, from the weights that the softmax returned; zero where a score is not allowed.

    dscores_s = weight_s (dweight_s - sum over r of weight_r dweight_r)
    """
    dweights = np.where(allowed, dweights, 0)
    return weights * (dweights - (weights * dweights).sum(axis=-1, keepdims=True))
