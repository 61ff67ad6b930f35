"""Writing with a GPT, one token at a time: see :mod:`minillm.models.decoder_step`."""

from functools import cache as kept
from operator import itemgetter
from typing import Any

from numpy.typing import NDArray

from minillm.layers.cache import Cache
from minillm.layers.types import Ids
from minillm.models.causal import CausalTransformer, Config
from minillm.models.decoder_step import StepWeights, _decoder_step
from minillm.ops import _validate

BLOCK_WEIGHTS = (
    *("norm_1.gain", "norm_1.bias", "attention.W_qkv", "attention.b_qkv", "attention.W_o"),
    *("attention.b_o", "norm_2.gain", "norm_2.bias", "feed_forward.W_1", "feed_forward.b_1"),
    *("feed_forward.W_2", "feed_forward.b_2"),
)


class OneTokenSteps(CausalTransformer[Config]):
    """A GPT that reads single tokens with :func:`_decoder_step`."""

    _step_weights: StepWeights | None = None  # of the last step

    def step(self, ids: Ids, cache: Cache) -> NDArray:
        """The logits (B, 1, V) after one token of each row, ids (B, 1)."""
        p = self.params
        checked = _validate.ids("read", "ids", ids[:, 0], self.config.vocabulary)
        weights = self._step_weights
        if weights is None or not weights.are_in(p):
            weights = self._step_weights = StepWeights(
                p, step_names(self.config.layers), post_norm=False, relu=False
            )
        start = cache["start"].copy()  # another thread may write into it
        x = p["embedding.E"].take(checked, axis=0) + p["positions.E"].take(start, axis=0)
        past = list(past_of(self.config.layers)(cache))
        return _decoder_step(weights, x, past, None, start + 1, [], None, -1)[0][:, None]


@kept
def past_of(layers: int) -> Any:
    """Return the function that takes the keys and values of each layer from a cache."""
    blocks = [f"blocks.{layer}.attention" for layer in range(layers)]
    return itemgetter(*(f"{block}.{name}" for block in blocks for name in ("keys", "values")))


def step_names(layers: int) -> list[str | None]:
    """The names of a GPT's weights, in the order of StepWeights: there is no cross-attention."""
    names: list[str | None] = ["norm.gain", "norm.bias", "embedding.E", None, None]
    for layer in range(layers):
        own: list[str | None] = [f"blocks.{layer}.{name}" for name in BLOCK_WEIGHTS]
        names += [*own[:6], *[None] * 6, *own[6:]]
    return names
