"""Reading on with a GPT: whole prompts by its layers, single tokens in one call.

See :mod:`minillm.decoding.causal` for the cache, :mod:`minillm.decoding.decoder_step` for the call.
"""

from numpy.typing import NDArray

from minillm import checks
from minillm.decoding.cache import Cache
from minillm.decoding.causal import CausalReader, positions_after
from minillm.decoding.decoder_step import StepWeights, _decoder_step
from minillm.layers.norms import norm
from minillm.layers.types import Ids
from minillm.models.gpt import GPT, gpt_block

BLOCK_WEIGHTS = (
    *("norm_1.gain", "norm_1.bias", "attention.W_qkv", "attention.b_qkv", "attention.W_o"),
    *("attention.b_o", "norm_2.gain", "norm_2.bias", "feed_forward.W_1", "feed_forward.b_1"),
    *("feed_forward.W_2", "feed_forward.b_2"),
)


class GPTReader(CausalReader, of=GPT):
    """A GPT, and the addresses of its weights at the last step."""

    _weights: StepWeights | None = None

    def hidden(self, ids: Ids, cache: Cache) -> NDArray:
        """:meth:`minillm.models.gpt.GPT.hidden` with a cache: ids (B, T) -> y (B, T, D)."""
        c, p = self.config, self.model.params
        x, _ = self.model.embed(ids, positions_after(cache, ids.shape[1], c.context))
        for layer in range(c.layers):
            x, _ = gpt_block(p, f"blocks.{layer}", x, c.heads, attend=cache.attend(layer))
        return norm(p, "norm", x)[0]

    def step(self, ids: Ids, cache: Cache) -> NDArray:
        """The logits (B, 1, V) after one token of each row, ids (B, 1)."""
        p = self.model.params
        checked = checks.ids("read", "ids", ids[:, 0], self.config.vocabulary)
        weights = self._weights
        if weights is None or not weights.are_in(p):
            names = step_names(self.config.layers)
            weights = self._weights = StepWeights(p, names, post_norm=False, relu=False)
        start = cache.start.copy()  # another thread may write into it
        x = p["embedding.E"].take(checked, axis=0) + p["positions.E"].take(start, axis=0)
        logits, _ = _decoder_step(weights, x, cache.past(), None, start + 1, [], None, -1)
        return logits[:, None]


def step_names(layers: int) -> list[str | None]:
    """The names of a GPT's weights, in the order of StepWeights: there is no cross-attention."""
    names: list[str | None] = ["norm.gain", "norm.bias", "embedding.E", None, None]
    for layer in range(layers):
        own: list[str | None] = [f"blocks.{layer}.{name}" for name in BLOCK_WEIGHTS]
        names += [*own[:6], *[None] * 6, *own[6:]]
    return names
