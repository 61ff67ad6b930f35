"""Writing with an encoder-decoder Transformer: one token of many hypotheses at a time.

Beam search drops some hypotheses after each token, and continues others twice.  Copying the keys
and values of a hypothesis each time would cost more than computing the token.  So they stay where
they were written, in a pool of rows that all hypotheses share.  A hypothesis is a list of rows.

Legend: B sources, K hypotheses of each, S source steps, T target steps so far, D width, N heads,
V target vocabulary, R rows of the pool.
"""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import checks
from minillm.decoding.block_step import StepWeights, block_step
from minillm.decoding.cache import CLAIM
from minillm.decoding.decoder import TargetDecoder
from minillm.decoding.reader import OfModel
from minillm.layers import dense, embedding, heads
from minillm.layers.norms import norm_if_any
from minillm.layers.stack import AttendIn
from minillm.layers.types import Ids, Params, State
from minillm.models.transformer import Transformer

GROWTH = 2  # factor by which a full pool grows


@TargetDecoder.register(Transformer)
class TransformerDecoder(OfModel):
    """The decoding of a Transformer, for beam search and sampling.

    A state has

    - ``memory.0.keys`` (B, N, S, D/N) and so on, the keys and values of the sources, and
      ``memory.lengths`` (B,);
    - ``shared.0.keys`` (1, N, R, D/N) and so on, the keys and values of all target tokens read so
      far, in the order of reading, and their number, ``shared.count`` (1,);
    - ``past`` (B, K, T), the rows of each hypothesis: nothing else has to be copied when
      hypotheses are selected.
    """

    _weights: StepWeights | None = None  # of the last step

    def start(self, source: NDArray, lengths: NDArray) -> State:
        """Read sources (B, S) -> the state before the first step, of one hypothesis each."""
        lengths = checks.ids("start", "lengths", lengths, source.shape[1] + 1, (len(source),))
        memory, _ = self.model.encode(source, lengths)
        c, p = self.config, self.model.params
        self._weights = self.new_weights()  # the kernel's copy may be of weights before a change
        state = {
            "past": np.zeros((len(source), 1, 0), np.int64),
            "memory.lengths": lengths,
            "shared.count": np.zeros(1, np.int64),
        }
        for layer in range(c.layers):
            prefix = f"decoder.{layer}.cross"
            (k, v), _ = heads.keys_and_values(p, prefix, memory, c.heads)
            for name, part in (("keys", k), ("values", v)):
                # In C order, as each step reads them.
                state[f"memory.{layer}.{name}"] = np.ascontiguousarray(part)
                state[f"shared.{layer}.{name}"] = _pool(0, c.heads, c.width, self.model.dtype)
        return state

    def step(self, ids: NDArray, state: State) -> tuple[NDArray, NDArray, State]:
        """One step of K hypotheses of each source, which share the source's memory.

        ids (B, K) -> logits (B, K, V + 1), attention weights (B, K, S), new state.  The weights
        are the mean over the heads of the last layer but one, which aligns words best.

        Source: Garg et al. (2019), "Jointly learning to align and translate with Transformer
        models".
        """
        self._require_own(state)
        layers, (B, K, T) = range(self.config.layers), state["past"].shape
        model = self.model
        x, _ = model.embed(model.target_E, ids.reshape(B * K, 1), start=T)  # (B K, 1, D)
        weights = self._weights
        if weights is None or not weights.are_in(model.params):
            weights = self._weights = self.new_weights()
        state = _with_room(state, B * K)
        R, S = (state[f"{kind}.0.keys"].shape[2] for kind in ("shared", "memory"))
        lengths = checks.ids("step", "memory.lengths", state["memory.lengths"], S + 1, (B,))
        rows = checks.ids("step", "past", state["past"], R).reshape(B * K, T + 1)
        pool, memory = (
            [state[f"{kind}.{layer}.{name}"] for layer in layers for name in ("keys", "values")]
            for kind in ("shared", "memory")
        )
        logits, seen = block_step(
            weights,
            x[:, 0],
            *weights.cos_and_sin(np.zeros(0, np.int64), x.dtype),
            past=pool,
            start=np.full(B * K, T),
            rows=rows,
            memory=memory,
            lengths=lengths,
            shown=max(self.config.layers - 2, 0),
        )
        assert seen is not None
        return logits.reshape(B, K, -1), seen.mean(axis=1).reshape(B, K, S), state

    def new_weights(self) -> StepWeights:
        """The weights for the steps."""
        model = self.model
        return StepWeights(
            self,
            [f"decoder.{layer}" for layer in range(self.config.layers)],
            "output.W" if "output.W" in model.params else model.target_E,
            last_norm="decoder.norm",
            activation="relu",
            crosses=True,
            post_norm=self.config.post_norm,
        )

    def all_blocks(
        self, x: NDArray, positions: Ids, attend: AttendIn, source: Any
    ) -> tuple[NDArray, NDArray | None]:
        """All blocks and the last norm, of one token of each hypothesis, from the cached keys.

        x (Q, 1, D); source: keys and values of each layer, lengths, and the layer whose
        attention weights are returned -> y (Q, 1, D), weights (Q, N, S).
        """
        memory, lengths, shown = source
        p, noted = self.model.params, None
        for layer in range(self.config.layers):
            prefix, (k, v) = f"decoder.{layer}", memory[2 * layer : 2 * layer + 2]
            seen: list[NDArray] = []
            cross = partial(_attend_to_source, p, f"{prefix}.cross", k, v, lengths, seen)
            x, _ = self.model.block(prefix, x, attend(layer), cross=cross)
            noted = seen[0] if layer == shown else noted
        return norm_if_any(p, "decoder.norm", x)[0], noted

    def predict(self, y: NDArray) -> NDArray:
        """The logits of the next token: y (..., D) -> (..., V + 1)."""
        p, E = self.model.params, self.model.target_E
        output = dense.layer(p, "output", y) if "output.W" in p else embedding.output(p, E, y)
        return output[0]

    def _require_own(self, state: State) -> None:
        """ValueError for the state of a model of other sizes."""
        c, kept = self.config, [a for a in state.values() if a.ndim == 4]
        found = len(kept) // 4, {a.shape[1::2] for a in kept}
        own = c.layers, {(c.heads, c.width // c.heads)}
        if found != own:
            raise ValueError(f"state: expected layers and sizes of heads {own}, found {found}")


def _attend_to_source(
    params: Params, prefix: str, k: NDArray, v: NDArray, lengths: Ids, seen: list, x: NDArray
) -> tuple[NDArray, None]:
    """Cross-attention of x (Q, 1, D) to B sources -> y (Q, 1, D).

    k, v (B, N, S, D/N).  ``seen`` gets the weights (Q, N, S).
    """
    (B, N, S, _), (Q, _, D) = k.shape, x.shape
    of_source = x.reshape(B, Q // B, D)
    y, _ = heads.attend(params, prefix, of_source, k, v, lengths)
    # The weights are the results for values that are one-hot.
    q, _ = dense.layer(params, prefix, of_source, suffix="_q")
    one_hot = np.broadcast_to(np.eye(S, dtype=x.dtype), (B, N, S, S))
    weights, _ = heads.to_all(lengths)(heads.split_heads(q, N), k, one_hot)  # (B, N, Q/B, S)
    seen.append(weights.swapaxes(1, 2).reshape(Q, N, S))
    return y.reshape(x.shape), None


def _with_room(state: State, count: int) -> State:
    """The state with a new row of the pool for each hypothesis, added to its ``past``.

    A row is never overwritten, because it may be in the past of other states.
    """
    B, K, _ = state["past"].shape
    with CLAIM:  # other threads may add rows to the same pool
        first = int(state["shared.count"][0])
        free = first + count <= state["shared.0.keys"].shape[2]
        if free:
            state["shared.count"] += count
    rows = first + np.arange(count).reshape(B, K, 1)
    state = state | {"past": np.concatenate([state["past"], rows], axis=2)}
    if not free:
        state["shared.count"] = np.array([first + count])
        for name, pool in state.items():
            if name.startswith("shared.") and pool.ndim == 4:
                _, N, _, width = pool.shape
                larger = _pool(GROWTH * (first + count), N, N * width, pool.dtype)
                larger[:, :, :first] = pool[:, :, :first]
                state[name] = larger
    return state


def _pool(R: int, N: int, D: int, dtype: Any) -> NDArray:
    """New memory (1, N, R, D/N) for keys or values; the heads of a token are next to each other."""
    return np.empty((1, R, N, D // N), dtype).swapaxes(1, 2)
