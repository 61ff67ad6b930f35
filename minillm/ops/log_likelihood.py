"""The log-probability of each target: what a preference or a reward is about."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm.checks import op
from minillm.ops.cross_entropy import cross_entropy_backward, cross_entropy_forward


@op("logits: ... V, targets: ... < V -> log_p: ...")
def log_likelihood(logits: NDArray, targets: NDArray[np.integer]) -> tuple[NDArray, Callable]:
    """log p[target] of each place in nats, where p is the softmax of the logits.

    logits (..., V), targets (...) in 0..V-1 -> log_p (...).  ``backward(dlog_p)`` -> dlogits
    (..., V).  Keeps p and the targets.

    The mean of -log p is :func:`minillm.ops.cross_entropy`.  Here each place has an upstream
    gradient of its own, because a loss may depend on the log-probabilities of whole texts, which
    are sums of these:

        dlogits = dlog_p (one_hot(target) - p)

    Raises TypeError or ValueError where dtypes or shapes do not fit, or a target is out of range.
    Source: Bridle (1990), "Probabilistic interpretation of feedforward classification network
    outputs", section 4.
    """
    shape, flat_targets = logits.shape, targets.ravel()
    nats, p = cross_entropy_forward(logits.reshape(-1, shape[-1]), flat_targets, 0.0)
    log_p = -nats.reshape(shape[:-1])

    def backward(dlog_p):
        # -log p has the slope p - one_hot(target)
        return cross_entropy_backward(p, flat_targets, -dlog_p.ravel(), 0.0).reshape(shape)

    return log_p, backward
