"""Reading on with a Llama: whole prompts by its layers, a few tokens in one call.

The twin of :func:`_llama_step` reads each weight once, which takes most of its time.  Quantised
weights (:mod:`minillm.quantised`) stay packed.  A pass over several tokens takes little longer
than one over a single token, so guesses are checked cheaply
(:mod:`minillm.decoding.speculation`).  :mod:`minillm.decoding.decoder_step` does the same for
GPT-2's form of the block, one token at a time.

Legend: B texts, T new tokens of each, Q = B T rows, S positions, D width, M heads of keys, w their
width, V vocabulary.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm import checks
from minillm._kernels import twinned
from minillm.decoding.cache import Cache
from minillm.decoding.causal import CausalReader
from minillm.decoding.decoder_step import FoundWeights, Past, attend_each
from minillm.layers.heads import Attend
from minillm.layers.norms import norm
from minillm.layers.types import Ids
from minillm.models.llama import Llama, llama_block
from minillm.ops.rotary import frequencies

BLOCK_WEIGHTS = (
    *("norm_1.gain", "attention.W_qkv", "attention.W_o"),
    *("norm_2.gain", "feed_forward.W_gate_up", "feed_forward.W_down"),
)


class LlamaReader(CausalReader, of=Llama):
    """A Llama, and the addresses of its weights at the last step."""

    most_steps = 17  # for 16 guesses; of more tokens, the arithmetic takes longer than the weights

    _weights: "LlamaWeights | None" = None

    def key_sizes(self) -> tuple[int, int]:
        """The number of heads of keys and values, and their width: M, w."""
        return self.config.key_heads, self.config.head_width

    def hidden(self, ids: Ids, cache: Cache) -> NDArray:
        """:meth:`minillm.models.llama.Llama.hidden` with a cache: ids (B, T) -> y (B, T, D)."""
        x, _ = self.model.embed(ids)
        positions = cache.start[:, None] + np.arange(ids.shape[1])
        return all_blocks(self.model, x, positions, cache.attend)

    def step(self, ids: Ids, cache: Cache) -> NDArray:
        """The logits (B, T, V) after each of a few tokens, ids (B, T)."""
        c, weights, (B, T) = self.config, self._weights, ids.shape
        checked = checks.ids("read", "ids", ids, c.vocabulary)
        if weights is None or not weights.are_in(self.model.params):
            weights = self._weights = LlamaWeights(self.model)
        start = cache.start.copy()  # another thread may write into it
        x, _ = self.model.embed(checked.ravel())  # (Q, D)
        positions = (start[:, None] + np.arange(T)).reshape(B * T, 1)
        angles = positions * frequencies(c.head_width, c.rotary_base, c.rope_scaling)
        cos, sin = np.cos(angles).astype(x.dtype), np.sin(angles).astype(x.dtype)
        logits = _llama_step(
            weights, x, cos=cos, sin=sin, past=cache.past(), start=start, eps=c.eps
        )
        return logits.reshape(B, T, -1)


class LlamaWeights(FoundWeights):
    """The weights of a Llama for its steps.

    ``arrays`` has the gain of the last norm; E, or W if the output is not tied, and None for the
    other; and the weights in BLOCK_WEIGHTS of each block.
    """

    def __init__(self, model: Llama) -> None:
        self.model = model
        output = ("embedding.E", None) if model.config.tied else (None, "output.W")
        blocks = [f"blocks.{layer}" for layer in range(model.config.layers)]
        names = [f"{block}.{weight}" for block in blocks for weight in BLOCK_WEIGHTS]
        super().__init__(model.params, ["norm.gain", *output, *names])


def all_blocks(
    model: Llama, x: NDArray, positions: Ids, attend: Callable[[int], Attend]
) -> NDArray:
    """All blocks and the last norm: x (B, T, D) at its positions (B, T) -> y (B, T, D).

    ``attend(layer)`` is the attention of a layer.
    """
    c, p = model.config, model.params
    for layer in range(c.layers):
        x, _ = llama_block(p, f"blocks.{layer}", x, positions, c, attend=attend(layer))
    return norm(p, "norm", x, c.eps)[0]


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
    (Q, w/2) of each row's rotary angles, and eps; the page's blocks compute them.
    """
    (Q, _), B = x.shape, len(start)
    text, place = np.divmod(np.arange(Q), Q // B)
    place += start[text]  # of each row in its text

    def attend(layer: int) -> Attend:
        return attend_each(past[2 * layer : 2 * layer + 2], text, place, None, place + 1)

    y = all_blocks(weights.model, x[:, None], place[:, None], attend)
    return weights.model.predict(y[:, 0])[0]
