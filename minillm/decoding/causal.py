"""Reading on with a causal Transformer: a cache, a window that slides, and steps of a few tokens.

The model sees a *context* of C tokens.  For a longer text, the window slides: after C tokens, the
last C / 2 of them are read again from position 0, and reading continues from there.  The tokens
behind a prediction thus depend only on its place in the text, not on how the text was cut into
prompts and steps.

Legend: B batch, T time, C context, V vocabulary, D width, M heads of keys, w their width.
"""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from minillm import checks
from minillm.decoding.cache import Cache, Counts
from minillm.decoding.reader import Reader
from minillm.layers.types import Ids


class CausalReader(Reader):
    """The reader of a Transformer that predicts the next token: see the module.

    A subclass defines :meth:`hidden`, its model's equations with a cache and without a backward,
    and may have a faster :meth:`step` for a few tokens.
    """

    most_steps: ClassVar[int] = 1  # tokens of each row that ``step`` reads at a time

    def hidden(self, ids: Ids, cache: Cache) -> NDArray:
        """The vector that predicts the token after each id: ids (B, T) -> y (B, T, D)."""
        raise NotImplementedError

    def step(self, ids: Ids, cache: Cache) -> NDArray:
        """The logits (B, T, V) after each of a few tokens, ids (B, T)."""
        return self.model.predict(self.hidden(ids, cache))[0]

    def key_sizes(self) -> tuple[int, int]:
        """The number of heads of keys and values, and their width: M, w."""
        return self.config.heads, self.config.width // self.config.heads

    def has_other_angles(self, cache: Cache, lengths: Counts) -> bool:
        """Whether the keys of this cache would be others in texts of these lengths (B,).

        Such texts are read again from their first token.
        """
        return False

    def zero_state(self, B: int) -> Cache:
        """The cache before the first token of B texts."""
        c = self.config
        return Cache.empty(B, c.context, c.layers, *self.key_sizes(), self.model.dtype)

    def read(self, ids: Ids, state: Cache, lengths: Ids | None = None) -> tuple[NDArray, Cache]:
        """The logits of the token after the last id, and the cache after it.

        ids (B, T) -> logits (B, V), cache.  Ids past lengths[b] (at least 1; None: T) are padding.
        T may be any number: when a row's context is full, its window slides.  The state is not
        changed, and several threads may go on from it.  With the compiled kernels, parts of two
        tokens or more give the bits of the whole text, whichever they are.
        """
        self._require_own(state, len(ids))
        counts = _counts(ids, lengths)
        total = state.lengths + counts
        if max(total.tolist()) > self.config.context or self.has_other_angles(state, total):
            ids, counts = self._window(ids, state, counts)
            state = self.zero_state(len(ids))
        after = state.extended(ids, counts)
        if ids.shape[1] == 1 and state.room > 0:
            return self.step(ids, after)[:, 0], after
        y = self.hidden(ids, after)
        return self.model.predict(y[np.arange(len(ids)), counts - 1])[0], after

    def read_all(self, ids: Ids, state: Cache) -> tuple[NDArray, Cache]:
        """The logits of the token after each id, and the cache after the last.

        ids (B, T) -> logits (B, T, V), cache.  Raises ValueError if a row would exceed the context.
        """
        self._require_own(state, len(ids))
        counts, T = _counts(ids, None), ids.shape[1]
        total = state.lengths + counts
        checks.fits_context(int(total.max()), self.config.context)
        if self.has_other_angles(state, total):
            ids, counts = self._window(ids, state, counts)
            state = self.zero_state(len(ids))
        after = state.extended(ids, counts)
        if ids.shape[1] <= self.most_steps and state.room > 0:
            return self.step(ids, after), after
        y = self.hidden(ids, after)
        if ids.shape[1] > T:  # all of each text was read
            y = np.stack([row[n - T : n] for row, n in zip(y, counts, strict=True)])
        return self.model.predict(y)[0], after

    def cut(self, ids: Ids, state: Cache, *, last: bool = False) -> tuple[int, Cache]:
        """Cut the cache of one text back to what it has in common with the beginning of ids (T,).

        -> the number of common tokens, at most T - 2, because a single token is read by ``step``,
        which adds up in another order; the cache after them.  For ``last`` see
        :meth:`minillm.decoding.cache.Cache.cut`.
        """
        most = max(0, min(int(state.lengths[0]), len(ids) - 2))
        differ = np.flatnonzero(state.ids[0, :most] != ids[:most])
        n = int(differ[0]) if len(differ) else most
        return n, state.cut(np.array([n]), last=last)

    def _require_own(self, state: Any, B: int) -> None:
        """ValueError for the cache of a model of other sizes, or of other than B rows."""
        c, (M, w) = self.config, self.key_sizes()
        if isinstance(state, Cache):
            shape = (B, M, state.room, w)
            counts = len(state.keys), len(state.values)
            # A cache is made with arrays of one shape, so the first one tells.
            if (
                state.ids.shape == (B, c.context)
                and counts == (c.layers, c.layers)
                and state.keys[0].shape == shape
                and state.keys[0].dtype == self.model.dtype
            ):
                return
        raise ValueError(
            f"state: expected the cache of {B} texts by a model with a context of {c.context}, "
            f"{c.layers} layers and {M} heads of width {w} in {self.model.dtype}, found another"
        )

    def _window(self, ids: Ids, state: Cache, counts: Counts) -> tuple[NDArray, Counts]:
        """Slide the window of each row: -> its ids (B, T), lengths (B,).

        Whenever a row continues after C tokens, all but the last C / 2 are dropped.
        """
        C = self.config.context
        dropped_at_once = C - C // 2
        rows = []
        for row, length in enumerate(state.lengths):
            text = np.concatenate([state.ids[row, :length], ids[row, : counts[row]]])
            slides = -(-max(0, len(text) - C) // dropped_at_once)
            rows.append(text[slides * dropped_at_once :])
        lengths = np.array([len(text) for text in rows])
        padded = np.zeros((len(rows), lengths.max()), np.int64)
        for row, text in zip(padded, rows, strict=True):
            row[: len(text)] = text
        return padded, lengths


def positions_after(cache: Cache, T: int, context: int) -> NDArray[np.int64]:
    """The positions (B, T) of the tokens after the cache; padding may lie past the context."""
    return np.minimum(cache.start[:, None] + np.arange(T), context - 1)


def _counts(ids: NDArray, lengths: NDArray | None) -> Counts:
    """The number of ids of each row without the padding, (B,)."""
    B, T = ids.shape
    if T == 0:
        raise ValueError("ids: expected one token or more in each row, found none")
    if lengths is None:
        return np.array([T] * B)
    counts = np.array(lengths)
    if (
        counts.dtype.kind not in "iu"
        or counts.shape != (B,)
        or counts.min() < 1
        or counts.max() > T
    ):
        raise ValueError(f"lengths: expected {B} whole numbers from 1 to {T}, found {lengths}")
    return counts.astype(np.int64)
