"""GPT: a stack of Transformer blocks that predicts the next token.

    x_t = E[id_t] + P[t]                        what the token is, and where it stands
    x = block(x)                                L times: attention, then feed-forward
    y = norm(x)
    P(id_{t+1} | id_1 .. id_t) = softmax(y_t E^T)

Where a recurrent model squeezes all that it has read into one state, here each token attends
to every token before it; and where that one has to take step after step, here a whole text is
one product of matrices, for nothing at step t waits for a result of step t - 1.  The price is
a *context*: there are C vectors P, and nobody sees further back than C tokens.

A text may be longer than the context: the window slides.  When C tokens have been read, the
last C / 2 of them are read again from position 0, and it goes on from there.  So the tokens that a
prediction is made from depend on its place in the text alone, not on how the text was cut into
prompts and steps.

The block is GPT-2's (see :mod:`minillm.layers.transformer` for why its norms stand where they
do).  E is used twice, for reading and for predicting.  One deviation: the original drops out
attention weights as well.

Legend: B batch, T time, C context, V vocabulary, D width, N heads, L layers.

Sources: Radford, Narasimhan, Salimans and Sutskever (2018), "Improving language understanding
by generative pre-training"; Radford et al. (2019), "Language models are unsupervised multitask
learners"; Press and Wolf (2017) for the tied output.
"""

from collections.abc import Callable
from dataclasses import dataclass
from operator import is_, itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm._kernels import twinned
from minillm.layers import cache as cache_layer
from minillm.layers import transformer
from minillm.layers.cache import Cache
from minillm.layers.dropout import dropout
from minillm.layers.fresh import Fresh, normal
from minillm.layers.gradients import any_trained, merge_gradients
from minillm.models import base, sizes
from minillm.models.base import Gradients, State
from minillm.ops import _validate
from minillm.ops.layer_norm import layer_norm_forward


@dataclass(frozen=True)
class GPTConfig:
    """The sizes of a GPT: everything but its weights."""

    vocabulary: int  # V
    context: int = 128  # C
    layers: int = 4  # L
    heads: int = 4  # N
    width: int = 128  # D
    dropout: float = 0.0

    def __post_init__(self) -> None:
        sizes.check_at_least(self, 1, "vocabulary", "layers", "heads", "width")
        sizes.check_at_least(self, 2, "context")
        sizes.check_below_one(self, "dropout")
        sizes.check_divides(self, "heads", "width")


class GPT(base.NextTokenModel[GPTConfig]):
    """Token and position embeddings, L blocks, a last norm; the output is tied to E.

    ``params``: ``embedding.E`` (V, D), ``positions.E`` (C, D), ``blocks.0.norm_1.gain`` and so
    on, as :mod:`minillm.layers.transformer` names them, ``norm.gain`` and ``norm.bias`` (D,).
    """

    _step_weights: "StepWeights | None" = None  # of the last step

    @staticmethod
    def new_parameters(config: GPTConfig) -> dict[str, Fresh]:
        """Fresh parameters, from which the predictions are nearly uniform."""
        c, draw = config, normal(transformer.DEVIATION)
        params = {
            "embedding.E": Fresh((c.vocabulary, c.width), draw),
            "positions.E": Fresh((c.context, c.width), draw),
        }
        for layer in range(c.layers):
            params |= transformer.new_block(f"blocks.{layer}", c.width, c.layers)
        return params | transformer.new_norm("norm", c.width)

    # --- the equations ----------------------------------------------------------

    def forward(
        self,
        ids: NDArray[np.integer],
        cache: Cache | None = None,
        rng: np.random.Generator | None = None,
        lengths: NDArray[np.integer] | None = None,
    ) -> tuple[tuple[NDArray, Cache], Callable[[NDArray], Gradients]]:
        """Logits of what follows each id, and the cache after the last.

        ids (B, T) -> logits (B, T, V), cache.  They go on from what ``cache`` has read; None: a
        text begins.  Of row b the first lengths[b] ids count, and the others are padding.
        With rng there is dropout.  ``backward(dlogits)`` -> gradients keyed as ``params``, in
        which what the cache held before is constant.

        Raises ValueError where a row would exceed the context: :meth:`read` lets it slide.
        """
        before = self.zero_state(len(ids)) if cache is None else cache
        counts = self._counts(ids, lengths)
        self._check_fits(int((before["lengths"] + counts).max()))
        after = self._room(ids, before, counts)
        logits, backward = self._predict(ids, rng, after, before["lengths"])
        return (logits, after), backward

    def _predict(
        self,
        ids: NDArray[np.integer],
        rng: np.random.Generator | None = None,
        cache: Cache | None = None,
        start: NDArray[np.int64] | None = None,
    ) -> tuple[NDArray, Callable[[NDArray], Gradients]]:
        """ids (B, T) -> logits (B, T, V): all of the equations.

        With a cache, row b begins at the position start[b].  ``backward(dlogits)`` -> gradients.
        """
        y, hidden_backward = self._hidden(ids, rng, cache, start)
        logits, output_backward = self.predict(y)

        def backward(dlogits, trained=None):
            dy, tied = output_backward(dlogits)
            return merge_gradients(hidden_backward(dy, trained), tied)  # E has two uses

        return logits, backward

    def hidden(
        self,
        ids: NDArray[np.integer],
        lengths: NDArray[np.integer] | None = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[NDArray, Callable[[NDArray], Gradients]]:
        """What the model makes of each token: ids (B, T) -> y (B, T, D), from which it predicts.

        Of row b the first lengths[b] ids count; the others stand behind, where nobody looks.
        With rng there is dropout.  ``backward(dy)`` -> gradients.

        Raises ValueError for rows longer than the context.
        """
        self._check_fits(ids.shape[1])
        return self._hidden(ids, rng)

    def _hidden(
        self,
        ids: NDArray[np.integer],
        rng: np.random.Generator | None = None,
        cache: Cache | None = None,
        start: NDArray[np.int64] | None = None,
    ) -> tuple[NDArray, Callable[[NDArray], Gradients]]:
        """ids (B, T) -> y (B, T, D): the equations but for the last.

        ``backward(dy)`` -> gradients.
        """
        c, p = self.config, self.params
        positions = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)  # (B, T)
        if start is not None:
            positions = np.minimum(start[:, None] + positions, c.context - 1)  # of padding: any
        token, token_backward = ops.embedding(ids, p["embedding.E"])  # (B, T, D)
        place, place_backward = ops.embedding(positions, p["positions.E"])
        x, dropout_backward = dropout(token + place, c.dropout, rng)
        block_backwards = []
        for layer in range(c.layers):
            x, block_backward = transformer.block(
                p, f"blocks.{layer}", x, c.heads, c.dropout, rng, cache, start
            )
            block_backwards.append(block_backward)
        y, norm_backward = transformer.norm(p, "norm", x)

        def backward(dy, trained=None):
            dx, gradients = norm_backward(dy)
            tables = ("embedding.", "positions.")
            for layer in reversed(range(c.layers)):
                below = (f"blocks.{n}." for n in range(layer + 1))
                if not any_trained(trained, *tables, *below):
                    return gradients
                dx, of_block = block_backwards[layer](dx, trained)
                gradients = merge_gradients(gradients, of_block)
            if not any_trained(trained, *tables):
                return gradients
            dx = dropout_backward(dx)
            of_tables = {"positions.E": place_backward(dx), "embedding.E": token_backward(dx)}
            return merge_gradients(gradients, of_tables)

        return y, backward

    def predict(self, y: NDArray) -> tuple[NDArray, Callable]:
        """The logits of what follows: y (..., D) -> y E^T (..., V).

        ``backward(dlogits)`` -> dy, gradients.
        """
        logits, linear_backward = ops.linear(y, self.params["embedding.E"].T)

        def backward(dlogits):
            dy, dE_transposed = linear_backward(dlogits)
            return dy, {"embedding.E": dE_transposed.T}

        return logits, backward

    def attention_weights(self, ids: NDArray[np.integer], layer: int) -> NDArray:
        """How much each token attends to those before it, in one layer: ids (B, T) -> (B, N, T, T).

        For pictures: neither training nor writing needs it.  Layers are counted from 0.
        """
        p, N = self.params, self.config.heads
        x = p["embedding.E"][ids] + p["positions.E"][: ids.shape[1]]
        for below in range(layer):
            x, _ = transformer.block(p, f"blocks.{below}", x, N)
        h, _ = transformer.norm(p, f"blocks.{layer}.norm_1", x)
        return transformer.attention_weights(p, f"blocks.{layer}.attention", h, N)

    # --- training ---------------------------------------------------------------

    def window_loss(
        self,
        inputs: NDArray[np.integer],
        targets: NDArray[np.integer],
        state: State,
        rng: np.random.Generator | None = None,
        mask: NDArray[np.bool_] | None = None,
    ) -> tuple[tuple[np.floating, State], Callable[[], Gradients]]:
        """The mean cross-entropy of the targets in nats, each given the inputs up to its own.

        inputs and targets (B, T), T at most C; where mask (B, T) is False a target does not
        count.  A window begins from nothing: the state is passed on as it is.
        ``backward()`` -> gradients keyed as ``params``.

        Raises ValueError where a window is longer than the context.
        """
        self._check_fits(inputs.shape[1])
        logits, logits_backward = self._predict(inputs, rng)
        loss, loss_backward = ops.cross_entropy(logits, targets, mask)

        def backward(trained=None):
            return logits_backward(loss_backward(), trained)

        return (loss, state), backward

    # --- writing ----------------------------------------------------------------

    def zero_state(self, B: int) -> State:
        """The cache before a text begins, for B texts at a time.

        Besides keys and values it has ``ids`` (B, C), the tokens of the window.
        """
        return cache_layer.empty(B) | {"ids": np.zeros((B, self.config.context), np.int64)}

    def read(
        self,
        ids: NDArray[np.integer],
        state: State,
        lengths: NDArray[np.integer] | None = None,
    ) -> tuple[NDArray, State]:
        """Logits of what follows the last id, and the cache after it, for generation.

        ids (B, T), of which lengths[b] (at least 1; None: all) count -> logits (B, V), cache.
        Any number may be read: where a row's context is full, its window slides.
        """
        counts = self._counts(ids, lengths)
        if _longest(state["lengths"] + counts) > self.config.context:
            ids, counts = self._window(ids, state, counts)
            state = self.zero_state(len(ids))
        after = self._room(ids, state, counts)
        if ids.shape[1] == 1 and state["room"] > 0:  # there are keys and values already
            return self._step(ids[:, 0], after, state["lengths"]), after
        whole, _ = self._hidden(ids, None, after, state["lengths"])
        y = whole[np.arange(len(ids)), counts - 1]  # (B, D)
        return self.predict(y)[0], after

    def _step(self, ids: NDArray[np.integer], cache: Cache, start: NDArray[np.int64]) -> NDArray:
        """The logits (B, V) after one token of each row, ids (B,)."""
        checked = _validate.ids("read", "ids", ids, self.config.vocabulary)
        weights = self._weights()
        return gpt_step(weights, checked, start, list(weights.past_of(cache)))

    def _weights(self) -> "StepWeights":
        """All weights, as :func:`gpt_step` takes them: anew where one has been replaced."""
        if self._step_weights is None:
            self._step_weights = StepWeights(self.config.layers)
        self._step_weights.update(self.params)
        return self._step_weights

    def log_probabilities(self, ids: NDArray[np.integer]) -> NDArray:
        """log P(id_{t+1} | id_1 .. id_t) in nats for each token but the first: (T,) -> (T - 1,).

        A text longer than the context is read through windows that overlap by C / 2, so that
        from the second on each token is predicted from C / 2 others or more.
        """
        C = self.config.context
        fresh, found = C - C // 2, []
        for begin in range(0, max(1, len(ids) - 1 - C // 2), fresh):
            window = ids[begin : begin + C + 1]
            logits = self.predict(self._hidden(window[None, :-1])[0])[0][0]  # (T, V)
            logits = logits - logits.max(axis=-1, keepdims=True)
            targets = logits[np.arange(len(logits)), window[1:]]
            own = targets - np.log(np.exp(logits).sum(axis=-1))
            found.append(own if begin == 0 else own[C // 2 :])
        return np.concatenate(found)

    def _check_fits(self, tokens: int) -> None:
        if tokens > self.config.context:
            raise ValueError(f"{tokens} tokens exceed the context of {self.config.context}")

    def _counts(self, ids: NDArray, lengths: NDArray | None) -> NDArray[np.int64]:
        """How many ids of each row count, (B,)."""
        B, T = ids.shape
        if T == 0:
            raise ValueError("ids: expected one token or more in each row")
        if lengths is None:
            return np.full(B, T)
        counts = np.asarray(lengths, np.int64)
        if counts.shape != (B,) or counts.min() < 1 or counts.max() > T:
            raise ValueError(f"lengths must be {B} numbers from 1 to {T}, found {lengths}")
        return counts

    def _room(self, ids: NDArray, cache: State, counts: NDArray[np.int64]) -> State:
        """The cache with room for the keys and values of ids, and with the ids."""
        after = cache_layer.extended(cache, counts, ids.shape[1])
        if after["written"] is not cache["written"]:
            after["ids"] = cache["ids"].copy()
        places = zip(cache["lengths"].tolist(), after["lengths"].tolist(), strict=True)
        for row, (first, last) in enumerate(places):
            after["ids"][row, first:last] = ids[row, : last - first]
        return after

    def _window(
        self, ids: NDArray, state: State, counts: NDArray[np.int64]
    ) -> tuple[NDArray, NDArray[np.int64]]:
        """What each row has in its window after it has slid: ids (B, T), lengths (B,).

        Each time that a row has read C tokens and goes on, all but the last C / 2 are dropped.
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


def _longest(lengths: NDArray[np.int64]) -> int:
    """The largest of a few numbers, for which Python is quicker than NumPy."""
    return max(lengths.tolist())


# --- one token at a time ----------------------------------------------------------


class StepWeights:
    """The weights of a GPT as :func:`gpt_step` takes them, found once for many steps."""

    def __init__(self, layers: int) -> None:
        names = ["embedding.E", "positions.E", "norm.gain", "norm.bias"]
        past = []
        for layer in range(layers):
            names += [f"blocks.{layer}.{name}" for name in transformer.OF_A_BLOCK]
            past += [f"blocks.{layer}.attention.{name}" for name in ("keys", "values")]
        self.weights_of, self.past_of = itemgetter(*names), itemgetter(*past)
        self.arrays: tuple[NDArray, ...] = ()
        self.addresses: Any = None  # the kernel's own note of where the arrays lie

    def update(self, params: dict[str, NDArray]) -> None:
        """Look for the weights again, if one has been replaced."""
        arrays = self.weights_of(params)
        if len(self.arrays) == 0 or not all(map(is_, arrays, self.arrays)):
            self.arrays = tuple([a if a.flags.c_contiguous else a.copy("C") for a in arrays])
            self.addresses = None


@twinned
def gpt_step(
    weights: StepWeights,
    ids: NDArray[np.int64],
    start: NDArray[np.int64],
    past: list[NDArray],
) -> NDArray:
    """ids (B,) at the positions start (B,) -> the logits (B, V) of what follows them.

    ``past`` has the keys and the values of each layer, which it writes to.
    """
    E, P, gain, bias, *of_blocks = weights.arrays
    n = len(transformer.OF_A_BLOCK)
    x = E[ids] + P[start]
    for layer in range(len(of_blocks) // n):
        keys, values = past[2 * layer : 2 * layer + 2]
        x = transformer.step(x, of_blocks[n * layer : n * (layer + 1)], keys, values, start)
    y, _, _ = layer_norm_forward(x, gain, bias, transformer.EPSILON)
    return y @ E.T
