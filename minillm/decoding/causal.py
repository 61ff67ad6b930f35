"""Reading on with a causal Transformer: a cache, a window that slides, and steps of a few tokens.

The model sees a *context* of C tokens.  For a longer text, the window slides: after C tokens, the
last C / 2 of them are read again from position 0, and reading continues from there.  The tokens
behind a prediction thus depend only on its place in the text, not on how the text was cut into
prompts and steps.

A whole prompt is read by the model's layers, with a cache.  A few tokens are a step, one call for
all layers (:mod:`minillm.decoding.block_step`), which reads each weight once.  A pass over several
tokens then takes little longer than one over a single token, so guesses are checked cheaply
(:mod:`minillm.decoding.speculation`).

Legend: B batch, T time, C context, V vocabulary, D width, M heads of keys, w their width.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import checks
from minillm.decoding.block_step import StepWeights, block_step
from minillm.decoding.cache import Cache, Counts
from minillm.decoding.reader import OfModel, Reader
from minillm.layers import embedding, stack
from minillm.layers.heads import Attend
from minillm.layers.types import Ids
from minillm.models.base import CausalModel


@Reader.register(CausalModel)
class CausalReader(OfModel):
    """The reader of a :class:`minillm.models.base.CausalModel`: see the module."""

    _weights: StepWeights | None = None  # at the last step

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        # The tokens of a step: for 16 guesses; more take longer to compute than to fetch.
        self.most_steps = 0 if model.activation is None else 17

    def embed(self, ids: Ids, positions: Ids, cache: Cache) -> NDArray:
        """The vectors of the tokens after the cache: ids, positions (B, T) -> x (B, T, D)."""
        if self.model.tables:  # the op would take 12 us more, a sixth of a small model's step
            tables = self.model.tables(
                checks.ids("read", "ids", ids, self.config.vocabulary), positions
            )
            return embedding.rows(self.model.params, tables)
        n = self.model.lookback
        before = {"before": cache.before(n)} if n else {}
        return self.model.embed(ids, positions, **before)[0]

    def all_blocks(
        self, x: NDArray, positions: Ids, attend: stack.AttendIn, source: Any = None
    ) -> tuple[NDArray, None]:
        """All blocks and the last norm: x (B, T, D) -> y (B, T, D); there is no source."""
        return stack.read(self.model, x, positions, attend), None

    def hidden(self, ids: Ids, cache: Cache) -> NDArray:
        """The model's ``hidden`` with a cache: ids (B, T) -> y (B, T, D)."""
        # A row's last position is its last token: padding stays there.
        after = cache.start[:, None] + np.arange(ids.shape[1])
        positions = np.minimum(after, cache.lengths[:, None] - 1)

        def attend(layer: int) -> Attend:
            return cache.attend(layer, self.model.mask(layer))

        return stack.read(self.model, self.embed(ids, positions, cache), positions, attend)

    def predict(self, y: NDArray) -> NDArray:
        """The logits of the next token: y (..., D) -> (..., V)."""
        return self.model.predict(y)[0]

    def new_weights(self) -> StepWeights:
        """The weights for the steps."""
        model, c, layers = self.model, self.config, range(self.config.layers)
        return StepWeights(
            self,
            [f"blocks.{layer}" for layer in layers],
            "embedding.E" if c.tied else "output.W",
            last_norm="norm",
            activation=model.activation,
            eps=c.eps,
            masks=[model.mask(layer) for layer in layers],
            angles=[model.rotation(layer) for layer in layers],
            head_width=c.head_width,
        )

    def step(self, ids: Ids, cache: Cache) -> NDArray:
        """The logits (B, T, V) after each of a few tokens, ids (B, T)."""
        weights, (B, T) = self._weights, ids.shape
        if weights is None or not weights.are_in(self.model.params):
            weights = self._weights = self.new_weights()
        start = cache.start.copy()  # another thread may write into it
        positions = start[:, None] + np.arange(T) if T > 1 else start[:, None]
        x = self.embed(ids, positions, cache)
        cos, sin = weights.cos_and_sin(positions, x.dtype)
        logits, _ = block_step(weights, x.reshape(B * T, -1), cos, sin, cache.past(), start)
        return logits.reshape(B, T, -1)

    # --- reading ----------------------------------------------------------------

    def zero_state(self, B: int) -> Cache:
        """The cache before the first token of B texts."""
        c = self.config
        return Cache.empty(B, c.context, c.layers, c.key_heads, c.head_width, self.model.dtype)

    def read(self, ids: Ids, state: Cache, lengths: Ids | None = None) -> tuple[NDArray, Cache]:
        """The logits of the token after the last id, and the cache after it.

        ids (B, T) -> logits (B, V), cache.  Ids past lengths[b] (at least 1; None: T) are padding.
        T may be any number: when a row's context is full, its window slides.  The state is not
        changed, and several threads may go on from it.  With the compiled kernels, parts of any
        sizes give the bits of the whole text if the weights are packed, and otherwise parts of two
        tokens or more.
        """
        self._require_own(state, *ids.shape)
        counts: Any = ids.shape[1]
        if lengths is not None:
            counts = checks.sequence_lengths("read", lengths, *ids.shape)
            _require_one(int(counts.min()))
        if max((state.lengths + counts).tolist()) > self.config.context:
            ids, counts = self._window(ids, state, counts)
            state = self.zero_state(len(ids))
        after = state.extended(ids, counts)
        if ids.shape[1] == 1 <= self.most_steps and state.room > 0:
            return self.step(ids, after)[:, 0], after
        y = self.hidden(ids, after)
        return self.predict(y[np.arange(len(ids)), counts - 1]), after

    def read_all(self, ids: Ids, state: Cache) -> tuple[NDArray, Cache]:
        """The logits of the token after each id, and the cache after the last.

        ids (B, T) -> logits (B, T, V), cache.  Raises ValueError if a row would exceed the context.
        """
        T = ids.shape[1]
        self._require_own(state, *ids.shape)
        checks.fits_context(int(state.lengths.max()) + T, self.config.context)
        after = state.extended(ids, T)
        if self.most_steps >= T and state.room > 0:
            return self.step(ids, after), after
        return self.predict(self.hidden(ids, after)), after

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

    def _require_own(self, state: Cache, B: int, T: int) -> None:
        """ValueError for no ids, the cache of a model of other sizes, or of other than B rows."""
        _require_one(T)
        c, keys = self.config, state.keys[0]  # all arrays of a cache are made with one shape
        own = B, c.context, c.layers, c.key_heads, c.head_width, self.model.dtype
        found = *state.ids.shape, len(state.keys), keys.shape[1], keys.shape[3], keys.dtype
        if found != own:
            raise ValueError(
                "state: expected a cache of so many rows, a context, layers, heads of a width, and "
                f"dtype: {own}, found {found}"
            )

    def _window(self, ids: Ids, state: Cache, counts: Counts | int) -> tuple[NDArray, Counts]:
        """Slide the window of each row: -> its ids (B, T), lengths (B,).

        Whenever a row continues after C tokens, all but the last C / 2 are dropped.
        """
        C = self.config.context
        dropped_at_once = C - C // 2
        rows = []
        for row, (length, count) in enumerate(np.broadcast(state.lengths, counts)):
            text = np.concatenate([state.ids[row, :length], ids[row, :count]])
            slides = -(-max(0, len(text) - C) // dropped_at_once)
            rows.append(text[slides * dropped_at_once :])
        lengths = np.array([len(text) for text in rows])
        padded = np.zeros((len(rows), lengths.max()), np.int64)
        for row, text in zip(padded, rows, strict=True):
            row[: len(text)] = text
        return padded, lengths


def _require_one(ids: int) -> None:
    if ids == 0:
        raise ValueError("read: expected one id or more in each row, found none")
