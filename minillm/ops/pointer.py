"""A word is written from the vocabulary, or copied from the source: a mixture of two models."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm.checks import op
from minillm.ops.cross_entropy import cross_entropy_backward, cross_entropy_forward


@op("weights: B T S, source: B S >= 0, targets: B T >= 0 -> m: B T")
def copied_probability(
    weights: NDArray, source: NDArray[np.integer], targets: NDArray[np.integer]
) -> tuple[NDArray, Callable]:
    """The probability of each target if a word of the source is copied at random.

    The attention weights are read as probabilities: position j of the source is copied with
    probability w_j.  A word that occurs twice in the source is copied from either position:

        m_t = sum over j of w_tj [source_j = target_t]

    weights (B, T, S), source (B, S), targets (B, T) -> m (B, T); m is 0 for a target that the
    source lacks.  ``backward(dm)`` -> dweights.  Keeps copies of source and targets.

        dw_tj = dm_t [source_j = target_t]

    Padding of the source needs no mask, because its weights are 0.
    Raises TypeError or ValueError where dtypes or shapes do not fit, or an id is negative.
    Source: Vinyals, Fortunato and Jaitly (2015), "Pointer networks", section 2.3, for attention
    that points; See, Liu and Manning (2017), "Get to the point: summarization with
    pointer-generator networks", the sum in equation 9.
    """
    m = copied_probability_forward(weights, source, targets)

    def backward(dm):
        return copied_probability_backward(dm, source, targets)

    return m, backward


def copied_probability_forward(
    weights: NDArray, source: NDArray[np.integer], targets: NDArray[np.integer]
) -> NDArray:
    """weights (B, T, S), source (B, S), targets (B, T) -> m (B, T)."""
    same = source[:, None, :] == targets[:, :, None]  # (B, T, S)
    return np.where(same, weights, 0).sum(axis=-1)


def copied_probability_backward(
    dm: NDArray, source: NDArray[np.integer], targets: NDArray[np.integer]
) -> NDArray:
    """dm (B, T), source (B, S), targets (B, T) -> dweights (B, T, S)."""
    same = source[:, None, :] == targets[:, :, None]  # (B, T, S)
    return np.where(same, dm[:, :, None], 0)


@op("logits: ... V, gates: ..., copied: ..., targets: ... >= 0 -> loss:")
def pointer_cross_entropy(
    logits: NDArray, gates: NDArray, copied: NDArray, targets: NDArray[np.integer]
) -> tuple[np.floating, Callable]:
    """The mean of -log P[target] in nats, where P mixes a vocabulary and a source.

        g = sigmoid(z)             the probability of writing from the vocabulary (p_gen)
        p = softmax(logits)
        P = g p[target] + (1 - g) m        loss = mean of -log P

    where m is the probability of the target if a word is copied (:func:`copied_probability`).

    logits (..., V), gates (...) for z, copied (...) for m, targets (...) from 0; p[target] = 0 for
    a target from V up, which is outside of the vocabulary and can only be copied -> loss, a scalar.
    ``backward(dloss=1.0)`` -> dlogits, dgates, dcopied.  Keeps p, g, P and r.

    Let r = g p[target] / P: the probability that the target, as it was observed, came from the
    vocabulary.  With dp[target]/dlogits = p[target] (one_hot(target) - p) and dg/dz = g (1 - g):

        dlogits = r (p - one_hot(target)) / count       the gradient of cross-entropy, times r
        dz = -(p[target] - m) g (1 - g) / P / count = (g - r) / count
        dm = -(1 - g) / P / count

    So the gate is trained like a logistic regression whose label is r: where copying explains the
    target better, r is small, and g learns to be small.  It is the E-step of the EM algorithm.

    A target without any probability (the vocabulary lacks it, m is 0) has an infinite loss.  Here
    it counts as the smallest normal number, and has a gradient of zero.

    Raises TypeError or ValueError where dtypes or shapes do not fit, or a target is negative.
    Sources: See, Liu and Manning (2017), equation 9; Gulcehre, Ahn, Nallapati, Zhou and Bengio
    (2016), "Pointing the unknown words", for the switch between two softmax layers.
    """
    shape, dtype, V = logits.shape, logits.dtype, logits.shape[-1]
    targets = targets.ravel()
    count = len(targets)
    if count == 0:
        raise ValueError("pointer_cross_entropy: targets: expected one or more, found none")
    z, m = gates.ravel(), copied.ravel()
    inside = targets < V
    known = np.where(inside, targets, 0)

    nats, p = cross_entropy_forward(logits.reshape(-1, V), known, 0.0)
    log_g, log_rest = -np.logaddexp(0, -z), -np.logaddexp(0, z)  # log g and log(1 - g)
    written = np.where(inside, log_g - nats, -np.inf)  # log(g p[target])
    with np.errstate(divide="ignore"):
        log_P = np.logaddexp(written, log_rest + np.log(m))
    possible = log_P > -np.inf
    log_P = np.maximum(log_P, np.log(np.finfo(dtype).tiny))
    loss = -log_P.sum() / dtype.type(count)
    r = np.exp(written - log_P)

    def backward(dloss=1.0):
        share = np.where(possible, dtype.type(dloss / count), 0)
        dlogits = cross_entropy_backward(p, known, share * r, 0.0)
        dz = share * (np.exp(log_g) - r)
        dm = -share * np.exp(log_rest - log_P)
        return dlogits.reshape(shape), dz.reshape(shape[:-1]), dm.reshape(shape[:-1])

    return loss, backward
