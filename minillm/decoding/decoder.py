"""Decoders: a decoder writes a target, token by token, from a source.

    decoder = TargetDecoder(model)
    state = decoder.start(source, lengths)          one hypothesis of each source
    logits, weights, state = decoder.step(ids, state)

``start`` reads sources (B, S).  ``step`` is one of K hypotheses of each source, which share its
memory: ids (B, K) -> logits (B, K, V + 1), attention weights (B, K, S) or None, the new state.  The
configuration of the model has ``bos`` and ``eos``.

A state is a dictionary of arrays for B sources and K hypotheses of each.  The page of each decoder
registers it for the class of its models.
"""

from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.decoding.reader import OfModel
from minillm.decoding.recurrent import stack_step
from minillm.layers import dense
from minillm.layers.types import Ids, State
from minillm.models.encoder_decoder import EncoderDecoder


@singledispatch
def TargetDecoder(model: Any) -> Any:
    """The decoder of a model; a model that decodes by itself is its own."""
    if not hasattr(model, "step"):
        raise TypeError(f"TargetDecoder: expected a model of pairs, found {type(model).__name__}")
    return model


def select(state: State, rows: Ids, parents: Ids) -> State:
    """Select sources of a decoder's state, and hypotheses of each of them.

    rows (b,) in 0..B-1, parents (b, k) in 0..K-1 -> a state of b sources with k hypotheses each.
    The name of an entry tells its shape.  ``memory...`` is (B, ...): the hypotheses of a source
    share it.  ``shared...`` belongs to all sources together.  All other entries are (B, K, ...),
    and the first entry of a state is one of them.
    """
    B = len(next(iter(state.values())))
    all_rows = np.array_equal(rows, np.arange(B))  # then the memory need not be copied
    selected = {}
    for name, entry in state.items():
        if name.startswith("shared."):
            selected[name] = entry
        elif not name.startswith("memory."):
            selected[name] = entry[rows[:, None], parents]
        else:
            selected[name] = entry if all_rows else entry[rows]
    return selected


@TargetDecoder.register(EncoderDecoder)
class RecurrentDecoder(OfModel):
    """A recurrent encoder-decoder.

    A state has ``decoder.0.h`` and so on, (B, K, H), and the memory of
    :mod:`minillm.layers.attention`.
    """

    def start(self, source: NDArray, lengths: NDArray) -> State:
        """See the module."""
        state, _ = self.model.encode(source, lengths)
        return one_hypothesis(state)

    def step(self, ids: Ids, state: State) -> tuple[NDArray, NDArray | None, State]:
        """See the module."""
        c, p = self.config, self.model.params
        x, _ = ops.embedding(ids, p["target.E"])  # (B, K, D)
        h, last = stack_step(p, "decoder", x, state, c.cell, c.layers)  # (B, K, H)
        (a, weights), _ = self.model.attentional_state(h, state)
        return dense.layer(p, "output", a)[0], weights, state | last


def one_hypothesis(state: State) -> State:
    """Turn a state without hypotheses, (B, ...), into one of one hypothesis each, (B, 1, ...)."""
    return {
        name: entry if name.startswith("memory.") else entry[:, None]
        for name, entry in state.items()
    }
