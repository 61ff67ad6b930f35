"""Writing, for every Transformer that predicts the next token: cache and window.

A model of this kind defines its equations (:mod:`minillm.models.gpt`):

- ``embed(ids, start)`` -> x, backward; ``block(layer, x, rng, cache)`` -> x, backward;
- ``hidden(ids, lengths, rng, cache)`` -> y, backward: embedding, blocks, last norm;
- ``predict(y)`` -> logits, backward; ``logits(ids, rng, cache)`` -> both of them together;
- ``loss((inputs, targets), rng, mask)`` -> loss, backward;
- ``step(ids, cache)`` -> logits after one token of each row.

It sees a *context* of C tokens.  A text may be longer: the window slides.  When C tokens have been
read, the last C / 2 of them are read again from position 0, and reading goes on from there.  So
the tokens that a prediction is made from depend on its place in the text alone, not on how the
text was cut into prompts and steps.

Legend: B batch, T time, C context, V vocabulary, D width, N heads.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.layers import block as block_layer
from minillm.layers import cache as cache_layer
from minillm.layers import heads
from minillm.layers.cache import Cache
from minillm.layers.types import Backward, Ids, Rng, State
from minillm.models.base import Config, NextTokenModel


class CausalTransformer(NextTokenModel[Config]):
    """A Transformer that predicts each token from those before it: see the module."""

    config: Any  # has ``context``, ``heads`` and ``vocabulary``
    embed: Callable[..., Any]
    block: Callable[..., Any]
    hidden: Callable[..., Any]
    predict: Callable[..., Any]
    logits: Callable[..., Any]
    loss: Callable[..., Any]

    def step(self, ids: Ids, cache: Cache) -> NDArray:
        """The logits (B, V) after one token of each row, ids (B,)."""
        y, _ = self.hidden(ids[:, None], cache=cache)
        return self.predict(y[:, 0])[0]

    # --- reading with a cache ---------------------------------------------------

    def zero_state(self, B: int) -> State:
        """The cache before a text begins, for B texts at a time.

        Besides keys and values it has ``ids`` (B, C), the tokens of the window.
        """
        return cache_layer.empty(B) | {"ids": np.zeros((B, self.config.context), np.int64)}

    def forward(
        self, ids: Ids, cache: Cache | None = None, rng: Rng = None
    ) -> tuple[tuple[NDArray, Cache], Backward]:
        """The logits of what follows each id, and the cache after the last.

        ids (B, T) -> logits (B, T, V), cache.  They go on from what ``cache`` has read; None: a
        text begins.  With rng there is dropout.  ``backward(dlogits, trained=None)`` -> gradients
        keyed as ``params``, in which what the cache held before is constant.

        Raises ValueError where the context would be exceeded: :meth:`read` lets it slide.
        """
        before = self.zero_state(len(ids)) if cache is None else cache
        self.check_fits(int(before["length"]) + ids.shape[1])
        after = _extended(before, ids)
        logits, backward = self.logits(ids, rng, after)
        return (logits, after), backward

    def read(self, ids: Ids, state: State) -> tuple[NDArray, State]:
        """The logits of what follows the last id, and the cache after it, for generation.

        ids (B, T) -> logits (B, V), cache.  Any number may be read: where the context is full,
        the window slides.
        """
        if int(state["length"]) + ids.shape[1] > self.config.context:
            ids = self._window(ids, state)
            state = self.zero_state(len(ids))
        after = _extended(state, ids)
        if ids.shape[1] == 1 and state["room"] > 0:  # there are keys and values already
            return self.step(ids[:, 0], after), after
        y, _ = self.hidden(ids, cache=after)
        return self.predict(y[:, -1])[0], after

    def _window(self, ids: NDArray, state: State) -> NDArray:
        """The window after it has slid, (B, T).

        Each time that C tokens have been read and more follow, all but the last C / 2 are dropped.
        """
        C = self.config.context
        dropped_at_once = C - C // 2
        text = np.concatenate([state["ids"][:, : int(state["length"])], ids], axis=1)
        slides = -(-(text.shape[1] - C) // dropped_at_once)
        return text[:, slides * dropped_at_once :]

    # --- a text, or a window of it, as a whole ----------------------------------

    def window_loss(
        self,
        inputs: Ids,
        targets: Ids,
        state: State,
        rng: Rng = None,
        mask: NDArray[np.bool_] | None = None,
    ) -> tuple[tuple[np.floating, State], Backward]:
        """The loss of a window of a text, which begins from nothing: the state stays as it is."""
        loss, backward = self.loss((inputs, targets), rng, mask)
        return (loss, state), backward

    def attention_weights(self, ids: Ids, layer: int) -> NDArray:
        """The weights of each head of a layer, for pictures: ids (B, T) -> (B, N, T, T)."""
        x, _ = self.embed(ids)
        for below in range(layer):
            x, _ = self.block(below, x)
        h, _ = block_layer.norm(self.params, f"blocks.{layer}.norm_1", x)
        prefix = f"blocks.{layer}.attention"
        return heads.self_attention_weights(self.params, prefix, h, self.config.heads)

    def check_fits(self, tokens: int) -> None:
        """ValueError for more tokens than the context has."""
        if tokens > self.config.context:
            raise ValueError(f"expected at most {self.config.context} tokens, found {tokens}")


def _extended(cache: State, ids: NDArray) -> State:
    """The cache with room for the keys and values of ids, and with the ids."""
    if ids.shape[1] == 0:
        raise ValueError("ids: expected one token or more in each row, found none")
    after = cache_layer.extended(cache, ids.shape[1])
    if after["written"] is not cache["written"]:
        after["ids"] = cache["ids"].copy()
    after["ids"][:, int(cache["length"]) : int(after["length"])] = ids
    return after
