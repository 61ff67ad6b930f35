"""The recurrent text classifier, many to one.

    hs = recurrence(E[ids])                      one to L layers, in one direction or both
    y = pool of hs over time                     one vector for a text of any length
    P(label | text) = softmax(y W + b)

``pooling`` is one of

- "last": the last state; a layer that reads backwards reaches it at the first step.
- "mean", "max": over all steps, each feature by itself.
- "attention": a weighted mean.  The weights compare each step's output with a learned
  vector u: weights = softmax over t of u . tanh(h_t W + b).

Source: Yang, Yang, Dyer, He, Smola and Hovy (2016), "Hierarchical attention networks for
document classification", section 2.2, for the attention (of words).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers import dense, recurrent
from minillm.layers.fresh import ParamSpec, at_depth, normal, uniform
from minillm.layers.gradients import merge_gradients
from minillm.layers.types import Rng
from minillm.models import base, sizes

CLASSIFIER_POOLINGS = ("last", "mean", "max", "attention")


@dataclass(frozen=True)
class ClassifierConfig:
    """The sizes of a text classifier."""

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
        sizes.check_at_least(self, 1, "vocabulary", "classes", "embedding", "hidden", "layers")
        sizes.check_one_of(self, "cell", tuple(recurrent.CELLS))
        sizes.check_one_of(self, "pooling", CLASSIFIER_POOLINGS)
        sizes.check_below_one(self, "dropout")

    @property
    def width(self) -> int:
        """M, the width of a layer's output."""
        return 2 * self.hidden if self.bidirectional else self.hidden


class Classifier(base.LabelModel[ClassifierConfig]):
    """Embedding, L recurrent layers, a pool, an output layer.

    ``params``: ``embedding.E``; ``layers.0.W_x`` and so on (bidirectional:
    ``layers.0.forward.W_x`` and ``layers.0.reverse.W_x``); for attention pooling
    ``attention.W``, ``attention.b`` and ``attention.u``; ``output.W`` and ``output.b``.
    """

    @staticmethod
    def new_parameters(config: ClassifierConfig) -> dict[str, ParamSpec]:
        """Declare the parameters."""
        c = config
        V, D, H, M = c.vocabulary, c.embedding, c.hidden, c.width
        params = {"embedding.E": ParamSpec((V, D), normal(), "table", 0)}
        for layer in range(c.layers):
            I = M if layer > 0 else D
            own = recurrent.new_layer(f"layers.{layer}", c.cell, I, H, c.bidirectional)
            params |= at_depth(1 + layer, own)
        if c.pooling == "attention":
            params |= dense.new_layer("attention", M, M)
            params["attention.u"] = ParamSpec((M,), uniform(M**-0.5))
        return params | dense.new_layer("output", M, c.classes)

    def forward(self, ids: NDArray, lengths: NDArray, rng: Rng = None) -> tuple[NDArray, Callable]:
        """ids (B, T), lengths (B,) -> logits (B, classes).  With rng, there is dropout.

        ``backward(dlogits)`` -> gradients keyed as ``params``.
        """
        c, p = self.config, self.params
        zero = recurrent.zero_state(p, "layers", c.cell, c.layers, len(ids))
        (hs, state), stack_backward = recurrent.stack_over_ids(
            p, "layers", "embedding.E", ids, zero, c.cell, c.layers, lengths, c.dropout, rng
        )  # (B, T, M)
        top = f"layers.{c.layers - 1}.h"
        y, pool_backward = self._pool(hs, state[top], lengths)  # (B, M)
        y, dropout_backward = ops.dropout(y, c.dropout, rng)
        logits, output_backward = dense.layer(p, "output", y)

        def backward(dlogits):
            # logits = y W + b
            dy, of_output = output_backward(dlogits)
            dhs, dlast, of_pool = pool_backward(dropout_backward(dy))
            _dzero, of_layers = stack_backward(dhs, {top: dlast})
            return merge_gradients(of_layers, of_pool, of_output)

        return logits, backward

    def _pool(self, hs: NDArray, last: NDArray, lengths: NDArray) -> tuple[NDArray, Callable]:
        """hs (B, T, M), last (B, M) -> y (B, M).

        ``backward(dy)`` -> dhs, dlast, gradients; one of the first two is None, which means zero.
        """
        pooling = self.config.pooling
        if pooling == "last":
            return last, lambda dy: (None, dy, {})
        if pooling == "attention":
            return self._attention_pool(hs, lengths)
        op = ops.mean_pool if pooling == "mean" else ops.max_pool
        y, op_backward = op(hs, lengths)
        return y, lambda dy: (op_backward(dy), None, {})

    def _attention_pool(self, hs: NDArray, lengths: NDArray) -> tuple[NDArray, Callable]:
        """The mean of hs with the weights softmax over t of u . tanh(h_t W + b)."""
        p = self.params
        keys, keys_backward = dense.layer(p, "attention", hs, ops.tanh)  # (B, T, M)
        query = np.tile(p["attention.u"], (len(hs), 1, 1))  # (B, 1, M): the same for all
        (context, _), attention_backward = ops.multiplicative_attention(
            query, keys, hs, lengths=lengths
        )  # (B, 1, M)

        def backward(dy):
            dquery, dkeys, dvalues = attention_backward(dy[:, None])
            dhs, of_keys = keys_backward(dkeys)
            of_u = {"attention.u": dquery.sum(axis=(0, 1))}
            return dhs + dvalues, None, merge_gradients(of_keys, of_u)

        return context[:, 0], backward
