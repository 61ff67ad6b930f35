"""Softmax and cross-entropy in one, as a mean loss or as the log-probability of each target."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import twinned
from minillm.checks import op
from minillm.ops.softmax import exponentials


@op(
    "logits: ... V, targets: ... < V, mask: ... bool?, label_smoothing: below_one, "
    "class_weights: V constant? -> loss:"
)
def cross_entropy(
    logits: NDArray,
    targets: NDArray[np.integer],
    mask: NDArray[np.bool_] | None = None,
    label_smoothing: float = 0.0,
    class_weights: NDArray | None = None,
) -> tuple[np.floating, Callable]:
    """The mean of -log p[target] in nats, where p is the softmax of the logits.

        p = softmax(logits)        loss = mean over unmasked positions of -log p[target]

    With label smoothing e, the target distribution q puts probability 1 - e on the
    target and spreads e evenly over all V:

        q = (1 - e) one_hot(target) + e / V        loss = mean of -sum over v of q_v log p_v

    With class weights w, the loss of each position is multiplied by the constant w[target].  A rare
    class can then count as much as a frequent one:

        loss = mean of w[target] times the above

    logits (..., V), targets (...) in 0..V-1, mask (...) True at the positions that count (None:
    all), class_weights (V,) or None: all 1 -> loss, a scalar of the logits' dtype.
    ``backward(dloss=1.0)`` -> dlogits (..., V).  Keeps p of the unmasked positions.

    The gradient of the two together has no quotient:

        dlogits = w[target] (p - q) / count where the mask is True, otherwise 0

    The logits of a masked position change nothing, even where they are NaN.

    Raises ValueError where the mask is False everywhere.
    Source: Szegedy et al. (2016), "Rethinking the Inception architecture for
    computer vision", section 7, for the smoothing.
    """
    (N, V), dtype = logits.shape, logits.dtype
    rows, counted = (logits, targets) if mask is None else (logits[mask], targets[mask])
    count = len(rows)
    if count == 0:
        raise ValueError("cross_entropy: mask: expected a True, found False everywhere")

    nats, p = cross_entropy_forward(rows, counted, label_smoothing)  # (count,), (count, V)
    factors = np.ones(count, dtype) if class_weights is None else class_weights[counted]
    loss = (factors * nats).sum() / dtype.type(count)

    def backward(dloss=1.0):
        share = dtype.type(dloss / count)
        drows = cross_entropy_backward(p, counted, share * factors, label_smoothing)
        if mask is None:
            return drows
        dlogits = np.zeros((N, V), dtype)
        dlogits[mask] = drows
        return dlogits

    return loss, backward


@twinned
def cross_entropy_forward(
    logits: NDArray, targets: NDArray[np.integer], smoothing: float
) -> tuple[NDArray, NDArray]:
    """logits (N, V), targets (N,) -> nats (N,), p (N, V)."""
    z, exp_z, total = exponentials(logits)
    # - sum over v of q_v log p_v = log(total) - sum over v of q_v z_v, since q sums to 1
    expected = z[np.arange(len(z)), targets]
    if smoothing > 0:  # otherwise 0 times minus infinity would be NaN
        expected = (1 - smoothing) * expected + smoothing * z.mean(axis=1)
    return np.log(total[:, 0]) - expected, exp_z / total


@twinned
def cross_entropy_backward(
    p: NDArray, targets: NDArray[np.integer], weights: NDArray, smoothing: float
) -> NDArray:
    """p (N, V), targets, weights (N,) -> dlogits (N, V), for the loss sum of weights nats."""
    N, V = p.shape
    # q = (1 - smoothing) one_hot(targets) + smoothing / V
    q = np.full_like(p, smoothing / V)
    q[np.arange(N), targets] += 1 - smoothing
    return weights[:, None] * (p - q)


@op("logits: ... V, targets: ... < V -> log_p: ...")
def log_likelihood(logits: NDArray, targets: NDArray[np.integer]) -> tuple[NDArray, Callable]:
    """log p[target] of each place in nats, where p is the softmax of the logits.

    logits (..., V), targets (...) in 0..V-1 -> log_p (...).  ``backward(dlog_p)`` -> dlogits
    (..., V).  Keeps p and the targets.

    The mean of -log p is :func:`minillm.ops.cross_entropy`.  Here each place has an upstream
    gradient of its own, because a loss may depend on the log-probabilities of whole texts, which
    are sums of these:

        dlogits = dlog_p (one_hot(target) - p)

    Source: Bridle (1990), "Probabilistic interpretation of feedforward classification network
    outputs", section 4.
    """
    nats, p = cross_entropy_forward(logits, targets, 0.0)

    def backward(dlog_p):
        # -log p has the slope p - one_hot(target)
        return cross_entropy_backward(p, targets, -dlog_p, 0.0)

    return -nats, backward
