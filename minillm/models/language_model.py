"""The recurrent language model: what comes next, given all that came before.

    x_t = E[id_t]                             embedding
    h_t = recurrence(x_t, h_{t-1})            one to L layers of rnn, lstm or gru
    P(id_{t+1} | id_1 .. id_t) = softmax(h_t W + b)

The first layer multiplies every x_t by its W_x.  But an embedding has only V rows:
where those are fewer than the steps, as characters are, E W_x is computed once, and
each step looks its row up in that table instead.  An embedding of width 0 leaves
nothing but such a table: the input is one-hot.

It is trained by truncated backpropagation through time: the text is read in
windows of T steps; the state at the end of one window is the state at the start
of the next, but no gradient flows back over the border.

Sources: Mikolov et al. (2010), "Recurrent neural network based language model";
Williams and Peng (1990) for the truncation; Zaremba, Sutskever and Vinyals
(2014), "Recurrent neural network regularization", for where the dropout goes;
Press and Wolf (2017), "Using the output embedding to improve language models",
for the tied weights.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.models import recurrent_layer


@dataclass(frozen=True)
class LanguageModelConfig:
    """The sizes of a language model: everything but its weights."""

    vocabulary: int  # V
    embedding: int = 128  # D; 0 for one-hot input
    hidden: int = 512  # H
    layers: int = 1  # L
    cell: str = "lstm"
    dropout: float = 0.0
    tied: bool = False  # the output layer's weight is the embedding's: needs D = H

    def __post_init__(self) -> None:
        for name, least in (("vocabulary", 1), ("embedding", 0), ("hidden", 1), ("layers", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, found {getattr(self, name)}")
        if self.cell not in recurrent_layer.CELLS:
            raise ValueError(f"cell must be one of {recurrent_layer.CELLS}, found {self.cell!r}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), found {self.dropout}")
        if self.tied and self.embedding != self.hidden:
            raise ValueError(
                f"tied weights need embedding = hidden, found {self.embedding} and {self.hidden}"
            )


class LanguageModel:
    """Embedding, L recurrent layers, output layer.

    ``params``: ``embedding.E`` (V, D), absent where D is 0; ``layers.0.W_x`` and so on,
    as the ops name them (of one-hot input, ``layers.0.W_x`` has V rows); ``output.W``
    (H, V), absent where it is tied to E; ``output.b`` (V,).
    A state is a dictionary of arrays (B, H): ``layers.0.h`` and, of an lstm,
    ``layers.0.c``.
    """

    def __init__(
        self,
        config: LanguageModelConfig,
        rng: np.random.Generator | None = None,
        *,
        params: dict[str, NDArray] | None = None,
        dtype: type = np.float32,
    ) -> None:
        """Fresh parameters drawn from rng, or those given."""
        self.config = config
        if params is None:
            if rng is None:
                raise TypeError("LanguageModel needs rng for fresh parameters, or params")
            params = self._new_parameters(rng, dtype)
        self.params = params

    def _new_parameters(self, rng: np.random.Generator, dtype: type) -> dict[str, NDArray]:
        c = self.config
        # Tied, E is an output layer too, and logits should start near zero.
        scale = c.hidden**-0.5 if c.tied else 1.0
        params: dict[str, NDArray] = {}
        if c.embedding:
            E = scale * rng.standard_normal((c.vocabulary, c.embedding))
            params["embedding.E"] = E.astype(dtype)
        for layer in range(c.layers):
            inputs = (c.embedding or c.vocabulary) if layer == 0 else c.hidden
            params |= recurrent_layer.new_parameters(
                c.cell, f"layers.{layer}", inputs, c.hidden, rng, dtype
            )
        if not c.tied:
            bound = c.hidden**-0.5
            params["output.W"] = rng.uniform(-bound, bound, (c.hidden, c.vocabulary)).astype(dtype)
        params["output.b"] = np.zeros(c.vocabulary, dtype)
        return params

    def zero_state(self, B: int) -> dict[str, NDArray]:
        """The state before a text begins, for B texts at a time."""
        c, dtype = self.config, self.params["output.b"].dtype
        state: dict[str, NDArray] = {}
        for layer in range(c.layers):
            _put(state, layer, recurrent_layer.zero_state(c.cell, B, c.hidden, dtype.type))
        return state

    def forward(
        self,
        inputs: NDArray[np.integer],
        state: dict[str, NDArray],
        rng: np.random.Generator | None = None,
    ) -> tuple[tuple[NDArray, dict[str, NDArray]], Callable]:
        """Logits of what follows each input, and the state after the last.

        inputs (B, T) -> logits (B, T, V), state.  With rng there is dropout before
        each layer (but not of one-hot input) and before the output, never between steps.
        ``backward(dlogits)`` -> gradients keyed as ``params``.
        """
        c, p = self.config, self.params
        new_state: dict[str, NDArray] = {}
        dropout_backwards, layer_backwards = [], []
        no_dropout = rng is None or c.dropout == 0
        by_table = c.embedding > 0 and no_dropout and c.vocabulary < inputs.size

        x = inputs
        if by_table:
            table, table_backward = ops.linear(p["embedding.E"], p["layers.0.W_x"])
            p = p | {"layers.0.W_x": table}  # (V, gates * H)
        elif c.embedding:
            x, embedding_backward = ops.embedding(inputs, p["embedding.E"])  # (B, T, D)
        for layer in range(c.layers):
            x, dropout_backward = self._dropout(x, rng) if x.ndim == 3 else (x, None)
            (x, last), layer_backward = recurrent_layer.run(
                c.cell, p, f"layers.{layer}", x, _get(state, layer)
            )  # (B, T, H)
            _put(new_state, layer, last)
            dropout_backwards.append(dropout_backward)
            layer_backwards.append(layer_backward)
        x, last_dropout_backward = self._dropout(x, rng)
        W = p["embedding.E"].T if c.tied else p["output.W"]
        logits, output_backward = ops.linear(x, W, p["output.b"])  # (B, T, V)

        def backward(dlogits):
            dx, dW, db = output_backward(dlogits)
            gradients = {"output.b": db}
            dx = last_dropout_backward(dx)
            for layer in reversed(range(c.layers)):
                dx, _dstate, layer_gradients = layer_backwards[layer](dx)
                gradients |= layer_gradients
                if dx is not None:
                    dx = dropout_backwards[layer](dx)
            if by_table:
                dtable = gradients["layers.0.W_x"]
                gradients["embedding.E"], gradients["layers.0.W_x"] = table_backward(dtable)
            elif c.embedding:
                gradients["embedding.E"] = embedding_backward(dx)
            if c.tied:  # one weight, two uses
                gradients["embedding.E"] = gradients["embedding.E"] + dW.T
            else:
                gradients["output.W"] = dW
            return gradients

        return (logits, new_state), backward

    def window_loss(
        self,
        inputs: NDArray[np.integer],
        targets: NDArray[np.integer],
        state: dict[str, NDArray],
        rng: np.random.Generator | None = None,
    ) -> tuple[tuple[np.floating, dict[str, NDArray]], Callable]:
        """The loss over one window of truncated backpropagation, and the state after it.

        inputs and targets (B, T) -> (loss in nats per token, state).
        ``backward()`` -> gradients keyed as ``params``.
        """
        (logits, new_state), logits_backward = self.forward(inputs, state, rng)
        loss, loss_backward = ops.cross_entropy(logits, targets)

        def backward():
            return logits_backward(loss_backward())

        return (loss, new_state), backward

    def loss(
        self,
        batch: tuple[NDArray[np.integer], NDArray[np.integer]],
        rng: np.random.Generator | None = None,
    ) -> tuple[np.floating, Callable[[], dict[str, NDArray]]]:
        """The loss of (inputs, targets), both (B, T), from the zero state."""
        inputs, targets = batch
        (loss, _state), backward = self.window_loss(
            inputs, targets, self.zero_state(len(inputs)), rng
        )
        return loss, backward

    def step(
        self, ids: NDArray[np.integer], state: dict[str, NDArray]
    ) -> tuple[NDArray, dict[str, NDArray]]:
        """One step of generation: ids (B,) -> logits (B, V) and the new state."""
        c, p = self.config, self.params
        new_state: dict[str, NDArray] = {}
        x = ops.embedding(ids, p["embedding.E"])[0] if c.embedding else ids  # (B, D) or (B,)
        for layer in range(c.layers):
            new = recurrent_layer.step(c.cell, p, f"layers.{layer}", x, _get(state, layer))
            _put(new_state, layer, new)
            x = new[0]  # (B, H)
        logits, _ = ops.linear(x, p["embedding.E"].T if c.tied else p["output.W"], p["output.b"])
        return logits, new_state

    def one_hot(self) -> "LanguageModel":
        """The same model with one-hot input, quicker to generate from: E W_x for W_x.

        It takes V (gates H) numbers more memory, and later changes of ``params`` do not
        reach it.
        """
        c, p = self.config, self.params
        if c.embedding == 0:
            return self
        params = {name: p[name] for name in p if name != "embedding.E"}
        params["layers.0.W_x"] = ops.linear(p["embedding.E"], p["layers.0.W_x"])[0]
        if c.tied:
            params["output.W"] = np.ascontiguousarray(p["embedding.E"].T)
        return LanguageModel(replace(c, embedding=0, tied=False), params=params)

    def _dropout(
        self, x: NDArray, rng: np.random.Generator | None
    ) -> tuple[NDArray, Callable[[NDArray], NDArray]]:
        if rng is None or self.config.dropout == 0:
            return x, lambda dy: dy
        return ops.dropout(x, self.config.dropout, rng)


def _get(state: dict[str, NDArray], layer: int) -> recurrent_layer.State:
    """One layer's entries: h and, of an lstm, c."""
    names = (f"layers.{layer}.h", f"layers.{layer}.c")
    return tuple(state[name] for name in names if name in state)


def _put(state: dict[str, NDArray], layer: int, entries: recurrent_layer.State) -> None:
    for name, entry in zip("hc", entries, strict=False):
        state[f"layers.{layer}.{name}"] = entry
