"""The recurrent language model: it predicts the next token from all tokens before it.

    x_t = E[id_t]                             embedding
    h_t = recurrence(x_t, h_{t-1})            one to L layers of rnn, lstm or gru
    y_t = dropout(h_t)                        in training
    P(id_{t+1} | id_1 .. id_t) = softmax(y_t W + b)

An embedding of width 0 means one-hot input: x_t W_x is then a row of W_x.

The model is trained by truncated backpropagation through time.  The text is read in windows
of T steps.  The state at the end of one window is the initial state of the next, but no
gradient flows back from a window to the one before.

Sources: Mikolov et al. (2010), "Recurrent neural network based language model";
Williams and Peng (1990) for the truncation; Zaremba, Sutskever and Vinyals (2014),
"Recurrent neural network regularization", for the place of the dropout; Press and Wolf
(2017), "Using the output embedding to improve language models", for the tied weights.
"""

from collections.abc import Callable
from dataclasses import dataclass

from numpy.typing import NDArray

from minillm import ops
from minillm.layers import dense, embedding, recurrent
from minillm.layers.fresh import ParamSpec, at_depth, normal
from minillm.layers.gradients import merge_gradients
from minillm.layers.types import Backward, Ids, Rng, State
from minillm.models import base, sizes


@dataclass(frozen=True)
class LanguageModelConfig:
    """The sizes of a language model."""

    vocabulary: int  # V
    embedding: int = 128  # D; 0 for one-hot input
    hidden: int = 512  # H
    layers: int = 1  # L
    cell: str = "lstm"
    dropout: float = 0.2
    tied: bool = False  # the output layer's weight is the embedding's: needs D = H
    headless: bool = False  # without an output layer, as the encoder of another model

    def __post_init__(self) -> None:
        sizes.check_at_least(self, 1, "vocabulary", "hidden", "layers")
        sizes.check_at_least(self, 0, "embedding")
        sizes.check_one_of(self, "cell", tuple(recurrent.CELLS))
        sizes.check_below_one(self, "dropout")
        if self.tied and self.embedding != self.hidden:
            raise sizes.wrong(self, "embedding", f"{self.hidden}, as hidden, for tied weights")

    @property
    def width(self) -> int:
        """The width of the last layer's outputs, H."""
        return self.hidden


class LanguageModel(base.WindowModel[LanguageModelConfig]):
    """Embedding, L recurrent layers, output layer.

    ``params``: ``embedding.E`` (V, D), absent where D is 0; ``layers.0.W_x`` and so on, as the ops
    name them (with one-hot input, ``layers.0.W_x`` has V rows); ``output.W`` (H, V), absent where
    it is tied to E; ``output.b`` (V,).
    A state has ``layers.0.h`` (B, H) and, for an lstm, ``layers.0.c``, for each layer.
    """

    @staticmethod
    def new_parameters(config: LanguageModelConfig) -> dict[str, ParamSpec]:
        """Declare the parameters; the first predictions are almost uniform."""
        c = config
        V, D, H = c.vocabulary, c.embedding, c.hidden
        params: dict[str, ParamSpec] = {}
        if D:
            # A tied E is the output layer too, and logits should start near zero.
            scale = H**-0.5 if c.tied else 1.0
            params["embedding.E"] = ParamSpec((V, D), normal(scale), "table", 0)
        for layer in range(c.layers):
            inputs = H if layer > 0 else D or V
            own = recurrent.new_layer(f"layers.{layer}", c.cell, inputs, H)
            params |= at_depth(1 + layer, own)
        if c.headless:
            return params
        if c.tied:
            return params | {"output.b": ParamSpec((V,))}
        return params | dense.new_layer("output", H, V)

    def zero_state(self, B: int) -> State:
        """The state before a text begins, for B texts at a time."""
        c = self.config
        return recurrent.zero_state(self.params, "layers", c.cell, c.layers, B)

    def forward(
        self, ids: Ids, state: State, rng: Rng = None
    ) -> tuple[tuple[NDArray, State], Callable]:
        """The logits of the token after each id, and the state after the last.

        ids (B, T) -> logits (B, T, V), state.  With rng there is dropout before each layer
        (but not of one-hot input) and before the output, never between steps.
        ``backward(dlogits)`` -> gradients keyed as ``params``.
        """
        (hs, last), recurrence_backward = self.recurrence(ids, state, rng)  # (B, T, H)
        y, dropout_backward = ops.dropout(hs, self.config.dropout, rng)
        logits, output_backward = self.predict(y)  # (B, T, V)

        def backward(dlogits):
            # logits = y W + b
            dy, of_output = output_backward(dlogits)
            dhs = dropout_backward(dy)
            _dstate, of_recurrence = recurrence_backward(dhs)
            return merge_gradients(of_recurrence, of_output)  # a tied E has two uses

        return (logits, last), backward

    def predict(self, y: NDArray) -> tuple[NDArray, Callable]:
        """The logits: y (..., H) -> y W + b (..., V); tied, W = E^T.

        ``backward(dlogits)`` -> dy, gradients.
        """
        if self.config.tied:
            return embedding.output(self.params, "embedding.E", y, "output.b")
        return dense.layer(self.params, "output", y)

    def hidden(
        self, ids: Ids, lengths: Ids | None = None, rng: Rng = None
    ) -> tuple[NDArray, Backward]:
        """The last layer's outputs, for a model that is made of this one.

        ids (B, T), lengths (B,) or None: all T -> hs (B, T, H), zero in the padding.  With rng
        there is dropout.  ``backward(dhs)`` -> gradients.
        """
        state = self.zero_state(len(ids))
        (hs, _), recurrence_backward = self.recurrence(ids, state, rng, lengths)

        def backward(dhs):
            return recurrence_backward(dhs)[1]

        return hs, backward

    def recurrence(
        self, ids: Ids, state: State, rng: Rng = None, lengths: Ids | None = None
    ) -> tuple[tuple[NDArray, State], Callable]:
        """x_t = E[id_t], and h_t = recurrence(x_t, h_{t-1}).

        ids (B, T), lengths (B,) or None: all T -> hs (B, T, H), the state after the last step.
        With rng there is dropout before each layer.  ``backward(dhs)`` -> dstate, gradients.
        """
        c, p = self.config, self.params
        E = "embedding.E" if c.embedding else None
        return recurrent.stack_over_ids(
            p, "layers", E, ids, state, c.cell, c.layers, lengths, c.dropout, rng
        )
