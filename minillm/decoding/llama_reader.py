"""Reading on with a Llama: whole prompts by its layers, a few tokens in one call.

The twin of :func:`_llama_step` reads each weight once, which takes most of its time.  Quantised
weights (:mod:`minillm.ops.quantised`) stay packed.  A pass over several tokens takes little longer
than one over a single token, so that guesses are checked cheaply
(:mod:`minillm.decoding.speculation`).  :mod:`minillm.decoding.decoder_step` does the same for
GPT-2's form of the block, one token at a time.

Legend: B texts, T new tokens of each, Q = B T rows, S positions, D width, N heads, M heads of keys,
w their width, V vocabulary.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import checks
from minillm._kernels import twinned
from minillm.decoding.cache import Cache
from minillm.decoding.causal import CausalReader
from minillm.decoding.decoder_step import FoundWeights, Past, look
from minillm.layers.norms import norm
from minillm.layers.types import Ids
from minillm.models.llama import Llama, llama_block
from minillm.ops.activations import logistic
from minillm.ops.quantised import Quantised, _quantised_product
from minillm.ops.rotary import frequencies, rotary_rotation

MODEL_WEIGHTS = ("norm.gain", "embedding.E", "output.W")  # E, or W if the output is not tied
BLOCK_WEIGHTS = (
    *("norm_1.gain", "attention.W_qkv", "attention.W_o"),
    *("norm_2.gain", "feed_forward.W_gate_up", "feed_forward.W_down"),
)


class LlamaWeights(FoundWeights):
    """The weights of a Llama as :func:`_llama_step` takes them."""

    def blocks(self) -> Iterator[tuple[Any, ...]]:
        """Yield the weights of each block, in the order of BLOCK_WEIGHTS."""
        n = len(BLOCK_WEIGHTS)
        for first in range(len(MODEL_WEIGHTS), len(self.arrays), n):
            yield self.arrays[first : first + n]


class LlamaReader(CausalReader, reads=Llama):
    """A Llama, and the addresses of its weights at the last step."""

    most_steps = 17  # for 16 guesses; of more tokens, the arithmetic takes longer than the weights

    _weights: LlamaWeights | None = None

    def key_sizes(self) -> tuple[int, int]:
        """The number of heads of keys and values, and their width: M, w."""
        return self.config.key_heads, self.config.head_width

    def hidden(self, ids: Ids, cache: Cache) -> NDArray:
        """:meth:`minillm.models.llama.Llama.hidden` with a cache: ids (B, T) -> y (B, T, D)."""
        c, p = self.config, self.model.params
        positions = cache.start[:, None] + np.arange(ids.shape[1])
        x, _ = self.model.embed(ids)
        for layer in range(c.layers):
            x, _ = llama_block(p, f"blocks.{layer}", x, positions, c, attend=cache.attend(layer))
        return norm(p, "norm", x, c.eps)[0]

    def step(self, ids: Ids, cache: Cache) -> NDArray:
        """The logits (B, T, V) after each of a few tokens, ids (B, T)."""
        c, weights, (B, T) = self.config, self._weights, ids.shape
        checked = checks.ids("read", "ids", ids, c.vocabulary)
        if weights is None or not weights.are_in(self.model.params):
            names = step_names(c.layers, c.tied)
            weights = self._weights = LlamaWeights(self.model.params, names)
        start = cache.start.copy()  # another thread may write into it
        x, _ = self.model.embed(checked.ravel())  # (Q, D)
        positions = (start[:, None] + np.arange(T)).reshape(B * T, 1)
        angles = positions * frequencies(c.head_width, c.rotary_base, c.rope_scaling)
        cos, sin = np.cos(angles).astype(x.dtype), np.sin(angles).astype(x.dtype)
        past = cache.past()
        return _llama_step(weights, x, cos, sin, past, start, c.eps).reshape(B, T, -1)


def step_names(layers: int, tied: bool) -> list[str | None]:
    """The names of a Llama's weights, in the order of LlamaWeights."""
    names = ["norm.gain", *(("embedding.E", None) if tied else (None, "output.W"))]
    return names + [f"blocks.{layer}.{name}" for layer in range(layers) for name in BLOCK_WEIGHTS]


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
    and values are written into ``past``, (B, M, S, w) for each layer.  cos and sin (Q, w/2) are
    those of each row's rotary angles.
    """
    (gain, E, W), (Q, B) = weights.arrays[: len(MODEL_WEIGHTS)], (len(x), len(start))
    text, place = np.divmod(np.arange(Q), Q // B)
    place += start[text]  # of each row in its text
    for layer, w in enumerate(weights.blocks()):
        gain_1, W_qkv, W_o, gain_2, W_gate_up, W_down = w
        keys, values = past[2 * layer], past[2 * layer + 1]
        M, width = keys.shape[1], keys.shape[3]
        heads = _product(_rms_norm(x, gain_1, eps), W_qkv).reshape(Q, -1, 1, width)
        q_and_k, v = np.split(heads, [-M], axis=1)
        q, k = np.split(rotary_rotation(q_and_k, cos[:, None], sin[:, None]), [-M], axis=1)
        keys[text, :, place], values[text, :, place] = k[:, :, 0], v[:, :, 0]
        q = q.reshape(Q, M, -1, width)  # the queries that share a head of keys
        context, _ = look(q, keys[text], values[text], place + 1)
        x = x + _product(context.reshape(Q, -1), W_o)
        gate, up = np.split(_product(_rms_norm(x, gain_2, eps), W_gate_up), 2, axis=1)
        x = x + _product(gate * logistic(gate) * up, W_down)
    return _product(_rms_norm(x, gain, eps), W if E is None else E.T)


def _rms_norm(x: NDArray, gain: NDArray, eps: float) -> NDArray:
    return gain * (x / np.sqrt((x**2).mean(axis=1, keepdims=True) + eps))


def _product(x: NDArray, W: Any) -> NDArray:
    """x (Q, I) times an array or a quantised matrix (I, O), which may have additions."""
    if isinstance(W, Quantised):
        return _quantised_product(x, W.parts, W.twice)
    # an array, or a quantised matrix W.W to which a product of thin matrices is added
    return x @ W if isinstance(W, np.ndarray) else _product(x, W.W) + (x @ W.A) @ W.B
