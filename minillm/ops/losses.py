"""Losses."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm.ops import _validate


def cross_entropy(
    logits: NDArray,
    targets: NDArray[np.integer],
    mask: NDArray[np.bool_] | None = None,
    label_smoothing: float = 0.0,
) -> tuple[np.floating, Callable]:
    """How many nats it takes, on average, to tell each target, given its logits.

        p = softmax(logits)        loss = mean over unmasked places of -log p[target]

    With label smoothing e, the truth is thought a little uncertain: it is the
    target with probability 1 - e, and with e any of the V, all alike.

        q = (1 - e) one_hot(target) + e / V        loss = mean of -sum over v of q_v log p_v

    logits (..., V), targets (...) in 0..V-1, mask (...) True where a place
    counts (None: everywhere) -> loss, a scalar of the logits' dtype.
    ``backward(dloss=1)`` -> dlogits (..., V).  Keeps p.

    log softmax and softmax together have a gradient without a quotient:

        dlogits = (p - q) / count where the mask is True, else 0

    Raises TypeError or ValueError where dtypes or shapes do not fit, a target is
    out of range, the mask leaves nothing to average over, or e is outside [0, 1).
    Source: Szegedy et al. (2016), "Rethinking the Inception architecture for
    computer vision", section 7, for the smoothing.
    """
    label_smoothing = float(label_smoothing)  # a NumPy scalar would set the dtype
    if not 0 <= label_smoothing < 1:
        raise ValueError(
            f"cross_entropy: label_smoothing must lie in [0, 1), found {label_smoothing}"
        )
    V = _validate.floats("cross_entropy", logits=(logits, "... V"))["V"]
    _validate.ids("cross_entropy", "targets", targets, V, logits.shape[:-1])
    if mask is None:
        mask = np.ones(targets.shape, bool)
    if mask.dtype != bool or mask.shape != targets.shape:
        raise ValueError(
            f"cross_entropy: mask must be bool of shape {targets.shape}, "
            f"found {mask.dtype} of shape {mask.shape}"
        )
    count = np.count_nonzero(mask)
    if count == 0:
        raise ValueError("cross_entropy: the mask is False everywhere: nothing to average over")

    # log p = shifted - log(sum(exp(shifted))): subtracting the largest logit
    # changes nothing and keeps exp from overflowing.
    p = logits - logits.max(axis=-1, keepdims=True)
    expected = np.take_along_axis(p, targets[..., None], axis=-1)[..., 0]  # sum of q shifted
    if label_smoothing > 0:
        expected = (1 - label_smoothing) * expected + label_smoothing * p.mean(axis=-1)
    np.exp(p, out=p)
    total = p.sum(axis=-1, keepdims=True)
    nats = np.log(total[..., 0]) - expected  # (...)
    loss = np.sum(nats, where=mask) / logits.dtype.type(count)
    p /= total

    def backward(dloss=1.0):
        weight = (mask * (dloss / count)).astype(p.dtype)  # (...)
        dlogits = p - p.dtype.type(label_smoothing / V) if label_smoothing > 0 else p.copy()
        dlogits *= weight[..., None]
        rows = dlogits.reshape(-1, V)
        rows[np.arange(len(rows)), targets.ravel()] -= (1 - label_smoothing) * weight.ravel()
        return dlogits

    return loss, backward
