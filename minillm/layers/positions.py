"""Positions as vectors: sines and cosines of many wavelengths.

    P[t, 2i]     = sin(t / 10000^(2i / D))
    P[t, 2i + 1] = cos(t / 10000^(2i / D))

Attention does not depend on the order of the keys: to it, a sentence is a set.  So a vector for
its place is added to each token's embedding.  The pairs of columns are clock hands, from one that
turns in 6 steps to one that needs 63,000.  A shift by k turns each hand by an angle that depends on
k alone, so that P[t + k] is a linear map of P[t], the same for all t.  There is nothing to learn,
and no longest sentence.

Source: Vaswani et al. (2017), "Attention is all you need", section 3.5.
"""

import numpy as np
from numpy.typing import NDArray


def sinusoids(positions: NDArray[np.integer], D: int, dtype: type = np.float32) -> NDArray:
    """The vectors of positions (T,), from 0 -> (T, D).  D must be even."""
    angles = positions[:, None] / 10000 ** (np.arange(0, D, 2) / D)  # (T, D/2)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(-1, D).astype(dtype)
