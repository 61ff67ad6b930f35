"""Mixing the examples of a batch."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm.ops import _validate
from minillm.ops._padding import cut


def mixup(
    x: NDArray,
    partners: NDArray[np.integer],
    share: float,
    lengths: NDArray[np.integer] | None = None,
) -> tuple[NDArray, Callable]:
    """Mix each example with its partner: y_b = share x_b + (1 - share) x_partner(b).

    x (B, T, D), partners (B,) in 0..B-1, share in 0..1, lengths (B,) or None -> y (B, T, D).
    Steps past a row's length count as zero vectors, so that the mixture of a short text and
    a long one is as long as the long one.
    ``backward(dy)`` -> dx (B, T, D), zero past each length.  Keeps partners and lengths.

    The loss is mixed by the caller, with the same share: share loss(y, target of b)
    + (1 - share) loss(y, target of partner(b)).

    Raises TypeError or ValueError where shapes do not fit, a partner is no row, or share is
    outside 0..1.
    Source: Zhang, Cisse, Dauphin and Lopez-Paz (2018), "mixup: beyond empirical risk
    minimization", section 2.  Guo, Mao and Zhang (2019), "Augmenting data with mixup for
    sentence classification", for the mixture of word embeddings.
    """
    B, T, _ = _validate.floats("mixup", x=(x, "B T D")).values()
    others = _validate.ids("mixup", "partners", partners, B, (B,))
    if not 0 <= _validate.number("mixup", "share", share) <= 1:
        raise ValueError(f"mixup: share must lie in [0, 1], found {share}")
    steps = _validate.sequence_lengths("mixup", lengths, B, T)
    own, other = x.dtype.type(share), x.dtype.type(1 - share)
    real = cut(x, steps)
    y = own * real + other * real[others]
    upstream = _validate.upstream("mixup", dy=y)

    def backward(dy):
        dy = upstream(dy)
        dreal = own * dy
        # a row may be the partner of several: their gradients add up
        np.add.at(dreal, others, other * dy)
        return cut(dreal, steps)

    return y, backward
