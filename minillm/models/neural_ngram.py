"""The neural n-gram: the first language model in which similar words share their statistics.

    x = (E[w_1], ..., E[w_{n-1}])             the embeddings of the context, side by side
    h = tanh(x W_h + b_h)
    P(w_n | w_1 .. w_{n-1}) = softmax(h W + b)

It sees as many words as an n-gram model.  But a context that was never seen is close to
contexts that were, because the embeddings of their words are similar.

Source: Bengio, Ducharme, Vincent and Jauvin (2003), "A neural probabilistic language
model", equation 1 and the lines after it (their C, H and U are E, W_h and W here), without
the optional direct connections from x to the output.  Dropout, of x and of h, is not in the
paper.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers import dense, embedding
from minillm.layers.fresh import ParamSpec, normal
from minillm.layers.gradients import merge_gradients
from minillm.layers.types import Ids, Rng, State
from minillm.models import base, sizes


@dataclass(frozen=True)
class NeuralNGramConfig:
    """The sizes of a neural n-gram model."""

    vocabulary: int  # V
    order: int = 8  # n
    embedding: int = 32  # D
    hidden: int = 512  # H
    dropout: float = 0.0

    def __post_init__(self) -> None:
        sizes.check_at_least(self, 1, "vocabulary", "embedding", "hidden")
        sizes.check_at_least(self, 2, "order")
        sizes.check_below_one(self, "dropout")


class NeuralNGram(base.WindowModel[NeuralNGramConfig]):
    """Embedding, one hidden layer, output layer.

    ``params``: ``embedding.E`` (V, D); ``hidden.W`` ((n - 1) D, H), ``hidden.b``;
    ``output.W`` (H, V), ``output.b``.
    A state has ``context`` (B, n - 2): the last ids before a window, which its first contexts need.
    """

    @staticmethod
    def new_parameters(config: NeuralNGramConfig) -> dict[str, ParamSpec]:
        """Declare the parameters."""
        c = config
        params = {"embedding.E": ParamSpec((c.vocabulary, c.embedding), normal(), "table", 0)}
        params |= dense.new_layer("hidden", (c.order - 1) * c.embedding, c.hidden)
        return params | dense.new_layer("output", c.hidden, c.vocabulary)

    def zero_state(self, B: int) -> State:
        """The state before a text begins: the context is all id 0."""
        return {"context": np.zeros((B, self.config.order - 2), np.int64)}

    def forward(
        self, ids: Ids, state: State, rng: Rng = None
    ) -> tuple[tuple[NDArray, State], Callable]:
        """The logits of the token after each id, and the state after the last.

        ids (B, T) -> logits (B, T, V), state.  With rng there is dropout.
        ``backward(dlogits)`` -> gradients keyed as ``params``.
        """
        n = self.config.order
        text = np.concatenate([state["context"], ids], axis=1)  # (B, n - 2 + T)
        contexts = np.lib.stride_tricks.sliding_window_view(text, n - 1, axis=1)  # (B, T, n - 1)
        logits, backward = self.predict(contexts, rng)
        return (logits, self.state_after(text)), backward

    def predict(self, contexts: Ids, rng: Rng = None) -> tuple[NDArray, Callable]:
        """The logits of the id after each context: contexts (..., n - 1) -> (..., V).

        ``backward(dlogits)`` -> gradients keyed as ``params``.
        """
        c, p = self.config, self.params
        embedded, embedding_backward = embedding.layer(p, {"embedding.E": contexts})
        x = embedded.reshape(*contexts.shape[:-1], -1)  # (..., n - 1, D) -> (..., (n - 1) D)
        x, x_dropout_backward = ops.dropout(x, c.dropout, rng)
        h, hidden_backward = dense.layer(p, "hidden", x, ops.tanh)  # (..., H)
        h, h_dropout_backward = ops.dropout(h, c.dropout, rng)
        logits, output_backward = dense.layer(p, "output", h)  # (..., V)

        def backward(dlogits):
            # logits = h W + b
            dh, of_output = output_backward(dlogits)
            # h = tanh(x W_h + b_h)
            dx, of_hidden = hidden_backward(h_dropout_backward(dh))
            dembedded = x_dropout_backward(dx).reshape(embedded.shape)
            return merge_gradients(of_hidden, of_output, embedding_backward(dembedded))

        return logits, backward

    def state_after(self, text: Ids) -> State:
        """The state that the last n - 2 ids of a text make."""
        return {"context": text[:, text.shape[1] - (self.config.order - 2) :].astype(np.int64)}
