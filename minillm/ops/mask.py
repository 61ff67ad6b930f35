"""Who may see whom: one mask for attention, for its kernels, and for a cache.

A query at position i sees the key at position j of its row b if

    j < lengths[b]                          the key is no padding,
    j <= i                                  causal: it is not later,
    j > i - window                          and it is in the window of the query.

Every model says once whom its tokens see.  Training, reading on with a cache, packed rows and the
kernels pass that object on, each with the lengths or the start of its own arrays.

**Windows.**  A layer whose queries see the last W keys costs T W products rather than T S, and its
cache needs no older keys.  L layers still reach L (W - 1) positions back, because a key of the
second layer has attended to a window of its own.

Legend: B batch, T queries, S positions of keys.

Source: Vaswani et al. (2017), "Attention is all you need", section 3.2.3; windows, Beltagy, Peters
and Cohan (2020), "Longformer", section 3.1, and Jiang et al. (2023), "Mistral 7B", section 2.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minillm import checks
from minillm.ops.padding import zero_padding


@dataclass(frozen=True, eq=False)
class Mask:
    """The keys that each query sees; by default, all.

    ``start`` (B,) is the position of each row's first query among the keys.  None means S - T: the
    queries are the last T of the S positions.  Only a causal mask has a window, which counts the
    position of the query, too.
    """

    causal: bool = False
    lengths: NDArray[np.integer] | None = None
    start: NDArray[np.integer] | None = None
    window: int | None = None

    def allowed(self, T: int, S: int) -> NDArray[np.bool_]:
        """The definition: True where a query sees a key.

        -> (B, 1, T, S), with an axis of 1 where all rows, or all queries, see the same.
        """
        key = np.arange(S)
        allowed = np.ones((1, 1, 1, S), bool)
        if self.lengths is not None:
            allowed = key < self.lengths[:, None, None, None]  # (B, 1, 1, S)
        if self.causal:
            start = S - T if self.start is None else self.start[:, None, None, None]
            position = start + np.arange(T)[:, None]  # (B, 1, T, 1)
            allowed = allowed & (key <= position)
            if self.window is not None:
                allowed = allowed & (key > position - self.window)
        return allowed

    def without_padding(self, x: NDArray[np.floating]) -> NDArray[np.floating]:
        """Keys or values (..., S, D) with zeros in place of the padding, which may be NaN."""
        return x if self.lengths is None else zero_padding(x, self.lengths)

    def fitted(self, op: str, B: int, T: int, S: int) -> "Mask":
        """This mask for B rows of T queries and S keys, with its lengths and start as arrays.

        Raises TypeError or ValueError where a field does not fit.
        """
        causal = checks.flag(op, "causal", self.causal)
        lengths, window = checks.sequence_lengths(op, self.lengths, B, S), self.window
        if self.start is None:
            start = np.full(B, S - T, np.int64)
        else:
            start = checks.ids(op, "start", self.start, S + 1, (B,))
            if causal:  # no query reaches the free part of a cache
                lengths = np.minimum(start + T, lengths)
        if window is not None:
            window = min(checks.count(op, "window", window), S + T)  # as good as any larger one
            if not causal:
                raise ValueError(f"{op}: window: expected None without causal, found {window}")
        return Mask(causal, lengths, start, window)
