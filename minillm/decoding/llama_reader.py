"""Reading on with a Llama or a variant: whole prompts by its layers, a few tokens in one call.

The twin of :func:`_llama_step` reads each weight once, which takes most of its time.  Quantised
weights (:mod:`minillm.quantised`) stay packed.  A pass over several tokens takes little longer
than one over a single token, so guesses are checked cheaply
(:mod:`minillm.decoding.speculation`).  :mod:`minillm.decoding.decoder_step` does the same for
GPT-2's form of the block, one token at a time.

Legend: B texts, T new tokens of each, Q = B T rows, S positions, D width, M heads of keys, w their
width, V vocabulary.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import checks
from minillm._kernels import twinned
from minillm.decoding.cache import Cache, Counts
from minillm.decoding.causal import CausalReader
from minillm.decoding.decoder_step import FoundWeights, Past, attend_each
from minillm.layers.heads import Attend
from minillm.layers.norms import norm
from minillm.layers.types import Ids
from minillm.models.llama import Llama, llama_block
from minillm.models.variants import Variant, variant_block
from minillm.ops.rotary import cos_and_sin
from minillm.ops.rotary_scaling import LongRope

BLOCK_WEIGHTS = (
    *("norm_1.gain", "attention.W_qkv", "attention.W_o"),
    *("norm_2.gain", "feed_forward.W_gate_up", "feed_forward.W_down"),
    *("attention.b_qkv", "attention.norm_q.gain", "attention.norm_k.gain"),  # of variants
    *("attention.norm.gain", "feed_forward.norm.gain"),
)

Rotation = tuple[float, Any]  # the base of the angles, and their scaling


class LlamaReader(CausalReader, of=Llama):
    """A Llama, and the addresses of its weights at the last step."""

    most_steps = 17  # for 16 guesses; of more tokens, the arithmetic takes longer than the weights

    _weights: "LlamaWeights | None" = None

    def key_sizes(self) -> tuple[int, int]:
        """The number of heads of keys and values, and their width: M, w."""
        return self.config.key_heads, self.config.head_width

    def block(self, layer: int, x: NDArray, positions: Ids, attend: Attend) -> NDArray:
        """A block: x (B, T, D) -> (B, T, D)."""
        p, c = self.model.params, self.config
        return llama_block(p, f"blocks.{layer}", x, positions, c, attend=attend)[0]

    def rotation_of(self, layer: int) -> Rotation | None:
        """The angles of a layer; None: it does not rotate."""
        return self.config.rotary_base, self.config.rope_scaling

    def window_of(self, layer: int) -> int | None:
        """The number of tokens that a layer sees; None: all."""
        return None

    is_gelu = False  # the gate of the feed-forward layers

    def embed(self, ids: Ids, cache: Cache) -> tuple[NDArray, Any]:
        """The model's ``embed``: ids (B, T) -> x (B, T, D)."""
        return self.model.embed(ids)

    def hidden(self, ids: Ids, cache: Cache) -> NDArray:
        """The model's ``hidden`` with a cache: ids (B, T) -> y (B, T, D)."""
        x, _ = self.embed(ids, cache)
        positions = cache.start[:, None] + np.arange(ids.shape[1])
        # A row's last position is its last token: padding stays there.
        positions = np.minimum(positions, cache.lengths[:, None] - 1)
        return self.all_blocks(x, positions, cache.attend)

    def has_other_angles(self, cache: Cache, lengths: Counts) -> bool:
        """Whether LongRoPE has other angles in texts of these lengths (B,)."""
        scaling = self.config.rope_scaling
        if not isinstance(scaling, LongRope):
            return False
        is_long = scaling.is_long(lengths)
        return any(
            (scaling.is_long(n) != is_long).any() for n in (cache.rotated, cache.lengths + 1)
        )

    def all_blocks(
        self, x: NDArray, positions: Ids, attend: Callable[[int, int | None], Attend]
    ) -> NDArray:
        """All blocks and the last norm: x (B, T, D) at its positions (B, T) -> y (B, T, D).

        ``attend(layer, window)`` is the attention of a layer.
        """
        for layer in range(self.config.layers):
            x = self.block(layer, x, positions, attend(layer, self.window_of(layer)))
        return norm(self.model.params, "norm", x, self.config.eps)[0]

    def step(self, ids: Ids, cache: Cache) -> NDArray:
        """The logits (B, T, V) after each of a few tokens, ids (B, T)."""
        c, weights, (B, T) = self.config, self._weights, ids.shape
        checked = checks.ids("read", "ids", ids, c.vocabulary)
        if weights is None or not weights.are_in(self.model.params):
            weights = self._weights = LlamaWeights(self)
        start = cache.start.copy()  # another thread may write into it
        x, _ = self.embed(checked, cache)
        cos, sin = weights.cos_and_sin(start[:, None] + np.arange(T), x.dtype)
        logits = _llama_step(
            weights,
            x.reshape(B * T, -1),
            cos=cos,
            sin=sin,
            past=cache.past(),
            start=start,
            eps=c.eps,
        )
        return logits.reshape(B, T, -1)


class VariantReader(LlamaReader, of=Variant):
    """A variant of Llama: its layers may differ in their windows and their angles."""

    def embed(self, ids: Ids, cache: Cache) -> tuple[NDArray, Any]:
        """The model's ``embed``, with the tokens before: ids (B, T) -> x (B, T, D)."""
        N = self.config.ngrams
        return self.model.embed(ids, before=None if N is None else cache.before(N - 1))

    def block(self, layer: int, x: NDArray, positions: Ids, attend: Attend) -> NDArray:
        """A block: x (B, T, D) -> (B, T, D)."""
        p, c = self.model.params, self.config
        return variant_block(p, layer, x, positions, c, attend=attend)[0]

    def rotation_of(self, layer: int) -> Rotation | None:
        """The angles of a layer; None: it does not rotate."""
        return self.config.rotation_of(layer)

    def window_of(self, layer: int) -> int | None:
        """The number of tokens that a layer sees; None: all."""
        return self.config.window_of(layer)

    @property
    def is_gelu(self) -> bool:  # type: ignore[override]
        """Whether the gate of the feed-forward layers is a GELU."""
        return self.config.changes.gate == "gelu"


class LlamaWeights(FoundWeights):
    """The weights of a Llama or a variant for its steps, and the way in which its layers differ.

    ``arrays`` has the gain of the last norm; E, or W if the output is not tied, and None for the
    other; and the weights in BLOCK_WEIGHTS of each block, None for those that it does not have.
    ``windows`` (L,) has the window of each layer, 0 for none; ``tables`` (L,) the number of its
    angles in ``rotations``, -1 for none; ``is_gelu`` tells the gate.
    """

    def __init__(self, reader: LlamaReader) -> None:
        model, layers = reader.model, range(reader.config.layers)
        self.reader, self.is_gelu = reader, reader.is_gelu
        self.windows = np.array([reader.window_of(layer) or 0 for layer in layers], np.int64)
        of_layers = [reader.rotation_of(layer) for layer in layers]
        self.rotations = list(dict.fromkeys(one for one in of_layers if one is not None))
        numbers = {one: number for number, one in enumerate(self.rotations)}
        self.tables = np.array([-1 if one is None else numbers[one] for one in of_layers], np.int64)
        output = ("embedding.E", None) if model.config.tied else (None, "output.W")
        blocks = [f"blocks.{layer}" for layer in layers]
        names = [f"{block}.{weight}" for block in blocks for weight in BLOCK_WEIGHTS]
        found = [name if name in model.params else None for name in names]
        super().__init__(model.params, ["norm.gain", *output, *found])

    _known: tuple[NDArray, NDArray] | None = None  # cosines and sines at the first positions

    def cos_and_sin(self, positions: NDArray, dtype: np.dtype) -> tuple[NDArray, NDArray]:
        """The cosines and sines at positions (B, T) for each of ``rotations``: (A, B T, w/2)."""
        if any(isinstance(scaling, LongRope) for _, scaling in self.rotations):
            return self._computed(positions, dtype)  # the angles change with the length of a text
        known, places = self._known, positions.ravel()
        if known is None or places.max() >= known[0].shape[1]:
            several = np.arange(2 * places.max() + 64)  # one position would take NumPy as long
            known = self._known = self._computed(several[None], dtype)
        cos, sin = known
        return cos.take(places, axis=1), sin.take(places, axis=1)

    def _computed(self, positions: NDArray, dtype: np.dtype) -> tuple[NDArray, NDArray]:
        w = self.reader.config.head_width
        found = [cos_and_sin(positions, w, *rotation, dtype) for rotation in self.rotations]
        whole = np.array(found, dtype).reshape(-1, 2, positions.size, w // 2)
        return np.ascontiguousarray(whole[:, 0]), np.ascontiguousarray(whole[:, 1])


@twinned
def _llama_step(
    weights: LlamaWeights,
    x: NDArray,
    cos: NDArray,
    sin: NDArray,
    past: Past,
    start: NDArray[np.int64],
    eps: float,
) -> NDArray:
    """x (Q, D), the embedded tokens -> logits (Q, V).

    Text b has read start[b] tokens before its T = Q / B rows, which follow each other.  Their keys
    and values are written into ``past``, (B, M, S, w) for each layer.  The twin reads cos and sin
    (A, Q, w/2) of each row's rotary angles, and eps; the page's blocks compute them.
    """
    (Q, _), B = x.shape, len(start)
    text, place = np.divmod(np.arange(Q), Q // B)
    place += start[text]  # of each row in its text

    def attend(layer: int, window: int | None) -> Attend:
        return attend_each(past[2 * layer : 2 * layer + 2], text, place, None, place + 1, window)

    y = weights.reader.all_blocks(x[:, None], place[:, None], attend)
    return weights.reader.model.predict(y[:, 0])[0]
