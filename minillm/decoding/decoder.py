"""Decoders: a decoder writes a target, token by token, from a source.

    decoder = Decoder(model)
    state = decoder.start(source, lengths)          one hypothesis of each source
    logits, weights, state = decoder.step(ids, state)

A state is a dictionary of arrays for B sources and K hypotheses of each.
:mod:`minillm.decoding.holder` finds the decoder of a model's class.
"""

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.decoding.decoder_step import OutputLayer
from minillm.decoding.holder import Holder
from minillm.decoding.recurrent_step import layer_step, stack_step
from minillm.layers import dense
from minillm.layers.types import Ids, State
from minillm.models.captioner import Captioner
from minillm.models.encoder_decoder import EncoderDecoder


class Decoder(Holder, expected="a model of pairs", methods=("start", "step")):
    """The decoder of a model, whose configuration has ``bos`` and ``eos``: see the module."""

    def start(self, source: NDArray, lengths: NDArray) -> State:
        """Read sources (B, S) -> the state before the first step, of one hypothesis each."""
        raise NotImplementedError

    def step(self, ids: Ids, state: State) -> tuple[NDArray, NDArray | None, State]:
        """One step of K hypotheses of each source, which share the source's memory.

        ids (B, K) -> logits (B, K, V + 1), attention weights (B, K, S) or None, new state.
        """
        raise NotImplementedError


class RecurrentDecoder(Decoder, of=EncoderDecoder):
    """A recurrent encoder-decoder.

    A state has ``decoder.0.h`` and so on, (B, K, H), and the memory of
    :mod:`minillm.layers.attention`.
    """

    _output: OutputLayer | None = None  # of the last start

    def start(self, source: NDArray, lengths: NDArray) -> State:
        """See :meth:`Decoder.start`."""
        state, _ = self.model.encode(source, lengths)
        self._output = OutputLayer(self.model.params)
        return one_hypothesis(state)

    def step(self, ids: Ids, state: State) -> tuple[NDArray, NDArray | None, State]:
        """See :meth:`Decoder.step`."""
        c, p = self.config, self.model.params
        x, _ = ops.embedding(ids, p["target.E"])  # (B, K, D)
        h, last = stack_step(p, "decoder", x, state, c.cell, c.layers)  # (B, K, H)
        (a, weights), _ = self.model.attentional_state(h, state)
        output = self._output or OutputLayer(p)
        return output(a), weights, state | last


class CaptionDecoder(Decoder, of=Captioner):
    """A captioner, whose sources are images.  A state has ``decoder.h`` (B, K, H)."""

    def start(self, source: NDArray, lengths: NDArray | None = None) -> State:
        """Read images (B, pixels) -> a state of one hypothesis each; ``lengths`` is not used."""
        state, _ = self.model.first_state(source)
        return one_hypothesis(state)

    def step(self, ids: Ids, state: State) -> tuple[NDArray, None, State]:
        """See :meth:`Decoder.step`; there are no attention weights."""
        p = self.model.params
        x, _ = ops.embedding(ids, p["embedding.E"])  # (B, K, D)
        state = layer_step(p, "decoder", x, state, self.config.cell)
        logits, _ = dense.layer(p, "output", state["decoder.h"])
        return logits, None, state


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


def one_hypothesis(state: State) -> State:
    """Turn a state without hypotheses, (B, ...), into one of one hypothesis each, (B, 1, ...)."""
    return {
        name: entry if name.startswith("memory.") else entry[:, None]
        for name, entry in state.items()
    }
