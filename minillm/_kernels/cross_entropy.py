"""Softmax and cross-entropy in one: the NumPy original.

A row z of logits, its target's index k, and a truth q that is one_hot(k) smoothed by e:

    p = softmax(z)        q = (1 - e) one_hot(k) + e / V        nats = - sum over v of q_v log p_v

log p_v = z_v - max z - log(sum of exp(z - max z)): subtracting the largest logit
changes nothing and keeps exp from overflowing.  The gradient by z is p - q.
"""

import numpy as np
from numpy.typing import NDArray


def cross_entropy_forward(
    logits: NDArray, targets: NDArray[np.int64], smoothing: float
) -> tuple[NDArray, NDArray]:
    """logits (N, V), targets (N,) -> nats (N,), p (N, V)."""
    N = len(logits)
    p = logits - logits.max(axis=1, keepdims=True)
    expected = p[np.arange(N), targets]  # the sum of q (z - max z)
    if smoothing > 0:
        expected = (1 - smoothing) * expected + smoothing * p.mean(axis=1)
    np.exp(p, out=p)
    total = p.sum(axis=1, keepdims=True)
    nats = np.log(total[:, 0]) - expected
    p /= total
    return nats, p


def cross_entropy_backward(
    p: NDArray, targets: NDArray[np.int64], weights: NDArray, smoothing: float
) -> NDArray:
    """dlogits (N, V): the gradient of the sum over n of weights[n] nats[n]."""
    N, V = p.shape
    dlogits = p - p.dtype.type(smoothing / V) if smoothing > 0 else p.copy()
    dlogits *= weights[:, None]
    dlogits[np.arange(N), targets] -= (1 - smoothing) * weights
    return dlogits
