"""Who may see whom: one mask for attention, for its kernels, and for a cache.

A query at position i sees the key at position j of its row b if

    j < lengths[b]                          the key is no padding,
    j <= i                                  causal: it is not later, and
    j > i - window  or  j < sinks           it is in the query's window, or one of the first keys.

Every model says once whom its tokens see.  Training, reading on with a cache, packed rows and the
kernels pass that object on, each with the lengths or the start of its own arrays.

**Windows.**  A layer whose queries see the last W keys costs T W products rather than T S, and its
cache needs no older keys.  L layers still reach L (W - 1) positions back, because a key of the
second layer has attended to a window of its own.

**Sinks.**  The weights of a softmax sum to 1, so a query that finds nothing must put its weight
somewhere: in trained models, on the first tokens, which every query sees.  A window that leaves
them behind takes the largest terms out of the sum, and the model fails.  Four first tokens that
stay in sight, the *attention sinks*, are enough.  Here they keep their own positions, 0 to 3, in
training and with a cache alike, so their distance from the query grows with the text.  Xiao et al.
count positions within the cache instead, because their models were trained on shorter texts,
without a window.

**Packed rows.**  Sequences of different lengths stand one after another, in place of rows filled
with padding:

    a a a a a b b c c c c c c c         one row of 14 tokens, ``rows`` of 5, 2 and 7

Each query sees its own sequence alone, and its position is counted there.

Legend: B batch, T queries, S positions of keys.

Source: Vaswani et al. (2017), "Attention is all you need", section 3.2.3; windows, Beltagy, Peters
and Cohan (2020), "Longformer", section 3.1, and Jiang et al. (2023), "Mistral 7B", section 2;
sinks, Xiao, Tian, Chen, Han and Lewis (2023), "Efficient streaming language models with attention
sinks", sections 3.1 and 3.2; packed rows, Krell, Kosec, Perez and Fitzgibbon (2021), "Efficient
sequence packing without cross-contamination".
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
    position of the query, too; and only a window has ``sinks``.  ``rows`` (n,) are the lengths of
    the sequences packed into a single row: each sees only itself.
    """

    causal: bool = False
    lengths: NDArray[np.integer] | None = None
    start: NDArray[np.integer] | None = None
    window: int | None = None
    sinks: int = 0
    rows: NDArray[np.integer] | None = None

    def allowed(self, T: int, S: int) -> NDArray[np.bool_]:
        """The definition: True where a query sees a key.

        -> (B, 1, T, S), with an axis of 1 where all rows, or all queries, see the same.
        """
        key = np.arange(S)
        start = S - T if self.start is None else self.start[:, None, None, None]
        position = start + np.arange(T)[:, None]  # (B, 1, T, 1)
        allowed = np.ones((1, 1, 1, S), bool)
        if self.lengths is not None:
            allowed = key < self.lengths[:, None, None, None]  # (B, 1, 1, S)
        if self.rows is not None:
            sequence = np.repeat(np.arange(len(self.rows)), self.rows)
            allowed = allowed & (sequence[:, None] == sequence)  # (1, 1, T, S)
            key = np.concatenate([np.arange(n) for n in self.rows])
            position = key[:, None]
        if self.causal:
            allowed = allowed & (key <= position)
            if self.window is not None:
                allowed = allowed & ((key > position - self.window) | (key < self.sinks))
        return allowed

    def without_padding(self, x: NDArray[np.floating]) -> NDArray[np.floating]:
        """Keys or values (..., S, D) with zeros in place of the padding, which may be NaN."""
        return x if self.lengths is None else zero_padding(x, self.lengths)

    def fitted(self, op: str, B: int, T: int, S: int) -> "Mask":
        """This mask for B rows of T queries and S keys, with copies of its lengths and start.

        Raises TypeError or ValueError where a field does not fit.
        """
        causal = checks.flag(op, "causal", self.causal)
        lengths, start, window = self.lengths, self.start, self.window
        if lengths is not None:
            lengths = checks.ids(op, "lengths", lengths, S + 1, (B,))
        if start is not None:
            start = checks.ids(op, "start", start, S + 1, (B,))
            if causal:  # no query reaches the free part of a cache
                lengths = np.minimum(start + T, S if lengths is None else lengths)
        if window is not None:
            window = min(checks.count(op, "window", window), S + T)  # as good as any larger one
            if not causal:
                raise ValueError(f"{op}: window: expected None without causal, found {window}")
        sinks = 0 if self.sinks == 0 else min(checks.count(op, "sinks", self.sinks), S)
        if sinks > 0 and window is None:
            raise ValueError(f"{op}: sinks: expected 0 without a window, found {sinks}")
        return Mask(causal, lengths, start, window, sinks)

    def sequences(self, op: str, B: int, T: int, S: int) -> list[slice]:
        """The positions of each sequence of a packed row; ValueError if they do not fill it."""
        assert self.rows is not None  # the row is packed
        rows = checks.ids(op, "rows", self.rows, T + 1)
        alone = self.lengths is None and self.start is None and B == 1 and S == T
        if not alone or rows.ndim != 1 or rows.sum() != T:
            raise ValueError(f"{op}: rows: expected the lengths of one row of {T}, found {rows}")
        return [slice(end - n, end) for n, end in zip(rows, np.cumsum(rows), strict=True) if n > 0]
