"""Reading on with recurrent models and neural n-grams, whose state is small."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from minillm import checks, ops
from minillm.decoding.reader import Reader
from minillm.decoding.recurrent_step import stack_step
from minillm.layers import embedding
from minillm.layers.types import Ids, State
from minillm.models.language_model import LanguageModel
from minillm.models.neural_ngram import NeuralNGram


class RecurrentReader(Reader, of=LanguageModel):
    """A recurrent language model: whole prompts by its layers, single tokens in one call."""

    def read(self, ids: Ids, state: State) -> tuple[NDArray, State]:
        """See :meth:`Reader.read`."""
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


class NeuralNGramReader(Reader, of=NeuralNGram):
    """A neural n-gram, whose state is the last n - 2 tokens."""

    def read(self, ids: Ids, state: State) -> tuple[NDArray, State]:
        """See :meth:`Reader.read`."""
        c = self.config
        # Ids before the last n - 1 are not looked up, but are checked all the same.
        shape = (len(state["context"]), *np.shape(ids)[-1:])
        ids = checks.ids("read", "ids", ids, c.vocabulary, shape)
        text = np.concatenate([state["context"], ids], axis=1)  # (B, n - 2 + T)
        logits, _ = self.model.predict(text[:, 1 - c.order :])
        return logits, self.model.state_after(text)
