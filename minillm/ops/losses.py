"""Losses."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import active_kernels
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

    kernels = active_kernels()
    rows = np.ascontiguousarray(logits).reshape(-1, V)
    wanted = targets.ravel().astype(np.int64, copy=False)
    nats, p = kernels.cross_entropy_forward(rows, wanted, label_smoothing)  # (N,), (N, V)
    loss = np.sum(nats, where=mask.ravel()) / p.dtype.type(count)

    def backward(dloss=1.0):
        weights = (mask.ravel() * (dloss / count)).astype(p.dtype)  # (N,)
        dlogits = kernels.cross_entropy_backward(p, wanted, weights, label_smoothing)
        return dlogits.reshape(logits.shape)

    return loss, backward
