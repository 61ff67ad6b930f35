"""Reading on with a GPT: whole prompts by its layers, single tokens in one call.

See :mod:`minillm.decoding.causal` for the cache, :mod:`minillm.decoding.decoder_step` for the call.
"""

from numpy.typing import NDArray

from minillm import checks
from minillm.decoding.cache import Cache
from minillm.decoding.causal import CausalReader, positions_after
from minillm.decoding.decoder_step import DecoderWeights, decoder_step
from minillm.layers.norms import norm
from minillm.layers.types import Ids
from minillm.models.gpt import GPT, gpt_block


class GPTReader(CausalReader, of=GPT):
    """A GPT, and the addresses of its weights at the last step."""

    _weights: DecoderWeights | None = None

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
            weights = self._weights = gpt_weights(self.model)
        start = cache.start.copy()  # another thread may write into it
        x = p["embedding.E"].take(checked, axis=0) + p["positions.E"].take(start, axis=0)
        logits, _ = decoder_step(
            weights,
            x,
            past=cache.past(),
            rows=None,
            counts=start + 1,
            memory=[],
            lengths=None,
            shown=-1,
        )
        return logits[:, None]


def gpt_weights(model: GPT) -> DecoderWeights:
    """The weights of a GPT for its steps."""
    blocks = [f"blocks.{layer}" for layer in range(model.config.layers)]
    return DecoderWeights(model.params, blocks, last_norm="norm", E="embedding.E")
