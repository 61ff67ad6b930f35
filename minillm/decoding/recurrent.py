"""Reading on with recurrent models, neural n-grams and convolutions, whose state is small."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from minillm import checks, ops
from minillm._kernels import twinned
from minillm.decoding.reader import Reader, StateReader
from minillm.layers import embedding
from minillm.layers.recurrent import require_own, state_and_weights
from minillm.layers.types import Ids, Params, State
from minillm.models.gated_convolution import GatedConvolution
from minillm.models.language_model import LanguageModel
from minillm.models.neural_ngram import NeuralNGram
from minillm.ops.recurrence import CELLS, Cell


@Reader.register(LanguageModel)
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


@Reader.register(NeuralNGram)
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


@Reader.register(GatedConvolution)
class GatedConvolutionReader(StateReader):
    """Gated convolutions, whose state is the last inputs of each."""

    def read(self, ids: Ids, state: State) -> tuple[NDArray, State]:
        """See :mod:`minillm.decoding.reader`."""
        (logits, state), _ = self.model.forward(ids, state)
        return logits[:, -1], state


def stack_step(
    params: Params,
    prefix: str,
    x: NDArray,
    state: State,
    cell: str,
    layers: int,
    output: str | None = None,
) -> tuple[NDArray, State]:
    """Run one step of a stack, without a backward pass: -> h of the last layer, new state.

    x (..., I) or ids (...).  The leading axes are the same as in the state: (B,), or (B, K) for K
    hypotheses of each row.  With ``output``, the prefix of an output layer, the logits h W + b are
    returned instead of h.
    """
    require_own(state, prefix, cell, layers)
    entries, weights = state_and_weights(prefix, cell, layers)
    shape = state[entries[0]].shape
    rows = x.reshape(-1, *x.shape[len(shape) - 1 :])
    of_output = [f"{output}.W", f"{output}.b"] if output else []
    result, new = _stacked_step(
        CELLS[cell],
        np.ascontiguousarray(rows, np.int64 if rows.dtype.kind in "iu" else None),
        list(checks.contiguous(*(state[name].reshape(-1, shape[-1]) for name in entries))),
        list(checks.contiguous(*(params[name] for name in weights))),
        list(checks.contiguous(*(params[name] for name in of_output))),
    )
    named = zip(entries, new, strict=True)
    if len(shape) == 2:
        return result, dict(named)
    return result.reshape(*shape[:-1], -1), {name: entry.reshape(shape) for name, entry in named}


@twinned
def _stacked_step(
    cell: Cell, x: NDArray, states: list[NDArray], weights: list[NDArray], output: list[NDArray]
) -> tuple[NDArray, list[NDArray]]:
    """One step of each layer in turn, and of the output layer.

    x (B, I) or ids (B,); the states (B, H) and the weights of all layers, in their order; W (H, V)
    and b (V,) of the output layer, or none.  -> logits (B, V), or h (B, H) of the last layer where
    there is no output layer; the new states.
    """
    entries, count = len(cell.state), len(cell.weights)
    new: list[NDArray] = []
    for layer in range(len(weights) // count):
        old = states[entries * layer : entries * (layer + 1)]
        made = cell.step(x, *old, *weights[count * layer : count * (layer + 1)])
        new += made if isinstance(made, tuple) else [made]
        x = new[-entries]
    if output:
        W, b = output
        x = x @ W + b
    return x, new
