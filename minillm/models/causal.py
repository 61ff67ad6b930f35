"""What all Transformers share that predict the next token: from tokens to a loss, and writing.

A subclass such as :class:`minillm.models.gpt.GPT` defines its equations:

- ``embed(ids, start)`` -> x, backward; ``block(layer, x, rng, cache)`` -> x, backward;
- ``last_norm(x)`` -> y, backward, if it is not the norm of a block;
- ``predict(y)`` -> logits, backward;
- ``step(ids, cache)`` -> logits after a token of each row, or after each of a few tokens.

It sees a *context* of C tokens.  For a longer text, the window slides: after C tokens, the last
C / 2 of them are read again from position 0, and reading continues from there.  The tokens behind a
prediction thus depend only on its place in the text, not on how the text was cut into prompts and
steps.

Legend: B batch, T time, C context, V vocabulary, D width, N heads.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers import block as block_layer
from minillm.layers import cache as cache_layer
from minillm.layers import heads
from minillm.layers.cache import Cache
from minillm.layers.dropout import dropout
from minillm.layers.gradients import merge_gradients
from minillm.layers.recomputing import recomputed
from minillm.layers.types import Backward, Ids, Rng, State
from minillm.models.base import Config, NextTokenModel


class CausalTransformer(NextTokenModel[Config]):
    """A Transformer that predicts each token from those before it: see the module."""

    config: Any  # has ``context``, ``heads``, ``layers``, ``width`` and ``vocabulary``
    embed: Callable[..., Any]
    block: Callable[..., Any]
    predict: Callable[..., Any]

    recompute = False  # whether a block runs again for its backward: minillm.layers.recomputing
    most_steps = 1  # tokens of each row that ``step`` reads at a time

    def step(self, ids: Ids, cache: Cache) -> NDArray:
        """The logits (B, T, V) after each of a few tokens, ids (B, T)."""
        y, _ = self.hidden(ids, cache=cache)
        return self.predict(y)[0]

    # --- reading with a cache ---------------------------------------------------

    def zero_state(self, B: int) -> State:
        """The cache before a text begins, for B texts at a time.

        In addition to keys and values, it has ``ids`` (B, C), the tokens of the window.
        """
        return cache_layer.empty(B) | {"ids": np.zeros((B, self.config.context), np.int64)}

    def forward(
        self, ids: Ids, cache: Cache | None = None, rng: Rng = None, lengths: Ids | None = None
    ) -> tuple[tuple[NDArray, Cache], Backward]:
        """The logits of the token after each id, and the cache after the last.

        ids (B, T) -> logits (B, T, V), cache.  The ids continue the text in ``cache``; None: a text
        begins.  Ids past lengths[b] are padding.  With rng there is dropout.
        ``backward(dlogits, trained=None)`` -> gradients keyed as ``params``; the earlier contents
        of the cache are constant.

        Raises ValueError if a row would exceed the context: :meth:`read` slides the window.
        """
        before = self.zero_state(len(ids)) if cache is None else cache
        self._require_own(before, len(ids))
        counts = _counts(ids, lengths)
        self.check_fits(int((before["lengths"] + counts).max()))
        after = _extended(before, ids, counts)
        logits, backward = self.logits(ids, rng, after)
        return (logits, after), backward

    def read(self, ids: Ids, state: State, lengths: Ids | None = None) -> tuple[NDArray, State]:
        """The logits of the token after the last id, and the cache after it, for generation.

        ids (B, T) -> logits (B, V), cache.  Ids past lengths[b] (at least 1; None: T) are padding.
        T may be any number: when a row's context is full, its window slides.  The state is not
        changed, and several threads may go on from it.  With the compiled kernels, parts of two
        tokens or more give the bits of the whole text, whichever they are.
        """
        self._require_own(state, len(ids))
        counts = _counts(ids, lengths)
        if max((state["lengths"] + counts).tolist()) > self.config.context:
            ids, counts = self._window(ids, state, counts)
            state = self.zero_state(len(ids))
        after = _extended(state, ids, counts)
        if ids.shape[1] == 1 and int(state["room"]) > 0:
            return self.step(ids, after)[:, 0], after
        y, _ = self.hidden(ids, cache=after, keep=False)
        return self.predict(y[np.arange(len(ids)), counts - 1])[0], after

    def read_all(self, ids: Ids, state: State) -> tuple[NDArray, State]:
        """The logits of the token after each id, and the cache after the last, for generation.

        ids (B, T) -> logits (B, T, V), cache.  Raises ValueError if a row would exceed the context.
        """
        if not (0 < ids.shape[1] <= self.most_steps and int(state["room"]) > 0):
            return self.forward(ids, state)[0]
        self._require_own(state, len(ids))
        counts = _counts(ids, None)
        self.check_fits(int((state["lengths"] + counts).max()))
        after = _extended(state, ids, counts)
        return self.step(ids, after), after

    def cut(self, ids: Ids, state: State, *, last: bool = False) -> tuple[int, State]:
        """Cut the cache of one text back to what it has in common with the beginning of ids (T,).

        -> the number of common tokens, at most T - 2, because a single token is read by ``step``,
        which adds up in another order; the cache after them.  ``last`` is that of
        :func:`minillm.layers.cache.cut`.
        """
        most = max(0, min(int(state["lengths"][0]), len(ids) - 2))
        differ = np.flatnonzero(state["ids"][0, :most] != ids[:most])
        n = int(differ[0]) if len(differ) else most
        return n, cache_layer.cut(state, np.array([n]), last=last)

    def key_sizes(self) -> tuple[int, int]:
        """The number of heads of keys and values, and their width: M, w."""
        return self.config.heads, self.config.width // self.config.heads

    def _require_own(self, state: State, B: int) -> None:
        """ValueError for the cache of a model of other sizes, or of other than B rows."""
        c, ids, room = self.config, state["ids"], int(state["room"])
        M, w = self.key_sizes()
        shape, count = (B, M, room, w), 2 * c.layers if room else 0
        found = [(array.shape, array.dtype) for array in state.values() if array.ndim == 4]
        if ids.shape != (B, c.context) or found != [(shape, self.dtype)] * count:
            raise ValueError(
                f"state: expected a cache with ids {B, c.context} and {count} {self.dtype} arrays "
                f"{shape}, found ids {ids.shape} and {len(found)} arrays "
                + " and ".join(sorted({f"{dtype} {shape}" for shape, dtype in found}))
            )

    def _window(
        self, ids: NDArray, state: State, counts: NDArray[np.int64]
    ) -> tuple[NDArray, NDArray[np.int64]]:
        """Slide the window of each row: -> its ids (B, T), lengths (B,).

        Whenever a row continues after C tokens, all but the last C / 2 are dropped.
        """
        C = self.config.context
        dropped_at_once = C - C // 2
        rows = []
        for row, length in enumerate(state["lengths"]):
            text = np.concatenate([state["ids"][row, :length], ids[row, : counts[row]]])
            slides = -(-max(0, len(text) - C) // dropped_at_once)
            rows.append(text[slides * dropped_at_once :])
        lengths = np.array([len(text) for text in rows])
        padded = np.zeros((len(rows), lengths.max()), np.int64)
        for row, text in zip(padded, rows, strict=True):
            row[: len(text)] = text
        return padded, lengths

    # --- whole texts and windows ------------------------------------------------

    def loss(
        self,
        batch: tuple[Ids, Ids],
        rng: Rng = None,
        mask: NDArray[np.bool_] | None = None,
        packed: Ids | None = None,
    ) -> tuple[np.floating, Backward]:
        """The mean cross-entropy of each target, given the inputs up to its position, in nats.

        The arguments are those of :meth:`log_likelihood`, of which it is minus the mean.
        ``backward(trained=None)`` -> gradients.
        """
        log_p, likelihood_backward = self.log_likelihood(batch, rng, mask, packed)
        n = log_p.dtype.type(len(log_p))

        def backward(trained=None):
            return likelihood_backward(np.full_like(log_p, -1 / n), trained)

        return -log_p.sum() / n, backward

    def log_likelihood(
        self,
        batch: tuple[Ids, Ids],
        rng: Rng = None,
        mask: NDArray[np.bool_] | None = None,
        packed: Ids | None = None,
    ) -> tuple[NDArray, Backward]:
        """log P(target | inputs up to its position) of each target that counts, in nats: (n,).

        inputs and targets (B, T), T at most C.  A target does not count where mask (B, T) is False,
        and its logits are not computed.  With rng there is dropout.  With ``packed``, the lengths
        of sequences that fill one row, no sequence sees another.
        ``backward(dlog_p, trained=None)`` -> gradients.

        Raises ValueError if no target counts.
        """
        inputs, targets = batch
        counted = np.ones(inputs.shape, bool) if mask is None else mask
        if not counted.any():
            raise ValueError("mask: expected a True, found False everywhere")
        options: dict[str, Any] = {} if packed is None else {"packed": packed}
        y, hidden_backward = self.hidden(inputs, rng=rng, **options)  # (B, T, D)
        logits, predict_backward = self.predict(y[counted])  # (n, V)
        log_p, likelihood_backward = ops.log_likelihood(logits, targets[counted])

        def backward(dlog_p, trained=None):
            dy = np.zeros_like(y)
            dy[counted], of_output = predict_backward(likelihood_backward(dlog_p), trained)
            return merge_gradients(hidden_backward(dy, trained), of_output)  # E may have two uses

        return log_p, backward

    def logits(
        self, ids: Ids, rng: Rng = None, cache: Cache | None = None
    ) -> tuple[NDArray, Backward]:
        """ids (B, T) -> logits (B, T, V).  ``backward(dlogits, trained=None)`` -> gradients."""
        y, hidden_backward = self.hidden(ids, rng=rng, cache=cache)
        logits, predict_backward = self.predict(y)

        def backward(dlogits, trained=None):
            dy, of_output = predict_backward(dlogits, trained)
            return merge_gradients(hidden_backward(dy, trained), of_output)  # E may have two uses

        return logits, backward

    def window_loss(
        self,
        inputs: Ids,
        targets: Ids,
        state: State,
        rng: Rng = None,
        mask: NDArray[np.bool_] | None = None,
    ) -> tuple[tuple[np.floating, State], Backward]:
        """The loss of a window of a text, read from position 0; the state is not used."""
        loss, backward = self.loss((inputs, targets), rng, mask)
        return (loss, state), backward

    def hidden(
        self,
        ids: Ids,
        lengths: Ids | None = None,
        rng: Rng = None,
        cache: Cache | None = None,
        keep: bool = True,
        **packing: Any,
    ) -> tuple[NDArray, Backward]:
        """The vector of each token, which predicts the next one: ids (B, T) -> y (B, T, D).

        Padding follows the tokens, so they never attend to it, and ``lengths`` is not needed.
        ``backward(dy, trained=None)`` -> gradients.  Without ``keep`` there is none, and what a
        block keeps for it is freed at once.  ``packed``, of a Llama only: see :meth:`loss`.
        """
        x, embed_backward = self.embed(ids, None if cache is None else cache["start"], **packing)
        x, dropout_backward = dropout(x, self.config.dropout, rng)
        backwards = {}
        for layer in range(self.config.layers):
            forward = partial(self.block, layer, cache=cache, **packing)
            recomputes = keep and self.recompute
            x, block_backward = recomputed(forward, x, rng) if recomputes else forward(x, rng)
            if keep:
                backwards[f"blocks.{layer}."] = block_backward
        y, norm_backward = self.last_norm(x)

        def backward(dy, trained=None):
            dx, of_norm = norm_backward(dy)
            dx, of_blocks = block_layer.backward_through(
                backwards, dx, trained, "embedding.", "positions."
            )
            of_tables = {} if dx is None else embed_backward(dropout_backward(dx))
            return merge_gradients(of_norm, of_blocks, of_tables)

        return y, backward

    def last_norm(self, x: NDArray) -> tuple[NDArray, Callable]:
        """The norm of the sum of all blocks: x (B, T, D) -> y (B, T, D)."""
        return block_layer.norm(self.params, "norm", x)

    def attention_weights(self, ids: Ids, layer: int) -> NDArray:
        """The attention weights of each head of a layer, for plots: ids (B, T) -> (B, N, T, T)."""
        x, _ = self.embed(ids)
        for below in range(layer):
            x, _ = self.block(below, x)
        return self.weights_of_block(layer, x)

    def weights_of_block(self, layer: int, x: NDArray) -> NDArray:
        """The attention weights of a layer, from the input of its block: x (B, T, D)."""
        h, _ = block_layer.norm(self.params, f"blocks.{layer}.norm_1", x)
        prefix = f"blocks.{layer}.attention"
        return heads.self_attention_weights(self.params, prefix, h, self.config.heads)

    def check_fits(self, tokens: int) -> None:
        """ValueError for more tokens than fit the context."""
        if tokens > self.config.context:
            raise ValueError(f"expected at most {self.config.context} tokens, found {tokens}")


def _counts(ids: NDArray, lengths: NDArray | None) -> NDArray[np.int64]:
    """The number of ids of each row without the padding, (B,)."""
    B, T = ids.shape
    if T == 0:
        raise ValueError("ids: expected one token or more in each row, found none")
    if lengths is None:
        return np.full(B, T)
    counts = np.array(lengths)
    if (
        counts.dtype.kind not in "iu"
        or counts.shape != (B,)
        or counts.min() < 1
        or counts.max() > T
    ):
        raise ValueError(f"lengths: expected {B} whole numbers from 1 to {T}, found {lengths}")
    return counts.astype(np.int64)


def _extended(cache: State, ids: NDArray, counts: NDArray[np.int64]) -> State:
    """The cache with room for the keys and values of ids, and with the ids."""
    after = cache_layer.extended(cache, counts, ids.shape[1])
    if after["written"] is not cache["written"]:
        after["ids"] = cache["ids"].copy()
    places = zip(after["start"].tolist(), after["lengths"].tolist(), strict=True)
    for row, (first, last) in enumerate(places):
        after["ids"][row, first:last] = ids[row, : last - first]
    return after
