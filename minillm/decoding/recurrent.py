"""Reading on and writing with recurrent models and neural n-grams, whose state is small."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from minillm import checks, ops
from minillm.decoding.base import OfModel, StateReader
from minillm.decoding.block_step import OutputLayer
from minillm.decoding.recurrent_step import layer_step, stack_step
from minillm.layers import dense, embedding
from minillm.layers.types import Ids, State
from minillm.models.language_model import LanguageModel


class RecurrentReader(StateReader):
    """A recurrent language model: whole prompts by its layers, single tokens in one call."""

    def read(self, ids: Ids, state: State) -> tuple[NDArray, State]:
        """See :mod:`minillm.decoding.reader`."""
        model = self.model
        c, p = model.config, model.params
        if ids.shape[1] == 1:
            x = checks.ids("read", "ids", ids[:, 0], c.vocabulary)
            if c.embedding:
                x, _ = embedding.layer(p, {"embedding.E": x})
            # An output layer that is no array, with LoRA or tied, multiplies by itself.
            output = "output" if isinstance(p.get("output.W"), np.ndarray) else None
            y, last = stack_step(p, "layers", x, state, c.cell, c.layers, output)
            return y if output else model.predict(y)[0], last
        (_, last), _ = model.recurrence(ids, state)
        return model.predict(last[f"layers.{c.layers - 1}.h"])[0], last


def one_hot(model: LanguageModel) -> LanguageModel:
    """The same model with one-hot input: E W_x replaces W_x.  It writes faster.

    The new model takes memory for V (gates H) more numbers.  Later changes of ``params`` do not
    reach it.
    """
    c, p = model.config, model.params
    if c.embedding == 0:
        return model
    params = {name: p[name] for name in p if name != "embedding.E"}
    params["layers.0.W_x"] = ops.linear(p["embedding.E"], p["layers.0.W_x"])[0]
    if c.tied:
        params["output.W"] = np.ascontiguousarray(p["embedding.E"].T)
    return LanguageModel(replace(c, embedding=0, tied=False), params=params)


class NeuralNGramReader(StateReader):
    """A neural n-gram, whose state is the last n - 2 tokens."""

    def read(self, ids: Ids, state: State) -> tuple[NDArray, State]:
        """See :mod:`minillm.decoding.reader`."""
        c = self.config
        # Ids before the last n - 1 are not looked up, but are checked all the same.
        shape = (len(state["context"]), *np.shape(ids)[-1:])
        ids = checks.ids("read", "ids", ids, c.vocabulary, shape)
        text = np.concatenate([state["context"], ids], axis=1)  # (B, n - 2 + T)
        logits, _ = self.model.predict(text[:, 1 - c.order :])
        return logits, self.model.state_after(text)


class RecurrentDecoder(OfModel):
    """A recurrent encoder-decoder.

    A state has ``decoder.0.h`` and so on, (B, K, H), and the memory of
    :mod:`minillm.layers.attention`.
    """

    _output: OutputLayer | None = None  # of the last start

    def start(self, source: NDArray, lengths: NDArray) -> State:
        """See :mod:`minillm.decoding.decoder`."""
        state, _ = self.model.encode(source, lengths)
        self._output = OutputLayer(self.model)
        return one_hypothesis(state)

    def step(self, ids: Ids, state: State) -> tuple[NDArray, NDArray | None, State]:
        """See :mod:`minillm.decoding.decoder`."""
        c, p = self.config, self.model.params
        x, _ = ops.embedding(ids, p["target.E"])  # (B, K, D)
        h, last = stack_step(p, "decoder", x, state, c.cell, c.layers)  # (B, K, H)
        (a, weights), _ = self.model.attentional_state(h, state)
        output = self._output or OutputLayer(self.model)
        return output(a), weights, state | last


class CaptionDecoder(OfModel):
    """A captioner, whose sources are images.  A state has ``decoder.h`` (B, K, H)."""

    def start(self, source: NDArray, lengths: NDArray | None = None) -> State:
        """Read images (B, pixels) -> a state of one hypothesis each; ``lengths`` is not used."""
        state, _ = self.model.first_state(source)
        return one_hypothesis(state)

    def step(self, ids: Ids, state: State) -> tuple[NDArray, None, State]:
        """See :mod:`minillm.decoding.decoder`; there are no attention weights."""
        p = self.model.params
        x, _ = ops.embedding(ids, p["embedding.E"])  # (B, K, D)
        state = layer_step(p, "decoder", x, state, self.config.cell)
        logits, _ = dense.layer(p, "output", state["decoder.h"])
        return logits, None, state


def one_hypothesis(state: State) -> State:
    """Turn a state without hypotheses, (B, ...), into one of one hypothesis each, (B, 1, ...)."""
    return {
        name: entry if name.startswith("memory.") else entry[:, None]
        for name, entry in state.items()
    }
