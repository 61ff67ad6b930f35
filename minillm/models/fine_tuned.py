"""From a pre-trained model to a classifier: the same network with a new last layer.

    hs = encoder(ids)                            a vector for each token
    y = dropout(pool of hs)                      one vector for a text of any length
    P(label | text) = softmax(y W + b)

Published classifiers have a hidden layer between, y = dropout(f(pool of hs W_h + b_h)): f is tanh
after BERT, RoBERTa and MPNet, relu after DistilBERT, gelu after ELECTRA.  BERT's own is its pooler.

The encoder has learned from large amounts of text how words relate, by predicting the next word
(:mod:`minillm.models.language_model`, :mod:`minillm.models.gpt`, :mod:`minillm.models.llama`) or
masked words (:mod:`minillm.models.bert`, :mod:`minillm.models.encoders`).  That needs no labels.
Training starts from its weights, and only W and b are new, so a few hundred labels may suffice.
All weights are trained a little further, at a small learning rate, which preserves most of what the
encoder has learned.

``pooling`` is one of

- "first": for BERT, whose first token, [CLS], attends to the whole text.
- "last": for a model that reads from left to right: only its last token has seen the whole text.
- "mean", "max": over all tokens, separately for each feature.

A fine-tuned model soon memorises its training labels, and then becomes overconfident.  Label
smoothing prevents that (:mod:`minillm.ops.cross_entropy`).

Legend: B batch, T time, D width of the encoder.

Sources: Howard and Ruder (2018), "Universal language model fine-tuning for text classification";
Radford, Narasimhan, Salimans and Sutskever (2018), "Improving language understanding by generative
pre-training", equations 3 and 4; Devlin, Chang, Lee and Toutanova (2018), "BERT", section 3.2.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers import dense
from minillm.layers.fresh import ParamSpec
from minillm.layers.gradients import merge_gradients, prefixed
from minillm.layers.types import Backward, Op, Rng
from minillm.models import base, sizes
from minillm.models.bert import BERT, BERTConfig, exact_gelu
from minillm.models.decoders import Decoder, DecoderConfig
from minillm.models.encoders import Encoder, EncoderConfig
from minillm.models.gpt import GPT, GPTConfig
from minillm.models.language_model import LanguageModel, LanguageModelConfig
from minillm.models.llama import Llama, LlamaConfig

TrainedConfig = BERTConfig | GPTConfig | LlamaConfig | DecoderConfig | LanguageModelConfig


class Trained(NamedTuple):
    """A class of models that may be fine-tuned."""

    model: type[base.Model]
    config: type
    pooling: str  # by default
    headless: dict[str, bool]  # fields of the config that leave out the heads of its own task
    opened_by: str = ""  # the special token before a text: "bos" or none
    closed_by: str = ""  # the special token after a text: "eos" or none


NO_HEADS = {"masked_words": False, "pooler": False}

# By the kind of model.  BERT's bos is [CLS], its eos [SEP].
ENCODERS = {
    "lm": Trained(LanguageModel, LanguageModelConfig, "max", {"headless": True}),
    "gpt": Trained(GPT, GPTConfig, "last", {}, closed_by="eos"),
    "llama": Trained(Llama, LlamaConfig, "last", {"tied": True}, closed_by="eos"),
    "decoder": Trained(Decoder, DecoderConfig, "last", {"tied": True}, closed_by="eos"),
    "bert": Trained(BERT, BERTConfig, "mean", NO_HEADS, opened_by="bos", closed_by="eos"),
    "encoder": Trained(Encoder, EncoderConfig, "mean", NO_HEADS, opened_by="bos", closed_by="eos"),
}
PREFIX = "encoder."  # of the names of its weights


def _one_token(last: bool, hs: NDArray, lengths: NDArray) -> tuple[NDArray, Callable]:
    """The vector of the first or the last token; zero for a text without tokens."""
    places = np.maximum(lengths - 1, 0) if last else np.zeros_like(lengths)
    rows = np.arange(len(hs))
    not_empty = (lengths > 0)[:, None].astype(hs.dtype)
    y = hs[rows, places] * not_empty

    def backward(dy):
        dhs = np.zeros_like(hs)
        dhs[rows, places] = dy * not_empty
        return dhs

    return y, backward


ENCODER_POOLINGS: dict[str, Callable] = {
    "first": partial(_one_token, False),
    "last": partial(_one_token, True),
    "mean": ops.mean_pool,
    "max": ops.max_pool,
}
HEADS: dict[str, Op] = {"tanh": ops.tanh, "relu": ops.relu, "gelu": exact_gelu}


@dataclass(frozen=True)
class FineTunedConfig:
    """The sizes of a fine-tuned classifier."""

    kind: str  # of the encoder
    encoder: TrainedConfig
    classes: int
    pooling: str = "mean"
    head: str | None = None  # f of the hidden layer; None: no such layer
    dropout: float = 0.1  # of the pooled vector; the encoder has its own
    label_smoothing: float = 0.1  # in training

    def __post_init__(self) -> None:
        sizes.check_at_least(self, 1, "classes")
        sizes.check_one_of(self, "kind", tuple(ENCODERS))
        sizes.check_one_of(self, "pooling", tuple(ENCODER_POOLINGS))
        if self.head is not None:
            sizes.check_one_of(self, "head", tuple(HEADS))
        sizes.check_below_one(self, "dropout", "label_smoothing")

    @classmethod
    def nested(cls, values: Mapping[str, Any]) -> dict[str, type]:
        """The fields that are themselves configurations, and the class of each."""
        kind = str(values.get("kind"))
        return {"encoder": ENCODERS[kind].config} if kind in ENCODERS else {}

    @property
    def vocabulary(self) -> int:
        """The size of the encoder's vocabulary."""
        return self.encoder.vocabulary


class FineTuned(base.LabelModel[FineTunedConfig]):
    """An encoder, a pool, perhaps a hidden layer, and an output layer.

    ``params``: the weights of the encoder, such as ``encoder.embedding.E``; ``head.W`` (D, D) and
    ``head.b`` of a hidden layer; ``output.W`` (D, classes) and ``output.b``.
    """

    @staticmethod
    def new_parameters(config: FineTunedConfig) -> dict[str, ParamSpec]:
        """Declare the parameters, the encoder's included, which a trained one replaces."""
        Model = ENCODERS[config.kind].model
        params = {f"{PREFIX}{n}": f for n, f in Model.new_parameters(config.encoder).items()}
        width = config.encoder.width
        if config.head is not None:
            params |= dense.new_layer("head", width, width)
        return params | dense.new_layer("output", width, config.classes)

    def forward(self, ids: NDArray, lengths: NDArray, rng: Rng = None) -> tuple[NDArray, Backward]:
        """ids (B, T), lengths (B,) -> logits (B, classes).  With rng, there is dropout.

        ``backward(dlogits)`` -> gradients keyed as ``params``.
        """
        # Padding follows the tokens, so a causal Transformer never attends to it.
        encoder = encoder_of(self)
        options = {} if isinstance(encoder, base.CausalModel) else {"lengths": lengths}
        hs, encoder_backward = encoder.hidden(ids, rng=rng, **options)  # (B, T, D)
        y, pool_backward = ENCODER_POOLINGS[self.config.pooling](hs, lengths)  # (B, D)
        y, head_backward = self._hidden_layer(y)
        y, dropout_backward = ops.dropout(y, self.config.dropout, rng)
        logits, output_backward = dense.layer(self.params, "output", y)

        def backward(dlogits):
            dy, of_output = output_backward(dlogits)
            dy, of_head = head_backward(dropout_backward(dy))
            of_encoder = encoder_backward(pool_backward(dy))
            return merge_gradients(of_output, of_head, prefixed(PREFIX, of_encoder))

        return logits, backward

    def _hidden_layer(self, y: NDArray) -> tuple[NDArray, Callable]:
        """f(y W_h + b_h), or y without a hidden layer: y (B, D) -> (B, D).

        ``backward(dy)`` -> dy, gradients.
        """
        if self.config.head is None:
            return y, lambda dy: (dy, {})
        return dense.layer(self.params, "head", y, HEADS[self.config.head])


def encoder_of(model: base.Model[Any]) -> Any:
    """The encoder of a model, such as a BERT or a GPT, which shares its arrays."""
    Model = ENCODERS[model.config.kind].model
    return model.part(Model, model.config.encoder, PREFIX)
