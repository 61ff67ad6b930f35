"""Losses."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm.ops import _validate


def cross_entropy(
    logits: NDArray, targets: NDArray[np.integer], mask: NDArray[np.bool_] | None = None
) -> tuple[np.floating, Callable]:
    """How many nats it takes, on average, to tell each target, given its logits.

        p = softmax(logits)        loss = mean over unmasked places of -log p[target]

    logits (..., V), targets (...) in 0..V-1, mask (...) True where a place
    counts (None: everywhere) -> loss, a scalar of the logits' dtype.
    ``backward(dloss=1)`` -> dlogits (..., V).  Keeps p.

    log softmax and softmax together have a gradient without a quotient:

        dlogits = (p - one_hot(target)) / count where the mask is True, else 0

    Raises TypeError or ValueError where dtypes or shapes do not fit, a target is
    out of range, or the mask leaves nothing to average over.
    """
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
    of_target = np.take_along_axis(p, targets[..., None], axis=-1)[..., 0]
    np.exp(p, out=p)
    total = p.sum(axis=-1, keepdims=True)
    nats = np.log(total[..., 0]) - of_target  # (...)
    loss = np.sum(nats, where=mask) / logits.dtype.type(count)
    p /= total

    def backward(dloss=1.0):
        weight = (mask * (dloss / count)).astype(p.dtype)  # (...)
        dlogits = p * weight[..., None]
        rows = dlogits.reshape(-1, V)
        rows[np.arange(len(rows)), targets.ravel()] -= weight.ravel()
        return dlogits

    return loss, backward
