"""Memory for weights that a kernel reads at every token: large pages, where the system has them."""

import threading

import numpy as np
from numpy.typing import NDArray

LINE = 64  # bytes of a line of the cache


class Room:
    """Memory for the arrays of a model, next to each other in large pieces.

    For a piece of some MB NumPy asks the system for pages of 2 MB, whose addresses the processor
    knows.  With the usual 4 kB, it looks up thousands of them for each token.
    """

    PIECE = 1 << 25  # bytes
    WORTH = 1 << 16  # bytes of an array

    def __init__(self) -> None:
        self._lock, self._free = threading.Lock(), np.empty(0, np.uint8)

    def take(self, size: int) -> NDArray[np.uint8]:
        """Memory of ``size`` bytes, which begins on a line of the cache."""
        if size < self.WORTH:
            return np.empty(size, np.uint8)
        with self._lock:
            if size > len(self._free):
                piece = np.empty(max(size, self.PIECE) + LINE, np.uint8)
                self._free = piece[-piece.ctypes.data % LINE :]
            taken, self._free = self._free[:size], self._free[-(-size // LINE) * LINE :]
        return taken


WEIGHTS = Room()
