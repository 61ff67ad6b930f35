"""Many to one: a text classifier.

    hs = recurrence(E[ids])                      one to L layers, in one direction or both
    y = pool of hs over time                     one vector, however long the text
    P(label | text) = softmax(y W + b)

``pooling`` says how:

- "last": the last state; of the layer that reads backwards, the one at the first step.
- "mean", "max": over all steps, of each feature by itself.
- "attention": a mean with learned weights.  Each step's output is compared with one
  learned vector u, which asks "does this matter?" (Yang et al. 2016):
  weights = softmax over t of u . tanh(h_t W + b).

Source: Yang, Yang, Dyer, He, Smola and Hovy (2016), "Hierarchical attention networks for
document classification", section 2.2, for the attention (of words).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.models import recurrent_layer

POOLINGS = ("last", "mean", "max", "attention")

Batch = tuple[NDArray, NDArray, NDArray]


@dataclass(frozen=True)
class ClassifierConfig:
    """The sizes of a text classifier: everything but its weights."""

    vocabulary: int  # V
    classes: int
    embedding: int = 128  # D
    hidden: int = 128  # H, of each direction
    layers: int = 1  # L
    cell: str = "gru"
    bidirectional: bool = True
    pooling: str = "max"
    dropout: float = 0.3

    def __post_init__(self) -> None:
        for name in ("vocabulary", "classes", "embedding", "hidden", "layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, found {getattr(self, name)}")
        for name, known in (("cell", recurrent_layer.CELLS), ("pooling", POOLINGS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {known}, found {getattr(self, name)!r}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), found {self.dropout}")

    @property
    def width(self) -> int:
        """M, of a layer's output."""
        return 2 * self.hidden if self.bidirectional else self.hidden


class Classifier:
    """Embedding, L recurrent layers, a pool, an output layer.

    ``params``: ``embedding.E``; ``layers.0.W_x`` and so on (bidirectional:
    ``layers.0.forward.W_x``, ``layers.0.reverse.W_x``); of attention pooling ``attention.W``,
    ``attention.b`` and ``attention.u``; ``output.W`` and ``output.b``.
    """

    def __init__(
        self,
        config: ClassifierConfig,
        rng: np.random.Generator | None = None,
        *,
        params: dict[str, NDArray] | None = None,
        dtype: type = np.float32,
    ) -> None:
        """Fresh parameters drawn from rng, or those given."""
        self.config = config
        if params is None:
            if rng is None:
                raise TypeError("Classifier needs rng for fresh parameters, or params")
            params = self._new_parameters(rng, dtype)
        self.params = params

    def _new_parameters(self, rng: np.random.Generator, dtype: type) -> dict[str, NDArray]:
        c = self.config
        D, H, M = c.embedding, c.hidden, c.width
        params: dict[str, NDArray] = {
            "embedding.E": rng.standard_normal((c.vocabulary, D)).astype(dtype)
        }
        for layer in range(c.layers):
            inputs = D if layer == 0 else M
            for direction in (".forward", ".reverse") if c.bidirectional else ("",):
                params |= recurrent_layer.new_parameters(
                    c.cell, f"layers.{layer}{direction}", inputs, H, rng, dtype
                )
        bound = M**-0.5
        if c.pooling == "attention":
            params["attention.W"] = rng.uniform(-bound, bound, (M, M)).astype(dtype)
            params["attention.b"] = np.zeros(M, dtype)
            params["attention.u"] = rng.uniform(-bound, bound, M).astype(dtype)
        params["output.W"] = rng.uniform(-bound, bound, (M, c.classes)).astype(dtype)
        params["output.b"] = np.zeros(c.classes, dtype)
        return params

    def forward(
        self, ids: NDArray, lengths: NDArray, rng: np.random.Generator | None = None
    ) -> tuple[NDArray, Callable]:
        """ids (B, T), lengths (B,) -> logits (B, classes).  With rng, there is dropout.

        ``backward(dlogits)`` -> gradients keyed as ``params``.
        """
        c, p = self.config, self.params
        zero = recurrent_layer.zero_state(c.cell, len(ids), c.hidden, p["embedding.E"].dtype.type)
        dropout_backwards, layer_backwards = [], []

        x, embedding_backward = ops.embedding(ids, p["embedding.E"])  # (B, T, D)
        for layer in range(c.layers):
            x, dropout_backward = self._dropout(x, rng)
            if c.bidirectional:
                (x, lasts), layer_backward = recurrent_layer.run_bidirectional(
                    c.cell, p, f"layers.{layer}", x, (zero, zero), lengths
                )
                last = np.concatenate([state[0] for state in lasts], axis=1)
            else:
                (x, (last, *_)), layer_backward = recurrent_layer.run(
                    c.cell, p, f"layers.{layer}", x, zero, lengths
                )
            dropout_backwards.append(dropout_backward)
            layer_backwards.append(layer_backward)
        y, pool_backward = self._pool(x, last, lengths)  # (B, M)
        y, last_dropout_backward = self._dropout(y, rng)
        logits, output_backward = ops.linear(y, p["output.W"], p["output.b"])

        def backward(dlogits):
            dy, dW, db = output_backward(dlogits)
            dx, dlast, gradients = pool_backward(last_dropout_backward(dy))
            gradients |= {"output.W": dW, "output.b": db}
            for layer in reversed(range(c.layers)):
                top = layer == c.layers - 1
                dx, _dzero, layer_gradients = layer_backwards[layer](
                    dx, *([self._dlast(dlast)] if top else [])
                )
                gradients |= layer_gradients
                dx = dropout_backwards[layer](dx)
            gradients["embedding.E"] = embedding_backward(dx)
            return gradients

        return logits, backward

    def loss(
        self, batch: Batch, rng: np.random.Generator | None = None
    ) -> tuple[np.floating, Callable[[], dict[str, NDArray]]]:
        """The mean cross-entropy of (ids (B, T), lengths (B,), labels (B,)), in nats a text."""
        ids, lengths, labels = batch
        logits, logits_backward = self.forward(ids, lengths, rng)
        loss, loss_backward = ops.cross_entropy(logits, labels)

        def backward():
            return logits_backward(loss_backward())

        return loss, backward

    def _pool(self, hs: NDArray, last: NDArray, lengths: NDArray) -> tuple[NDArray, Callable]:
        """hs (B, T, M), last (B, M) -> (B, M).  ``backward(dy)`` -> dhs, dlast, gradients."""
        c, p = self.config, self.params
        if c.pooling == "last":
            return last, lambda dy: (np.zeros_like(hs), dy, {})
        if c.pooling in ("mean", "max"):
            y, op_backward = (ops.mean_pool if c.pooling == "mean" else ops.max_pool)(hs, lengths)
            return y, lambda dy: (op_backward(dy), np.zeros_like(last), {})

        a, linear_backward = ops.linear(hs, p["attention.W"], p["attention.b"])
        keys, tanh_backward = ops.tanh(a)
        query = np.tile(p["attention.u"], (len(hs), 1, 1))  # (B, 1, M): the same for all
        (context, _), attention_backward = ops.multiplicative_attention(
            query, keys, hs, lengths=lengths
        )

        def backward(dy):
            dquery, dkeys, dhs = attention_backward(dy[:, None])
            dhs_keys, dW, db = linear_backward(tanh_backward(dkeys))
            gradients = {
                "attention.W": dW,
                "attention.b": db,
                "attention.u": dquery.sum(axis=(0, 1)),
            }
            return dhs + dhs_keys, np.zeros_like(last), gradients

        return context[:, 0], backward

    def _dlast(self, dlast: NDArray) -> tuple:
        """The gradient by the last h as the layer takes it: of a state, or of one each way."""
        H = self.config.hidden
        if not self.config.bidirectional:
            return (dlast,)
        return (dlast[:, :H],), (dlast[:, H:],)

    def _dropout(
        self, x: NDArray, rng: np.random.Generator | None
    ) -> tuple[NDArray, Callable[[NDArray], NDArray]]:
        if rng is None or self.config.dropout == 0:
            return x, lambda dy: dy
        return ops.dropout(x, self.config.dropout, rng)
