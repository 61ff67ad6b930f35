"""A word is written from the vocabulary, or copied from the source: a mixture of two models."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm.checks import op
from minillm.ops.cross_entropy import cross_entropy_backward, cross_entropy_forward
from minillm.ops.padding import OptionalLengths, length_mask


@op("weights: B T S, source: B S >= 0, targets: B T >= 0 -> m: B T")
def copied_probability(
    weights: NDArray, source: NDArray[np.integer], targets: NDArray[np.integer]
) -> tuple[NDArray, Callable]:
    """The probability of each target if a word of the source is copied at random.

    The attention weights are read as probabilities: position j of the source is copied with
    probability w_j.  A word that occurs twice in the source is copied from either position:

        m_t = sum over j of w_tj [source_j = target_t]

    weights (B, T, S), source (B, S), targets (B, T) -> m (B, T); m is 0 for a target that the
    source lacks.  ``backward(dm)`` -> dweights.  Keeps where they are equal.

        dw_tj = dm_t [source_j = target_t]

    Padding of the source needs no mask, because its weights are 0.
    Source: Vinyals, Fortunato and Jaitly (2015), "Pointer networks", section 2.3, for attention
    that points; See, Liu and Manning (2017), "Get to the point: summarization with
    pointer-generator networks", the sum in equation 9.
    """
    same = source[:, None, :] == targets[:, :, None]  # (B, T, S)
    m = np.where(same, weights, 0).sum(axis=-1)

    def backward(dm):
        return np.where(same, dm[:, :, None], 0)

    return m, backward


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

    Sources: See, Liu and Manning (2017), equation 9; Gulcehre, Ahn, Nallapati, Zhou and Bengio
    (2016), "Pointing the unknown words", for the switch between two softmax layers.
    """
    (count, V), dtype = logits.shape, logits.dtype
    if count == 0:
        raise ValueError("pointer_cross_entropy: targets: expected one or more, found none")
    z, m = gates, copied
    inside = targets < V
    known = np.where(inside, targets, 0)

    nats, p = cross_entropy_forward(logits, known, 0.0)
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
        return dlogits, dz, dm

    return loss, backward


@op("weights: B T S, lengths: B <= T or T -> loss:")
def coverage(weights: NDArray, lengths: OptionalLengths = None) -> tuple[np.floating, Callable]:
    """The mean attention per step to positions that earlier steps have attended to.

        c_t = w_1 + ... + w_{t-1}                      the coverage before step t
        loss = mean over steps t of sum over j of min(w_tj, c_tj)

    A summary that repeats itself attends to the same words twice, and then min(w, c) is large.
    Where a step attends to words that are new, it is 0.

    weights (B, T, S) from 0 up, lengths (B,), the steps of each row (None: all T) -> loss, a
    scalar.  ``backward(dloss=1.0)`` -> dweights.  Keeps where w < c.

    The smaller of w and c has the gradient.  c_u is a sum with a term w_t for each t before u, so
    all later steps whose c is the smaller one send theirs to w_t: one sum from the end.

        dw_t = [w_t < c_t] + sum over u > t of [c_u <= w_u]

    Padding has no loss, and no later step.
    Source: See, Liu and Manning (2017), "Get to the point: summarization with pointer-generator
    networks", equations 10 and 12.  Their attention also reads c_t, which makes it a recurrence
    over t; here it does not.
    """
    real = length_mask(lengths, weights.shape[1])[:, :, None]  # (B, T, 1)
    count = int(lengths.sum())
    if count == 0:
        raise ValueError("coverage: lengths: expected one above 0, found none")
    w = np.where(real, weights, 0)
    c = np.cumsum(w, axis=1) - w
    loss = np.minimum(w, c).sum() / weights.dtype.type(count)
    new = w < c

    def backward(dloss=1.0):
        share = weights.dtype.type(dloss / count)
        old = np.where(real & ~new, share, 0)
        # dc_u = [c_u <= w_u] goes to each w_t before it
        later = np.cumsum(old[:, ::-1], axis=1)[:, ::-1] - old
        return np.where(real, np.where(new, share, 0) + later, 0)

    return loss, backward
