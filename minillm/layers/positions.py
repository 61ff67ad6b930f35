"""Position vectors: sines and cosines of many wavelengths.

    P[t, 2i]     = sin(t / 10000^(2i / D))
    P[t, 2i + 1] = cos(t / 10000^(2i / D))

Attention does not depend on the order of the keys: it sees a sentence as a set.  So each token's
embedding gets a vector for its position added.  The pairs of columns are like clock hands: the
fastest turns once in 6 steps, the slowest in 2 pi 10000^(1 - 2/D), which is 60,600 for D = 512.  A
shift by n turns each hand by an angle that depends only on n, so P[t + n] is a linear map of P[t],
the same for all t.  Nothing is learned, and the length of a sentence has no limit.

Source: Vaswani et al. (2017), "Attention is all you need", section 3.5.
"""

import numpy as np
from numpy.typing import NDArray


def sinusoids(positions: NDArray[np.integer], D: int, dtype: type = np.float32) -> NDArray:
    """The vectors of positions: (T,) -> (T, D), for an even D."""
    angles = positions[:, None] / 10000 ** (np.arange(0, D, 2) / D)  # (T, D/2)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(-1, D).astype(dtype)
