"""Softmax and cross-entropy in one."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import twinned
from minillm.ops import _validate


def cross_entropy(
    logits: NDArray,
    targets: NDArray[np.integer],
    mask: NDArray[np.bool_] | None = None,
    label_smoothing: float = 0.0,
    class_weights: NDArray | None = None,
) -> tuple[np.floating, Callable]:
    """The mean of -log p[target], in nats, where p is the softmax of the logits.

        p = softmax(logits)        loss = mean over unmasked places of -log p[target]

    With label smoothing e, the target distribution q puts probability 1 - e on the
    target and spreads e evenly over all V:

        q = (1 - e) one_hot(target) + e / V        loss = mean of -sum over v of q_v log p_v

    With class weights w, the loss of each place counts w[target] times, so that a rare class
    may count as much as a frequent one:

        loss = mean of w[target] times the above

    logits (..., V), targets (...) in 0..V-1, mask (...) True where a place counts (None:
    everywhere), class_weights (V,) or None: all 1 -> loss, a scalar of the logits' dtype.
    ``backward(dloss=1.0)`` -> dlogits (..., V), and dclass_weights (V,) if there are any.  Keeps
    p and the nats of the unmasked places.

    log softmax and softmax together have a gradient without a quotient:

        dlogits = w[target] (p - q) / count where the mask is True, else 0
        dw[v] = sum of nats / count over the places with target v

    A masked place is never looked at, whatever its logits are.

    Raises TypeError or ValueError where dtypes or shapes do not fit, a target is
    out of range, the mask leaves nothing to average over, or e is outside [0, 1).
    Source: Szegedy et al. (2016), "Rethinking the Inception architecture for
    computer vision", section 7, for the smoothing.
    """
    smoothing = _validate.number("cross_entropy", "label_smoothing", label_smoothing)
    if not 0 <= smoothing < 1:
        raise ValueError(f"cross_entropy: label_smoothing must lie in [0, 1), found {smoothing}")
    weights = {} if class_weights is None else {"class_weights": (class_weights, "V")}
    V = _validate.floats("cross_entropy", logits=(logits, "... V"), **weights)["V"]
    shape, dtype = logits.shape, logits.dtype
    ids = _validate.ids("cross_entropy", "targets", targets, V, shape[:-1]).ravel()  # (N,)
    if mask is None:
        counts = np.ones(ids.shape, bool)  # (N,)
    else:
        counts = _validate.mask("cross_entropy", "mask", mask, shape[:-1]).ravel()
    count = np.count_nonzero(counts)
    if count == 0:
        raise ValueError("cross_entropy: the mask is False everywhere: nothing to average over")

    rows = _validate.contiguous(logits)[0].reshape(-1, V)
    everywhere = count == len(counts)
    wanted = ids if everywhere else ids[counts]  # (count,)
    nats, p = cross_entropy_forward(rows if everywhere else rows[counts], wanted, smoothing)
    factors = np.ones(V, dtype) if class_weights is None else class_weights.copy()
    loss = (factors[wanted] * nats).sum() / dtype.type(count)
    upstream = _validate.upstream("cross_entropy", dloss=loss)

    def backward(dloss=1.0):
        share = dtype.type(upstream(dloss) / count)
        drows = cross_entropy_backward(p, wanted, share * factors[wanted], smoothing)  # (count, V)
        dlogits = drows
        if not everywhere:
            dlogits = np.zeros((len(counts), V), dtype)
            dlogits[counts] = drows
        dlogits = dlogits.reshape(shape)
        if class_weights is None:
            return dlogits
        dclass_weights = np.zeros(V, dtype)
        # loss = sum of w[target] nats / count, where a class may be many a place's target
        np.add.at(dclass_weights, wanted, share * nats)
        return dlogits, dclass_weights

    return loss, backward


@twinned
def cross_entropy_forward(
    logits: NDArray, targets: NDArray[np.int64], smoothing: float
) -> tuple[NDArray, NDArray]:
    """logits (N, V), targets (N,) -> nats (N,), p (N, V).

    log p_v = z_v - log(sum of exp(z)) with z = logits - max(logits): subtracting the
    largest logit changes nothing and keeps exp from overflowing.
    """
    z = logits - logits.max(axis=1, keepdims=True)
    exp_z = np.exp(z)
    total = exp_z.sum(axis=1)
    # - sum over v of q_v log p_v = log(total) - sum over v of q_v z_v, since q sums to 1
    expected = z[np.arange(len(z)), targets]
    if smoothing > 0:  # else 0 times minus infinity would be NaN
        expected = (1 - smoothing) * expected + smoothing * z.mean(axis=1)
    return np.log(total) - expected, exp_z / total[:, None]


@twinned
def cross_entropy_backward(
    p: NDArray, targets: NDArray[np.int64], weights: NDArray, smoothing: float
) -> NDArray:
    """p (N, V), targets, weights (N,) -> dlogits (N, V), for the loss sum of weights nats."""
    N, V = p.shape
    # q = (1 - smoothing) one_hot(targets) + smoothing / V
    q = np.full_like(p, smoothing / V)
    q[np.arange(N), targets] += 1 - smoothing
    return weights[:, None] * (p - q)
