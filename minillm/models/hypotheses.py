"""Writing with an encoder-decoder Transformer: one token of many hypotheses at a time.

Beam search drops some hypotheses after each token, and continues others twice.  Copying the keys
and values of a hypothesis each time would cost more than computing the token.  So they stay where
they were written, in a pool of rows that all hypotheses share.  A hypothesis is a list of rows.

Legend: B sources, K hypotheses of each, S source steps, T target steps so far, D width, N heads,
V target vocabulary, R rows of the pool.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm._kernels import twinned
from minillm.layers import block, dense, heads
from minillm.layers.cache import CLAIM
from minillm.layers.types import State
from minillm.models.base import Config, Model
from minillm.models.target import teacher_forcing
from minillm.ops import _validate

GROWTH = 2  # factor by which a full pool grows


class HypothesisWriter(Model[Config]):
    """The decoding of a Transformer, for beam search and sampling.

    A state has

    - ``memory.0.keys`` (B, N, S, D/N) and so on, the keys and values of the sources, and
      ``memory.lengths`` (B,);
    - ``shared.0.keys`` (R, D) and so on, those of all target tokens read so far, in the order of
      reading, and their number, ``shared.count`` (1,);
    - ``past`` (B, K, T), the rows of each hypothesis: nothing else has to be copied when
      hypotheses are selected.

    A model of this kind defines ``encode``, ``embed``, ``target_E``, ``last_norm`` and ``output``:
    see :mod:`minillm.models.transformer`.
    """

    config: Any
    encode: Callable[..., Any]
    embed: Callable[..., Any]
    target_E: Any
    last_norm: Callable[..., Any]
    output: Callable[..., Any]

    @property
    def aligning_layer(self) -> int:
        """The last layer but one, which aligns target words with source words best.

        Source: Garg et al. (2019), "Jointly learning to align and translate with Transformer
        models".
        """
        return max(self.config.layers - 2, 0)

    def start(self, source: NDArray, lengths: NDArray) -> State:
        """Read sources (B, S) -> the state before the first step, of one hypothesis each."""
        memory, _ = self.encode(source, lengths)
        state = {
            "past": np.zeros((len(source), 1, 0), np.int64),
            "memory.lengths": np.array(lengths),
            "shared.count": np.zeros(1, np.int64),
        }
        for layer in range(self.config.layers):
            prefix = f"decoder.{layer}.cross"
            (k, v), _ = heads.keys_and_values(self.params, prefix, memory, self.config.heads)
            state |= {f"memory.{layer}.keys": k, f"memory.{layer}.values": v}
            for name in ("keys", "values"):
                state[f"shared.{layer}.{name}"] = np.empty((0, self.config.width), self.dtype)
        return state

    def step(self, ids: NDArray, state: State) -> tuple[NDArray, NDArray, State]:
        """One step of K hypotheses of each source, which share the source's memory.

        ids (B, K) -> logits (B, K, V + 1), attention weights (B, K, S), new state.  The weights
        are the mean over the heads of the aligning layer.
        """
        logits, weights, state = self._step(ids, state, self.aligning_layer)
        return logits, weights.mean(axis=1), state

    def attention_weights(
        self, source: NDArray, lengths: NDArray, target: NDArray, layer: int
    ) -> NDArray:
        """The attention weights of a layer's heads, from each target token to the source tokens:
        source (B, S), lengths (B,), target (B, T) -> (B, N, T, S)."""
        state, weights = self.start(source, lengths), []
        inputs = teacher_forcing(target, self.config.bos)
        for t in range(target.shape[1]):
            _, at_t, state = self._step(inputs[:, t : t + 1], state, layer)
            weights.append(at_t)
        return np.concatenate(weights, axis=2)

    def _step(self, ids: NDArray, state: State, shown: int) -> tuple[NDArray, NDArray, State]:
        """Like :meth:`step`, with the weights of all heads of the layer ``shown``: (B, N, K, S)."""
        p, N, lengths = self.params, self.config.heads, state["memory.lengths"]
        options = {"post_norm": self.config.post_norm}
        self._require_own(state)
        B, K, T = state["past"].shape
        x, _ = self.embed(self.target_E, ids.reshape(B * K, 1), start=T)
        x = x.reshape(B, K, self.config.width)
        state = _with_room(state, B * K)
        for layer in range(self.config.layers):
            b, past = f"decoder.{layer}", state["past"]
            keys, values = state[f"shared.{layer}.keys"], state[f"shared.{layer}.values"]
            k, v = state[f"memory.{layer}.keys"], state[f"memory.{layer}.values"]

            attention = partial(
                attend_to_past, p, f"{b}.attention", N=N, keys=keys, values=values, past=past
            )
            cross = partial(heads.attend, p, f"{b}.cross", k=k, v=v, lengths=lengths)
            forward = partial(block.feed_forward, p, f"{b}.feed_forward", activation=ops.relu)
            x, _ = block.residual(p, {f"{b}.norm_1": attention}, x, **options)
            if layer == shown:
                query = x if self.config.post_norm else block.norm(p, f"{b}.norm_2", x)[0]
                weights = heads.cross_attention_weights(p, f"{b}.cross", query, k, lengths)
            x, _ = block.residual(p, {f"{b}.norm_2": cross, f"{b}.norm_3": forward}, x, **options)
        y, _ = self.last_norm("decoder.norm", x)
        logits, _ = dense.layer(self.output(), "output", y)
        return logits, weights, state

    def _require_own(self, state: State) -> None:
        """ValueError for the state of a model of other sizes, or one mixed from two."""
        c, B = self.config, len(state["past"])
        memory = (B, c.heads, state["memory.0.keys"].shape[2], c.width // c.heads)
        pool = (len(state["shared.0.keys"]), c.width)
        expected = {
            f"{kind}.{layer}.{name}": shape
            for layer in range(c.layers)
            for kind, shape in (("memory", memory), ("shared", pool))
            for name in ("keys", "values")
        }
        found = {name: a.shape for name, a in state.items() if a.dtype.kind == "f"}
        for name in sorted(expected.keys() | found.keys()):
            if found.get(name) != expected.get(name):
                raise ValueError(
                    f"state: {name}: expected {expected.get(name)}, found {found.get(name)}"
                )


def _with_room(state: State, count: int) -> State:
    """The state with a new row of the pool for each hypothesis, added to its ``past``.

    A row is never overwritten, because it may be in the past of other states.
    """
    B, K, _ = state["past"].shape
    with CLAIM:  # other threads may add rows to the same pool
        first = int(state["shared.count"][0])
        free = first + count <= len(state["shared.0.keys"])
        if free:
            state["shared.count"] += count
    rows = first + np.arange(count).reshape(B, K, 1)
    state = state | {"past": np.concatenate([state["past"], rows], axis=2)}
    if not free:
        state["shared.count"] = np.array([first + count])
        for name, pool in state.items():
            if name.startswith("shared.") and pool.ndim == 2:
                larger = np.empty((GROWTH * (first + count), pool.shape[1]), pool.dtype)
                larger[:first] = pool[:first]
                state[name] = larger
    return state


def attend_to_past(
    params: dict[str, NDArray],
    prefix: str,
    x: NDArray,
    N: int,
    keys: NDArray,
    values: NDArray,
    past: NDArray[np.int64],
) -> tuple[NDArray, None]:
    """``self_attention`` of the last tokens x (B, K, D) of hypotheses, without a backward.

    keys and values (R, D) are the pool.  Hypothesis k of source b has the rows past[b, k] (T,), the
    last of which is written here.
    """
    (B, K, D), keys, values = x.shape, keys.view(), values.view()
    shapes = {"x": (x, "B K D"), "keys": (keys, "R D"), "values": (values, "R D")}
    R = _validate.floats("attend_to_past", **shapes)["R"]
    rows = _validate.ids("attend_to_past", "past", past, R, (B, K, past.shape[-1]))
    if D % N:
        raise ValueError(f"attend_to_past: N: expected a divisor of D = {D}, found {N}")
    qkv, _ = dense.layer(params, prefix, x, suffix="_qkv")
    q, keys[rows[..., -1]], values[rows[..., -1]] = np.split(qkv, 3, axis=-1)
    query, k, v = (np.ascontiguousarray(part).reshape(-1, N, D // N) for part in (q, keys, values))
    context = _attend_to_rows(query, k, v, rows.reshape(B * K, -1))
    y, _ = dense.layer(params, prefix, context.reshape(B, K, D), suffix="_o")
    return y, None


@twinned
def _attend_to_rows(
    query: NDArray, keys: NDArray, values: NDArray, rows: NDArray[np.int64]
) -> NDArray:
    """Attention of single queries, each to its own rows of a pool of keys and values.

    query (Q, N, D), keys and values (R, N, D), rows (Q, T) in 0..R-1 -> context (Q, N, D).
    """
    row_keys, row_values = (pool[rows].swapaxes(1, 2) for pool in (keys, values))  # (Q, N, T, D)
    context, _ = ops.scaled_dot_product_attention(query[:, :, None], row_keys, row_values)
    return context[:, :, 0]
