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

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from minillm import checks
from minillm.decoding.block_step import AttendIn, Rotation, StepWeights, block_step
from minillm.decoding.cache import Cache, Counts
from minillm.decoding.holder import Holder
from minillm.layers.heads import CAUSAL, Attend
from minillm.layers.norms import EPS, norm
from minillm.layers.types import Ids
from minillm.models.gpt import gpt_block
from minillm.models.llama import llama_block
from minillm.models.variants import variant_block
from minillm.ops import Mask
from minillm.ops.rotary_scaling import LongRope


class CausalReader(Holder):
    """The reader of a Transformer that predicts the next token: see the module.

    A subclass says what its model's layers are, and how the model embeds tokens.
    """

    most_steps: ClassVar[int] = 17  # for 16 guesses: more take longer to compute than to fetch
    activation: str  # of the feed-forward layers: see StepWeights
    _weights: StepWeights | None = None  # at the last step

    # --- the model --------------------------------------------------------------

    def embed(self, ids: Ids, positions: Ids, cache: Cache) -> NDArray:
        """The vectors of the tokens after the cache: ids, positions (B, T) -> x (B, T, D)."""
        raise NotImplementedError

    def block(self, layer: int, x: NDArray, positions: Ids, attend: Attend) -> NDArray:
        """A block: x (B, T, D) -> (B, T, D)."""
        raise NotImplementedError

    def rotation_of(self, layer: int) -> Rotation | None:
        """The angles of a layer; None: it does not rotate."""
        return None

    def mask_of(self, layer: int) -> Mask:
        """Whom a token sees in a layer: all tokens before."""
        return CAUSAL

    def has_other_angles(self, cache: Cache, lengths: Counts) -> bool:
        """Whether the keys of this cache would be others in texts of these lengths (B,).

        Such texts are read again from their first token.
        """
        return False

    def key_sizes(self) -> tuple[int, int]:
        """The number of heads of keys and values, and their width: M, w."""
        return self.config.key_heads, self.config.head_width

    def all_blocks(
        self, x: NDArray, positions: Ids, attend: AttendIn, source: Any = None
    ) -> tuple[NDArray, None]:
        """All blocks and the last norm: x (B, T, D) at its positions (B, T) -> y (B, T, D).

        ``attend(layer, mask)`` is the attention of a layer; there is no source to look at.
        """
        for layer in range(self.config.layers):
            x = self.block(layer, x, positions, attend(layer, self.mask_of(layer)))
        eps = getattr(self.config, "eps", EPS)
        return norm(self.model.params, "norm", x, eps)[0], None

    def hidden(self, ids: Ids, cache: Cache) -> NDArray:
        """The model's ``hidden`` with a cache: ids (B, T) -> y (B, T, D)."""
        # A row's last position is its last token: padding stays there.
        after = cache.start[:, None] + np.arange(ids.shape[1])
        positions = np.minimum(after, cache.lengths[:, None] - 1)
        return self.all_blocks(self.embed(ids, positions, cache), positions, cache.attend)[0]

    def predict(self, y: NDArray) -> NDArray:
        """The logits of the next token: y (..., D) -> (..., V)."""
        return self.model.predict(y)[0]

    def new_weights(self) -> StepWeights:
        """The weights for the steps."""
        c, layers = self.config, range(self.config.layers)
        return StepWeights(
            self,
            [f"blocks.{layer}" for layer in layers],
            "embedding.E" if getattr(c, "tied", True) else "output.W",
            last_norm="norm",
            activation=self.activation,
            eps=getattr(c, "eps", EPS),
            masks=[self.mask_of(layer) for layer in layers],
            angles=[self.rotation_of(layer) for layer in layers],
            head_width=self.key_sizes()[1],
        )

    def step(self, ids: Ids, cache: Cache) -> NDArray:
        """The logits (B, T, V) after each of a few tokens, ids (B, T)."""
        weights, (B, T) = self._weights, ids.shape
        checked = checks.ids("read", "ids", ids, self.config.vocabulary)
        if weights is None or not weights.are_in(self.model.params):
            weights = self._weights = self.new_weights()
        start = cache.start.copy()  # another thread may write into it
        positions = start[:, None] + np.arange(T) if T > 1 else start[:, None]
        x = self.embed(checked, positions, cache)
        cos, sin = weights.cos_and_sin(positions, x.dtype)
        logits, _ = block_step(weights, x.reshape(B * T, -1), cos, sin, cache.past(), start)
        return logits.reshape(B, T, -1)

    # --- reading ----------------------------------------------------------------

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
        return self.predict(y[np.arange(len(ids)), counts - 1]), after

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
        return self.predict(y), after

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


# --- the models -----------------------------------------------------------------


class GPTReader(CausalReader):
    """A GPT, whose weights mostly stay in the cache of the CPU, so that guesses gain nothing."""

    most_steps = 1
    activation = "gelu"

    def embed(self, ids: Ids, positions: Ids, cache: Cache) -> NDArray:
        """E[id] + P[position]: ids, positions (B, T) -> x (B, T, D)."""
        p = self.model.params
        return p["embedding.E"].take(ids, axis=0) + p["positions.E"].take(positions, axis=0)

    def block(self, layer: int, x: NDArray, positions: Ids, attend: Attend) -> NDArray:
        """See :class:`CausalReader`."""
        return gpt_block(self.model.params, f"blocks.{layer}", x, self.config.heads, attend=attend)[
            0
        ]

    def key_sizes(self) -> tuple[int, int]:
        """The number of heads, and their width."""
        return self.config.heads, self.config.width // self.config.heads


class LlamaReader(CausalReader):
    """A Llama."""

    activation = "silu gate"

    def embed(self, ids: Ids, positions: Ids, cache: Cache) -> NDArray:
        """The model's ``embed``: ids (B, T) -> x (B, T, D)."""
        return self.model.embed(ids)[0]

    def block(self, layer: int, x: NDArray, positions: Ids, attend: Attend) -> NDArray:
        """See :class:`CausalReader`."""
        p, c = self.model.params, self.config
        return llama_block(p, f"blocks.{layer}", x, positions, c, attend=attend)[0]

    def rotation_of(self, layer: int) -> Rotation | None:
        """The same angles in all layers."""
        return self.config.rotary_base, self.config.rope_scaling

    def has_other_angles(self, cache: Cache, lengths: Counts) -> bool:
        """Whether LongRoPE has other angles in texts of these lengths (B,)."""
        scaling = self.config.rope_scaling
        if not isinstance(scaling, LongRope):
            return False
        is_long = scaling.is_long(lengths)
        return any(
            (scaling.is_long(n) != is_long).any() for n in (cache.rotated, cache.lengths + 1)
        )


class VariantReader(LlamaReader):
    """A variant of Llama: its layers may differ in their windows and their angles."""

    def embed(self, ids: Ids, positions: Ids, cache: Cache) -> NDArray:
        """The model's ``embed``, with the tokens before: ids (B, T) -> x (B, T, D)."""
        N = self.config.ngrams
        return self.model.embed(ids, before=None if N is None else cache.before(N - 1))[0]

    def block(self, layer: int, x: NDArray, positions: Ids, attend: Attend) -> NDArray:
        """See :class:`CausalReader`."""
        p, c = self.model.params, self.config
        return variant_block(p, layer, x, positions, c, attend=attend)[0]

    def rotation_of(self, layer: int) -> Rotation | None:
        """The angles of a layer; None: it does not rotate."""
        return self.config.rotation_of(layer)

    def mask_of(self, layer: int) -> Mask:
        """Whom a token sees in a layer."""
        return self.config.mask_of(layer)

    @property
    def activation(self) -> str:  # type: ignore[override]
        """SiLU or GELU, gated."""
        return f"{self.config.changes.gate} gate"
