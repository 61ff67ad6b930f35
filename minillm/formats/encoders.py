"""Encoders after BERT as transformers stores them: DistilBERT, RoBERTa, XLM-R, MPNet, ELECTRA.

    RobertaModel                      the blocks, and perhaps the pooler
    RobertaForMaskedLM                with the head that predicts masked words
    RobertaForSequenceClassification  a classifier: :mod:`minillm.formats.classification`

:mod:`minillm.formats.bert` explains the layout.  ``FILES`` says, for each family, where its files
differ; :mod:`minillm.models.encoders` has the changes of the model.  An ELECTRA's folder may hold
the output of its pre-training, which tells replaced tokens: it is left out.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from minillm.data.entries import Entries
from minillm.errors import InputError, Reasons
from minillm.formats.bert import BERTFolder, any_of
from minillm.formats.classification import Classifier
from minillm.formats.format import Format
from minillm.formats.huggingface import (
    Allowed,
    config_from,
    read_dropout,
)
from minillm.formats.tensors import Tensor
from minillm.models.encoders import BUCKETS, FAMILIES, Encoder, EncoderConfig
from minillm.models.fine_tuned import FineTuned
from minillm.text import WordPieces
from minillm.text.byte_tokens import ByteTokens

Names = Mapping[str, str | tuple[str, ...]]


@dataclass(frozen=True)
class Files:
    """The differences between the files of a family and BERT's."""

    classes: str  # the beginning of the names of its classes in transformers
    prefix: str  # of the names of the encoder's tensors
    names: Names  # ours, theirs, in the place of BERT's
    heads: str  # the beginning of the names of the tensors of the head for masked words
    output: str  # the tensor of the output for masked words, tied to the embedding
    classifier: tuple[str, str, str]  # hidden layer, output, activation
    more: tuple[str, ...] = ()  # other classes
    sizes: Mapping[str, str] = field(default_factory=dict)  # ours, theirs, in the place of BERT's
    dropout: tuple[str, str, str] = (  # of the blocks, of attention, of a classifier
        "hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout",
    )  # fmt: skip
    eps: str | None = "layer_norm_eps"  # None: BERT's
    fixed: Allowed = field(default_factory=lambda: _OF_BERT)
    others: tuple[str, ...] = ()  # entries that change no result
    defaults: Mapping[str, Any] = field(default_factory=dict)
    ignored: str = "$"  # a pattern of the names of tensors without use


_OF_BERT: Allowed = {
    "hidden_act": ("gelu",),
    "position_embedding_type": ("absolute",),
    "is_decoder": (False,),
    "add_cross_attention": (False,),
}


def _head(dense: str, layer_norm: str, bias: str) -> Names:
    """The names of the head for masked words."""
    return {
        "mask.W": f"{dense}.weight",
        "mask.b": f"{dense}.bias",
        "mask.norm.gain": f"{layer_norm}.weight",
        "mask.norm.bias": f"{layer_norm}.bias",
        "mask.output_b": bias,
    }


def _attention(layer: str, q: str, k: str, v: str, o: str) -> Names:
    """The names of the four matrices of attention and their biases."""
    return {
        "blocks.*.attention.W_qkv": tuple(f"{layer}.{part}.weight" for part in (q, k, v)),
        "blocks.*.attention.b_qkv": tuple(f"{layer}.{part}.bias" for part in (q, k, v)),
        "blocks.*.attention.W_o": f"{layer}.{o}.weight",
        "blocks.*.attention.b_o": f"{layer}.{o}.bias",
    }


_LM_HEAD = _head("lm_head.dense", "lm_head.layer_norm", "lm_head.bias")
_ON_FIRST = ("classifier.dense", "classifier.out_proj")

FILES = {
    "distilbert": Files(
        classes="DistilBert",
        prefix="distilbert.",
        names={
            **_attention("transformer.layer.*.attention", "q_lin", "k_lin", "v_lin", "out_lin"),
            "blocks.*.norm_1.gain": "transformer.layer.*.sa_layer_norm.weight",
            "blocks.*.norm_1.bias": "transformer.layer.*.sa_layer_norm.bias",
            "blocks.*.feed_forward.W_1": "transformer.layer.*.ffn.lin1.weight",
            "blocks.*.feed_forward.b_1": "transformer.layer.*.ffn.lin1.bias",
            "blocks.*.feed_forward.W_2": "transformer.layer.*.ffn.lin2.weight",
            "blocks.*.feed_forward.b_2": "transformer.layer.*.ffn.lin2.bias",
            "blocks.*.norm_2.gain": "transformer.layer.*.output_layer_norm.weight",
            "blocks.*.norm_2.bias": "transformer.layer.*.output_layer_norm.bias",
            **_head("vocab_transform", "vocab_layer_norm", "vocab_projector.bias"),
        },
        heads="vocab_",
        output="vocab_projector.weight",
        classifier=("pre_classifier", "classifier", "relu"),
        sizes={"layers": "n_layers", "heads": "n_heads", "width": "dim", "inner": "hidden_dim"},
        dropout=("dropout", "attention_dropout", "seq_classif_dropout"),
        eps=None,
        fixed={"activation": ("gelu",)},
        others=("qa_dropout", "sinusoidal_pos_embds", "tie_weights_"),
    ),
    "roberta": Files(
        classes="Roberta",
        prefix="roberta.",
        names=_LM_HEAD,
        heads="lm_head.",
        output="lm_head.decoder.weight",
        classifier=(*_ON_FIRST, "tanh"),
        defaults={"pad_token_id": 1},
        ignored=r"pooler\..*",
    ),
    "xlm-roberta": Files(
        classes="XLMRoberta",
        prefix="roberta.",
        names=_LM_HEAD,
        heads="lm_head.",
        output="lm_head.decoder.weight",
        classifier=(*_ON_FIRST, "tanh"),
        defaults={"pad_token_id": 1},
        ignored=r"pooler\..*",
    ),
    "mpnet": Files(
        classes="MPNet",
        prefix="mpnet.",
        names={
            **_attention("encoder.layer.*.attention.attn", "q", "k", "v", "o"),
            "blocks.*.norm_1.gain": "encoder.layer.*.attention.LayerNorm.weight",
            "blocks.*.norm_1.bias": "encoder.layer.*.attention.LayerNorm.bias",
            "relative.E": "encoder.relative_attention_bias.weight",
            **_LM_HEAD,
        },
        heads="lm_head.",
        output="lm_head.decoder.weight",
        classifier=(*_ON_FIRST, "tanh"),
        fixed={
            "hidden_act": ("gelu",),
            "pad_token_id": (1,),
            "relative_attention_num_buckets": (BUCKETS,),
        },
        defaults={"pad_token_id": 1},
        ignored=r"pooler\..*",
    ),
    "electra": Files(
        classes="Electra",
        prefix="electra.",
        names={
            "project.W": "embeddings_project.weight",
            "project.b": "embeddings_project.bias",
        },
        heads="discriminator_predictions.",
        output="",
        classifier=(*_ON_FIRST, "gelu"),
        more=("ElectraForPreTraining",),
        others=(
            *("summary_activation", "summary_last_dropout", "summary_type", "summary_use_proj"),
        ),
        ignored=r"discriminator_predictions\..*",
    ),
}


class EncoderFolder(BERTFolder):
    """Folders of one family."""

    models = (Encoder, FineTuned)
    tokenizers = (WordPieces, ByteTokens)
    kind = "encoder"
    signature = None

    def __init__(self, family: str):
        self.family, row, changes = family, FILES[family], FAMILIES[family]
        self.row = row
        hidden, output, activation = row.classifier
        architecture = f"{row.classes}ForSequenceClassification"
        masked = [f"{row.classes}ForMaskedLM"] if changes.masked_words else []
        sizes = {**BERTFolder.sizes, **row.sizes}
        for name, found in (("segments", changes.segments), ("context", False)):
            if not found:
                del sizes[name]
        declared = {
            "model_type": family,
            "architectures": (f"{row.classes}Model", *masked, architecture, *row.more),
            "classifier": Classifier(architecture, hidden, output, activation, row.dropout[2]),
            "sizes": sizes,
            "fixed": row.fixed,
            "others": {*row.dropout, *row.others, row.eps, *_READ},
            "names": {**BERTFolder.names, **row.names},
            "prefix": row.prefix,
            "heads": (row.heads, f"{hidden.split('.')[0]}.", "classifier."),
            "output": row.output,
            "buffers": re.compile(f"{BERTFolder.buffers.pattern}|{row.ignored}"),
            "roles": ("bos", "eos"),
        }
        for name, value in declared.items():  # they replace what the class declares of a BERT
            setattr(self, name, value)

    @classmethod
    def declared(cls) -> list[Format]:
        """A format for each family."""
        return [cls(family) for family in FILES]

    def describes(self, config: Any) -> bool:
        """Whether it is the config of an encoder of the family."""
        return isinstance(config, EncoderConfig) and config.family == self.family

    def encoder(self, file: Entries, **heads: bool) -> EncoderConfig:
        """The sizes of the encoder, and the numbers that its changes need."""
        file = Entries(file.path, {**self.row.defaults, **file.values})
        row, changes, given = self.row, FAMILIES[self.family], dict[str, Any](heads)
        reasons, unread = Reasons(), 0
        with reasons:
            if file.values.get("pad_token_id") is not None:
                given["padding"] = file.size("pad_token_id", 0)
            if changes.after_padding:
                unread = given.get("padding", EncoderConfig.padding) + 1
            given["context"] = file.size("max_position_embeddings", unread + 2) - unread
        with reasons:
            given["dropout"] = read_dropout(file, row.dropout[0])
        with reasons:
            if row.eps is not None:
                given["eps"] = file.number(row.eps, EncoderConfig.eps)
        with reasons:
            if changes.narrow:
                width = file.size("embedding_size")
                given["embedding"] = None if width == file.size("hidden_size") else width
        if not changes.segments:
            given["segments"] = 1
        with reasons:
            config = config_from(file, EncoderConfig, self.sizes, family=self.family, **given)
        reasons.check()
        return config

    def heads_of(self, file: Entries, tensors: Mapping[str, Tensor]) -> dict[str, bool]:
        """The heads that have weights: sentence encoders name architectures with heads, too."""
        changes = FAMILIES[self.family]
        return {
            "masked_words": changes.masked_words and any_of(tensors, self.row.heads),
            "pooler": changes.pooler and any_of(tensors, "pooler."),
        }

    def entries(self, config: EncoderConfig) -> dict[str, Any]:  # type: ignore[override]
        """The heads, the numbers of the changes, and dropout as in our model."""
        row = self.row
        blocks, attention, _ = row.dropout
        only = row.fixed.get("pad_token_id", (config.padding,))
        if config.padding not in only:
            raise InputError(f"padding: a {self.family} has {only[0]}, found {config.padding}")
        entries: dict[str, Any] = {
            "architectures": [f"{row.classes}{'ForMaskedLM' if config.masked_words else 'Model'}"],
            "max_position_embeddings": config.context + config.unread,
            self.sizes["inner"]: config.inner or 4 * config.width,
            "pad_token_id": config.padding,
            blocks: config.dropout,
            attention: 0.0,
        }
        if row.eps is not None:
            entries[row.eps] = config.eps
        elif config.eps != EncoderConfig.eps:
            raise InputError(f"eps: a {self.family} has {EncoderConfig.eps}, found {config.eps}")
        if config.changes.narrow:
            entries["embedding_size"] = config.embedding or config.width
        return entries


# Entries that are read below.
_READ = ("max_position_embeddings", "pad_token_id", "embedding_size", "tie_word_embeddings")
