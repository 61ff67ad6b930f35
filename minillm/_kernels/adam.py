"""What an optimiser does to every parameter at every step: the NumPy original.

Both functions take flat arrays, a block at a time: a block and its moments stay in
the cache through all passes of the rule, and one block is all the scratch there is.
"""

import numpy as np
from numpy.typing import NDArray

_BLOCK = 16384  # elements


def adam_update(
    p: NDArray,
    g: NDArray,
    m: NDArray,
    v: NDArray,
    beta1: float,
    beta2: float,
    step_size: float,
    root_correction: float,
    epsilon: float,
    decay: float,
) -> None:
    """One step of Adam: changes p and its moments m and v, all (N,), in place.

    m = beta1 m + (1 - beta1) g
    v = beta2 v + (1 - beta2) g^2
    p = decay p - step_size m / (sqrt(v) root_correction + epsilon)
    """
    scratch = np.empty(min(p.size, _BLOCK), p.dtype)
    for start in range(0, p.size, _BLOCK):
        block = slice(start, start + _BLOCK)
        p_, g_, m_, v_ = p[block], g[block], m[block], v[block]
        s = scratch[: p_.size]
        m_ *= beta1
        np.multiply(g_, 1 - beta1, out=s)
        m_ += s
        v_ *= beta2
        np.multiply(g_, g_, out=s)
        s *= 1 - beta2
        v_ += s
        np.sqrt(v_, out=s)
        s *= root_correction
        s += epsilon
        np.divide(m_, s, out=s)
        s *= step_size
        if decay != 1:
            p_ *= decay
        p_ -= s


def sum_of_squares(g: NDArray) -> float:
    """The sum of g^2 over all elements of g (N,)."""
    scratch = np.empty(min(g.size, _BLOCK), g.dtype)
    total = 0.0
    for start in range(0, g.size, _BLOCK):
        block = g[start : start + _BLOCK]
        s = scratch[: block.size]
        np.multiply(block, block, out=s)
        total += float(s.sum())
    return total
