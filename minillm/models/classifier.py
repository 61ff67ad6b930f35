"""Many to one: a text classifier.

    hs = recurrence(E[ids])                      one to L layers, in one direction or both
    y = pool of hs over time                     one vector, however long the text
    P(label | text) = softmax(y W + b)

``pooling`` is one of

- "last": the last state; of the layer that reads backwards, the one at the first step.
- "mean", "max": over all steps, of each feature by itself.
- "attention": a weighted mean.  The weights compare each step's output with one learned
  vector u: weights = softmax over t of u . tanh(h_t W + b).

With ``mixup`` alpha above 0, training reads mixtures of two texts i and j of a batch:

    a ~ Beta(alpha, alpha)        x = a E[ids_i] + (1 - a) E[ids_j]
    loss = a loss(x, label_i) + (1 - a) loss(x, label_j)

so that between two texts the output goes evenly from one label to the other.  One a is drawn for
a batch, and each text's partner by a permutation of the batch, as in the authors' program.

Source: Zhang, Cisse, Dauphin and Lopez-Paz (2018), "mixup: beyond empirical risk minimization",
section 2.  Yang, Yang, Dyer, He, Smola and Hovy (2016), "Hierarchical attention networks for
document classification", section 2.2, for the attention (of words).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers import feed_forward, recurrent
from minillm.layers.dropout import dropout
from minillm.models import base
from minillm.models.base import Gradients

POOLINGS = ("last", "mean", "max", "attention")

Batch = tuple[NDArray, NDArray, NDArray]
Mixture = tuple[NDArray, float]  # the partner of each text (B,), and the text's own share


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
    mixup: float = 0.0  # alpha; 0: texts are not mixed

    def __post_init__(self) -> None:
        base.check_at_least(self, 1, "vocabulary", "classes", "embedding", "hidden", "layers")
        base.check_one_of(self, "cell", tuple(recurrent.CELLS))
        base.check_one_of(self, "pooling", POOLINGS)
        base.check_below_one(self, "dropout")
        base.check_at_least(self, 0, "mixup")

    @property
    def width(self) -> int:
        """M, of a layer's output."""
        return 2 * self.hidden if self.bidirectional else self.hidden


class Classifier(base.Model[ClassifierConfig]):
    """Embedding, L recurrent layers, a pool, an output layer.

    ``params``: ``embedding.E``; ``layers.0.W_x`` and so on (bidirectional:
    ``layers.0.forward.W_x``, ``layers.0.reverse.W_x``); of attention pooling ``attention.W``,
    ``attention.b`` and ``attention.u``; ``output.W`` and ``output.b``.
    """

    def new_parameters(self, rng: np.random.Generator, dtype: type) -> dict[str, NDArray]:
        """Fresh parameters."""
        c = self.config
        V, D, H, M = c.vocabulary, c.embedding, c.hidden, c.width
        params: dict[str, NDArray] = {"embedding.E": rng.standard_normal((V, D)).astype(dtype)}
        for layer in range(c.layers):
            params |= recurrent.new_layer(
                f"layers.{layer}", c.cell, M if layer > 0 else D, H, rng, dtype, c.bidirectional
            )
        if c.pooling == "attention":
            params |= feed_forward.new_layer("attention", M, M, rng, dtype)
            params["attention.u"] = feed_forward.uniform((M,), rng, dtype)
        return params | feed_forward.new_layer("output", M, c.classes, rng, dtype)

    def forward(
        self,
        ids: NDArray,
        lengths: NDArray,
        rng: np.random.Generator | None = None,
        mixture: Mixture | None = None,
    ) -> tuple[NDArray, Callable]:
        """ids (B, T), lengths (B,) -> logits (B, classes).  With rng, there is dropout.

        With a mixture (partners (B,), a), those of mixed texts.
        ``backward(dlogits)`` -> gradients keyed as ``params``.
        """
        c, p = self.config, self.params
        zero = recurrent.zero_state(p, "layers", c.cell, c.layers, len(ids))
        top = f"layers.{c.layers - 1}.h"
        if mixture is None:
            (hs, last), recurrence_backward = recurrent.stack_over_ids(
                *(p, "layers", "embedding.E", ids, zero, c.cell, c.layers, lengths, c.dropout, rng),
                frozen=self.frozen,
            )  # (B, T, M)
        else:
            (hs, last), lengths, recurrence_backward = self._over_mixtures(
                ids, lengths, zero, rng, mixture
            )
        y, pool_backward = self._pool(hs, last[top], lengths)  # (B, M)
        y, dropout_backward = dropout(y, c.dropout, rng)
        logits, output_backward = feed_forward.layer(p, "output", y)

        def backward(dlogits):
            dy, output_gradients = output_backward(dlogits)
            dhs, dlast, pool_gradients = pool_backward(dropout_backward(dy))
            _dzero, gradients = recurrence_backward(dhs, {top: dlast})
            return self.keep(gradients | pool_gradients | output_gradients)

        return logits, backward

    def loss(
        self, batch: Batch, rng: np.random.Generator | None = None
    ) -> tuple[np.floating, Callable[[], Gradients]]:
        """The mean cross-entropy of (ids (B, T), lengths (B,), labels (B,)), in nats per text.

        With rng, there is dropout, and the mixtures of ``mixup``.
        """
        if rng is not None and self.config.mixup > 0:
            return self._mixed_loss(batch, rng)
        ids, lengths, labels = batch
        logits, logits_backward = self.forward(ids, lengths, rng)
        loss, loss_backward = ops.cross_entropy(logits, labels)

        def backward():
            return logits_backward(loss_backward())

        return loss, backward

    def _mixed_loss(
        self, batch: Batch, rng: np.random.Generator
    ) -> tuple[np.floating, Callable[[], Gradients]]:
        """The loss of mixtures: that of both labels, in the shares of their texts."""
        ids, lengths, labels = batch
        a = rng.beta(self.config.mixup, self.config.mixup)
        partners = rng.permutation(len(ids))
        logits, logits_backward = self.forward(ids, lengths, rng, (partners, a))
        own_loss, own_backward = ops.cross_entropy(logits, labels)
        other_loss, other_backward = ops.cross_entropy(logits, labels[partners])
        loss = a * own_loss + (1 - a) * other_loss

        def backward():
            return logits_backward(own_backward(a) + other_backward(1 - a))

        return loss, backward

    def _over_mixtures(
        self,
        ids: NDArray,
        lengths: NDArray,
        zero: base.State,
        rng: np.random.Generator | None,
        mixture: Mixture,
    ) -> tuple[tuple[NDArray, base.State], NDArray, Callable]:
        """The recurrence over mixed embeddings, and the lengths (B,) of the mixtures."""
        c, p = self.config, self.params
        partners, a = mixture
        x, embedding_backward = ops.embedding(ids, p["embedding.E"])  # (B, T, D)
        x, mixup_backward = ops.mixup(x, partners, a, lengths)
        x, dropout_backward = dropout(x, c.dropout, rng)
        longest = np.maximum(lengths, lengths[partners])
        frozen = max(0, self.frozen - 1)  # of the layers; the embedding comes first
        outputs, stack_backward = recurrent.stack(
            p, "layers", x, zero, c.cell, c.layers, longest, c.dropout, rng, frozen
        )

        def backward(dhs, dlast):
            dx, dzero, gradients = stack_backward(dhs, dlast)
            if self.frozen == 0:
                gradients["embedding.E"] = embedding_backward(mixup_backward(dropout_backward(dx)))
            return dzero, gradients

        return outputs, longest, backward

    def _pool(self, hs: NDArray, last: NDArray, lengths: NDArray) -> tuple[NDArray, Callable]:
        """hs (B, T, M), last (B, M) -> y (B, M).

        ``backward(dy)`` -> dhs, dlast, gradients; one of the first two is None: zero.
        """
        pooling = self.config.pooling
        if pooling == "last":
            return last, lambda dy: (None, dy, {})
        if pooling == "attention":
            return self._attention_pool(hs, lengths)
        y, op_backward = (ops.mean_pool if pooling == "mean" else ops.max_pool)(hs, lengths)
        return y, lambda dy: (op_backward(dy), None, {})

    def _attention_pool(self, hs: NDArray, lengths: NDArray) -> tuple[NDArray, Callable]:
        """The mean of hs with the weights softmax over t of u . tanh(h_t W + b)."""
        p = self.params
        keys, keys_backward = feed_forward.layer(p, "attention", hs, ops.tanh)  # (B, T, M)
        query = np.tile(p["attention.u"], (len(hs), 1, 1))  # (B, 1, M): the same for all
        (context, _), attention_backward = ops.multiplicative_attention(
            query, keys, hs, lengths=lengths
        )  # (B, 1, M)

        def backward(dy):
            dquery, dkeys, dvalues = attention_backward(dy[:, None])
            dhs, gradients = keys_backward(dkeys)
            gradients["attention.u"] = dquery.sum(axis=(0, 1))
            return dhs + dvalues, None, gradients

        return context[:, 0], backward
