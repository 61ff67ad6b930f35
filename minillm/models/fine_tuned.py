"""From a pre-trained model to a classifier: the same network with a new last layer.

    hs = encoder(ids)                            what it makes of each token
    y = dropout(pool of hs)                      one vector, however long the text
    P(label | text) = softmax(y W + b)

The encoder has learnt on much text what words mean beside each other: to predict the next one
(:mod:`minillm.models.language_model`, :mod:`minillm.models.gpt`) or those that were hidden
(:mod:`minillm.models.bert`).  That needs no labels.  Its weights are where training begins, and
only W and b are new, so that a few hundred labels may do; then all weights are trained a little
further, at a small learning rate, for what it knows should not be lost.

``pooling`` is one of

- "first": of BERT, whose first token, [CLS], attends to the whole text.
- "last": of a model that reads from left to right: only there has it seen the whole text.
- "mean", "max": over all tokens, of each feature by itself.

An encoder that predicts the next token may go on doing so while it learns the labels.  This
helper loss, weighted, keeps it from forgetting the language:

    loss = cross-entropy of the label + helper_loss * mean cross-entropy of the next tokens

A fine-tuned model soon knows its training labels by heart, and is then sure of its mistakes as
well.  Label smoothing keeps it from becoming quite sure (:mod:`minillm.ops.cross_entropy`).

Legend: B batch, T time, D width of the encoder.

Sources: Howard and Ruder (2018), "Universal language model fine-tuning for text classification";
Radford, Narasimhan, Salimans and Sutskever (2018), "Improving language understanding by generative
pre-training", equations 3 to 5; Devlin, Chang, Lee and Toutanova (2018), "BERT", section 3.2.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers import dense
from minillm.layers.dropout import dropout
from minillm.layers.fresh import Fresh
from minillm.layers.gradients import merge_gradients, prefixed, trained_within
from minillm.models import base, sizes
from minillm.models.base import Gradients
from minillm.models.bert import BERT, BERTConfig
from minillm.models.classifier import Batch
from minillm.models.gpt import GPT, GPTConfig
from minillm.models.language_model import LanguageModel, LanguageModelConfig

EncoderConfig = BERTConfig | GPTConfig | LanguageModelConfig

# By the kind of model: the class, the class of its config, and how its outputs become one vector.
ENCODERS: dict[str, tuple[type[base.Model], type, str]] = {
    "lm": (LanguageModel, LanguageModelConfig, "max"),
    "gpt": (GPT, GPTConfig, "last"),
    "bert": (BERT, BERTConfig, "mean"),
}
POOLINGS = ("first", "last", "mean", "max")
PREFIX = "encoder."  # of the names of its weights


@dataclass(frozen=True)
class FineTunedConfig:
    """The sizes of a fine-tuned classifier: everything but its weights."""

    kind: str  # of the encoder
    encoder: EncoderConfig
    classes: int
    pooling: str = "mean"
    dropout: float = 0.1  # of the pooled vector; the encoder has its own
    helper_loss: float = 0.0  # weight of the loss of the next tokens
    label_smoothing: float = 0.1  # in training

    def __post_init__(self) -> None:
        sizes.check_at_least(self, 1, "classes")
        sizes.check_at_least(self, 0, "helper_loss")
        sizes.check_one_of(self, "kind", tuple(ENCODERS))
        sizes.check_one_of(self, "pooling", POOLINGS)
        sizes.check_below_one(self, "dropout", "label_smoothing")
        if self.helper_loss and self.kind == "bert":
            raise ValueError("helper_loss needs an encoder that predicts the next token, not bert")

    @classmethod
    def nested(cls, values: Mapping[str, Any]) -> dict[str, type]:
        """The fields that are configurations, too, and the class of each."""
        kind = values.get("kind")
        return {"encoder": ENCODERS[kind][1]} if isinstance(kind, str) and kind in ENCODERS else {}

    @property
    def vocabulary(self) -> int:
        """How many tokens the encoder knows."""
        return self.encoder.vocabulary


# --- the encoder, for any head ----------------------------------------------------


def encoder_of(model: base.Model[Any]) -> Any:
    """The part of a model that reads: a BERT, a GPT or a LanguageModel with the same arrays."""
    Model, _, _ = ENCODERS[model.config.kind]
    return model.part(Model, model.config.encoder, PREFIX)


# --- the classifier ---------------------------------------------------------------


class FineTuned(base.Model[FineTunedConfig]):
    """An encoder, a pool, an output layer.

    ``params``: those of the encoder, such as ``encoder.embedding.E``; ``output.W`` (D, classes)
    and ``output.b``.
    """

    @staticmethod
    def new_parameters(config: FineTunedConfig) -> dict[str, Fresh]:
        """Fresh parameters, of the encoder too: those of a trained one take their place."""
        Model, _, _ = ENCODERS[config.kind]
        params = {f"{PREFIX}{n}": f for n, f in Model.new_parameters(config.encoder).items()}
        return params | dense.new_layer("output", config.encoder.width, config.classes)

    def forward(
        self, ids: NDArray, lengths: NDArray, rng: np.random.Generator | None = None
    ) -> tuple[NDArray, Callable[[NDArray], Gradients]]:
        """ids (B, T), lengths (B,) -> logits (B, classes).  With rng, there is dropout.

        ``backward(dlogits)`` -> gradients keyed as ``params``.
        """
        hs, encoder_backward = encoder_of(self).hidden(ids, lengths, rng=rng)  # (B, T, D)
        logits, head_backward = self._head(hs, lengths, rng)

        def backward(dlogits, trained=None):
            dhs, of_head = head_backward(dlogits)
            of_encoder = encoder_backward(dhs, trained_within(trained, PREFIX))
            return merge_gradients(of_head, prefixed(PREFIX, of_encoder))

        return logits, backward

    def loss(
        self,
        batch: Batch,
        rng: np.random.Generator | None = None,
        class_weights: NDArray | None = None,
    ) -> tuple[np.floating, Callable[..., Gradients]]:
        """The mean cross-entropy of (ids (B, T), lengths (B,), labels (B,)), in nats per text.

        With rng it is the loss to train on: with dropout, label smoothing and the helper loss.
        A batch that is a part of another has a fourth entry, by which the helper loss is multiplied
        (see :class:`minillm.training.minibatches.ClassificationTask`).
        """
        ids, lengths, labels = batch[:3]
        share = batch[3] if len(batch) > 3 else 1.0
        encoder = encoder_of(self)
        hs, encoder_backward = encoder.hidden(ids, lengths, rng=rng)  # (B, T, D)
        logits, head_backward = self._head(hs, lengths, rng)
        smoothing = 0.0 if rng is None else self.config.label_smoothing
        loss, loss_backward = base.label_loss(logits, labels, smoothing, class_weights)
        helper_backward, weight = None, share * self.config.helper_loss
        if weight and rng is not None and lengths.max() > 1:
            helper_loss, helper_backward = _next_tokens(encoder, hs, ids, lengths)
            loss = loss + weight * helper_loss

        def backward(trained=None):
            dhs, of_head = head_backward(loss_backward())
            of_output = {}
            if helper_backward is not None:
                dhs_helper, of_output = helper_backward(weight)
                dhs = dhs + dhs_helper
            of_encoder = encoder_backward(dhs, trained_within(trained, PREFIX))
            of_encoder = merge_gradients(of_output, of_encoder)
            return merge_gradients(of_head, prefixed(PREFIX, of_encoder))

        return loss, backward

    def _head(
        self, hs: NDArray, lengths: NDArray, rng: np.random.Generator | None
    ) -> tuple[NDArray, Callable]:
        """hs (B, T, D) -> logits (B, classes).  ``backward(dlogits)`` -> dhs, gradients."""
        y, pool_backward = pool(hs, lengths, self.config.pooling)  # (B, D)
        y, dropout_backward = dropout(y, self.config.dropout, rng)
        logits, output_backward = dense.layer(self.params, "output", y)

        def backward(dlogits):
            dy, gradients = output_backward(dlogits)
            return pool_backward(dropout_backward(dy)), gradients

        return logits, backward


def pool(hs: NDArray, lengths: NDArray, pooling: str) -> tuple[NDArray, Callable]:
    """A vector for each text: hs (B, T, D), lengths (B,) -> y (B, D).  ``backward(dy)`` -> dhs."""
    if pooling in ("mean", "max"):
        return (ops.mean_pool if pooling == "mean" else ops.max_pool)(hs, lengths)
    rows = np.arange(len(hs))
    places = np.zeros_like(rows) if pooling == "first" else np.maximum(lengths, 1) - 1
    there = (lengths > 0)[:, None].astype(hs.dtype)  # the pool of no tokens is zero
    y = hs[rows, places] * there

    def backward(dy):
        dhs = np.zeros_like(hs)
        dhs[rows, places] = dy * there
        return dhs

    return y, backward


def _next_tokens(
    encoder: Any, hs: NDArray, ids: NDArray, lengths: NDArray
) -> tuple[np.floating, Callable]:
    """The mean cross-entropy of each token but the first, given those before it.

    ``backward(weight)`` -> dhs and gradients, of weight times the loss.
    """
    followed = np.arange(ids.shape[1]) < lengths[:, None] - 1  # (B, T)
    targets = ids[:, 1:][followed[:, :-1]]
    logits, output_backward = encoder.predict(hs[followed])  # (tokens, V)
    loss, loss_backward = ops.cross_entropy(logits, targets)

    def backward(weight):
        drows, gradients = output_backward(loss_backward(weight))
        dhs = np.zeros_like(hs)
        dhs[followed] = drows
        return dhs, gradients

    return loss, backward
