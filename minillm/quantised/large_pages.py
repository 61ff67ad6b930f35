"""Memory in large pages, where the system has them, for the weights that every token reads."""

import threading

import numpy as np
from numpy.typing import NDArray

LINE = 64  # bytes of a line of the cache


class PageArena:
    """Memory for the arrays of a model, side by side in large pieces.

    For a piece of a few MB, NumPy asks the system for pages of 2 MB; the processor keeps all their
    addresses at hand.  With the usual pages of 4 kB, it looks up thousands of them per token.
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


WEIGHTS = PageArena()
