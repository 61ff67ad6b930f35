"""The neural n-gram: the first language model that learnt what words have in common.

    x = (E[w_1], ..., E[w_{n-1}])             the context's embeddings, side by side
    h = tanh(x W_h + b_h)
    P(w_n | w_1 .. w_{n-1}) = softmax(h W + b + x W_direct)

It sees as far as an n-gram model, but a context that was never seen is close to
those that were, because its words' embeddings are.  The direct connections from
x to the output are optional, as in the paper.

Source: Bengio, Ducharme, Vincent and Jauvin (2003), "A neural probabilistic
language model", equation 1 and the lines after it (their C, H, U and W are E,
W_h, W and W_direct here).  They trained by plain gradient descent with weight
decay; the optimiser is not part of the model here.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minillm import ops


@dataclass(frozen=True)
class NeuralNGramConfig:
    """The sizes of a neural n-gram model: everything but its weights."""

    vocabulary: int  # V
    order: int = 5  # n
    embedding: int = 60  # D
    hidden: int = 100  # H
    direct: bool = False

    def __post_init__(self) -> None:
        for name, least in (("vocabulary", 1), ("order", 2), ("embedding", 1), ("hidden", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, found {getattr(self, name)}")


class NeuralNGram:
    """Embedding, one hidden layer, output layer.

    ``params``: ``embedding.E`` (V, D); ``hidden.W`` ((n - 1) D, H), ``hidden.b``;
    ``output.W`` (H, V), ``output.b``; ``direct.W`` ((n - 1) D, V), if it has one.
    A state is what of the text a window needs from before it: ``context`` (B, n - 2).
    """

    def __init__(
        self,
        config: NeuralNGramConfig,
        rng: np.random.Generator | None = None,
        *,
        params: dict[str, NDArray] | None = None,
        dtype: type = np.float32,
    ) -> None:
        """Fresh parameters drawn from rng, or those given."""
        self.config = config
        if params is None:
            if rng is None:
                raise TypeError("NeuralNGram needs rng for fresh parameters, or params")
            params = self._new_parameters(rng, dtype)
        self.params = params

    def _new_parameters(self, rng: np.random.Generator, dtype: type) -> dict[str, NDArray]:
        c = self.config
        width = (c.order - 1) * c.embedding

        def uniform(rows, columns):
            return rng.uniform(-(rows**-0.5), rows**-0.5, (rows, columns)).astype(dtype)

        params: dict[str, NDArray] = {
            "embedding.E": rng.standard_normal((c.vocabulary, c.embedding)).astype(dtype),
            "hidden.W": uniform(width, c.hidden),
            "hidden.b": np.zeros(c.hidden, dtype),
            "output.W": uniform(c.hidden, c.vocabulary),
            "output.b": np.zeros(c.vocabulary, dtype),
        }
        if c.direct:
            params["direct.W"] = np.zeros((width, c.vocabulary), dtype)
        return params

    def forward(self, contexts: NDArray[np.integer]) -> tuple[NDArray, Callable]:
        """Logits of what follows each context: contexts (..., n - 1) -> (..., V).

        ``backward(dlogits)`` -> gradients keyed as ``params``.
        """
        c, p = self.config, self.params
        embedded, embedding_backward = ops.embedding(contexts, p["embedding.E"])  # (..., n - 1, D)
        x = embedded.reshape(*contexts.shape[:-1], -1)  # (..., (n - 1) D)
        a, hidden_backward = ops.linear(x, p["hidden.W"], p["hidden.b"])  # (..., H)
        h, tanh_backward = ops.tanh(a)
        logits, output_backward = ops.linear(h, p["output.W"], p["output.b"])  # (..., V)
        if c.direct:
            # The output's bias is in logits already.
            no_bias = np.zeros_like(p["output.b"])
            direct, direct_backward = ops.linear(x, p["direct.W"], no_bias)
            logits = logits + direct

        def backward(dlogits):
            gradients = {}
            # logits = h W + b + x W_direct
            dh, gradients["output.W"], gradients["output.b"] = output_backward(dlogits)
            # a = x W_h + b_h; h = tanh(a)
            dx, gradients["hidden.W"], gradients["hidden.b"] = hidden_backward(tanh_backward(dh))
            if c.direct:
                dx_direct, gradients["direct.W"], _ = direct_backward(dlogits)
                dx = dx + dx_direct
            gradients["embedding.E"] = embedding_backward(dx.reshape(embedded.shape))
            return gradients

        return logits, backward

    # From here on, what training and generation ask of any language model.

    def zero_state(self, B: int) -> dict[str, NDArray]:
        """The state before a text begins, as if id 0 had gone on for ever, for B texts."""
        return {"context": np.zeros((B, self.config.order - 2), np.int64)}

    def window_loss(
        self,
        inputs: NDArray[np.integer],
        targets: NDArray[np.integer],
        state: dict[str, NDArray],
        rng: np.random.Generator | None = None,
    ) -> tuple[tuple[np.floating, dict[str, NDArray]], Callable]:
        """The loss over a window of text, and the state after it.

        inputs and targets (B, T) -> (loss in nats per token, state).  There is no
        dropout for rng.  ``backward()`` -> gradients keyed as ``params``.
        """
        n = self.config.order
        text = np.concatenate([state["context"], inputs], axis=1)  # (B, n - 2 + T)
        contexts = np.lib.stride_tricks.sliding_window_view(text, n - 1, axis=1)  # (B, T, n - 1)
        logits, logits_backward = self.forward(contexts)
        loss, loss_backward = ops.cross_entropy(logits, targets)

        def backward():
            return logits_backward(loss_backward())

        return (loss, {"context": text[:, text.shape[1] - (n - 2) :]}), backward

    def loss(
        self,
        batch: tuple[NDArray[np.integer], NDArray[np.integer]],
        rng: np.random.Generator | None = None,
    ) -> tuple[np.floating, Callable[[], dict[str, NDArray]]]:
        """The loss of (contexts (B, n - 1), next tokens (B,))."""
        contexts, targets = batch
        logits, logits_backward = self.forward(contexts)
        loss, loss_backward = ops.cross_entropy(logits, targets)

        def backward():
            return logits_backward(loss_backward())

        return loss, backward

    def step(
        self, ids: NDArray[np.integer], state: dict[str, NDArray]
    ) -> tuple[NDArray, dict[str, NDArray]]:
        """One step of generation: ids (B,) -> logits (B, V) and the new state."""
        context = np.concatenate([state["context"], ids[:, None]], axis=1)  # (B, n - 1)
        logits, _ = self.forward(context)
        return logits, {"context": context[:, 1:]}
