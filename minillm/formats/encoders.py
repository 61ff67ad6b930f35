"""Encoders as transformers stores them: BERT, DistilBERT, RoBERTa, XLM-R, MPNet, ELECTRA.

    BertModel                       the blocks, and perhaps the pooler
    BertForMaskedLM                 with the head that predicts masked words
    BertForPreTraining              also with one that predicts whether a second part follows
    BertForNextSentencePrediction   with that head alone, which is left out, as no model uses it
    BertForSequenceClassification   a classifier of texts, with its labels

Linear layers have weights (out, in), the transpose of ours.  Query, key and value are three
matrices; ours is one, with the three side by side.  As in ours, the output for masked words is tied
to the token embedding: it has a bias, but no weight.  :mod:`minillm.models.encoders` has the
changes of BERT's relatives.  An ELECTRA's folder may hold the output of its pre-training, which
tells replaced tokens: it is left out.

The vector of a text's first token goes through a classifier's hidden layer and output, as in
:mod:`minillm.models.fine_tuned`.  A BERT's hidden layer is its pooler.
"""

from dataclasses import replace
from typing import Any

from minillm.data.entries import Entries, in_file
from minillm.errors import InputError, short
from minillm.formats.layout import Classifier, Layout, Tensors, relative
from minillm.models.bert import BERT, BERTConfig
from minillm.models.encoders import FAMILIES, Encoder, EncoderConfig
from minillm.models.fine_tuned import FineTunedConfig

LABELS = "ForSequenceClassification"  # the end of the names of classifiers

_ENDS = ("Model", "ForMaskedLM", "ForPreTraining", "ForNextSentencePrediction")  # of classes
_HEADS = {"masked_words": "mask", "pooler": "pooler"}


def _fields(layout: Layout, file: Entries, tensors: Tensors) -> dict[str, Any]:
    """The heads that have weights, and the numbers that the family's changes need.

    Sentence encoders name architectures with heads that they lack.
    """
    names = {**layout.names, **layout.heads}
    found: dict[str, Any] = {
        head: f"{names.get(layer)}.weight" in tensors for head, layer in _HEADS.items()
    }
    changes, unread = FAMILIES.get(layout.family), 0
    if "type_vocab_size" not in layout.entries.values():
        found["segments"] = 1
    if changes and file.values.get("pad_token_id") is not None:
        found["padding"] = file.size("pad_token_id", 0)
    if changes and changes.after_padding:
        unread = found.get("padding", EncoderConfig.padding) + 1
    found["context"] = file.size("max_position_embeddings", unread + 2) - unread
    if changes and changes.narrow:
        width = file.size("embedding_size")
        found["embedding"] = None if width == file.size("hidden_size") else width
    return found


def _entries(layout: Layout, config: Any) -> dict[str, Any]:
    """The inverse of :func:`_fields`."""
    end = _ENDS[config.masked_words]
    entries: dict[str, Any] = {
        "architectures": [layout.classes[0].removesuffix("Model") + end],
        "max_position_embeddings": config.context + getattr(config, "unread", 0),
        layout.entries["inner"]: config.inner or 4 * config.width,
    }
    changes = FAMILIES.get(layout.family)
    if changes:
        entries["pad_token_id"] = config.padding
    if changes and changes.narrow:
        entries["embedding_size"] = config.embedding or config.width
    return entries


def _classes(beginning: str) -> tuple[str, ...]:
    return tuple(beginning + end for end in (*_ENDS, LABELS))


_LAYER = "encoder.layer.*"
BERT_LAYOUT = Layout(
    model_type="bert",
    classes=_classes("Bert"),
    model=BERT,
    config=BERTConfig,
    causal=False,
    entries={
        "vocabulary": "vocab_size",
        "layers": "num_hidden_layers",
        "heads": "num_attention_heads",
        "width": "hidden_size",
        "inner": "intermediate_size",
        "segments": "type_vocab_size",
        "dropout": "hidden_dropout_prob",
        "eps": "layer_norm_eps",
    },
    defaults={"hidden_dropout_prob": 0.1, "layer_norm_eps": 1e-12},
    fixed={"hidden_act": ("gelu",), "is_decoder": (False,)},
    written={"attention_probs_dropout_prob": 0.0},
    more=_fields,
    more_entries=_entries,
    names={
        "embedding": "embeddings.word_embeddings",
        "positions": "embeddings.position_embeddings",
        "segments": "embeddings.token_type_embeddings",
        "embedding.norm": "embeddings.LayerNorm",
        "blocks.*.attention.qkv": tuple(
            f"{_LAYER}.attention.self.{name}" for name in ("query", "key", "value")
        ),
        "blocks.*.attention.o": f"{_LAYER}.attention.output.dense",
        "blocks.*.norm_1": f"{_LAYER}.attention.output.LayerNorm",
        "blocks.*.feed_forward.1": f"{_LAYER}.intermediate.dense",
        "blocks.*.feed_forward.2": f"{_LAYER}.output.dense",
        "blocks.*.norm_2": f"{_LAYER}.output.LayerNorm",
        "pooler": "pooler.dense",
    },
    prefix="bert.",
    heads={
        "mask": "cls.predictions.transform.dense",
        "mask.norm": "cls.predictions.transform.LayerNorm",
        "mask.output_b": "cls.predictions.bias",
    },
    output="cls.predictions.decoder.weight",
    ignored=r"embeddings\.(position_ids|token_type_ids)|cls\.seq_relationship\..*",
    older=((r"LayerNorm\.gamma", "LayerNorm.weight"), (r"LayerNorm\.beta", "LayerNorm.bias")),
    classifier=Classifier("pooler.dense", "classifier", "tanh"),
)
# What most relatives have: a RoBERTa's heads, and no segments.
_ROBERTA = replace(
    BERT_LAYOUT,
    model=Encoder,
    config=EncoderConfig,
    entries={ours: name for ours, name in BERT_LAYOUT.entries.items() if ours != "segments"},
    heads={
        "mask": "lm_head.dense",
        "mask.norm": "lm_head.layer_norm",
        "mask.output_b": "lm_head.bias",
    },
    output="lm_head.decoder.weight",
    ignored=rf"{BERT_LAYOUT.ignored}|pooler\..*",
    classifier=Classifier("classifier.dense", "classifier.out_proj", "tanh"),
)
_SEGMENTS = {"segments": "type_vocab_size"}
_PADDING = {"pad_token_id": 1}
_DISTIL = "transformer.layer.*"

LAYOUTS = (
    BERT_LAYOUT,
    relative(
        _ROBERTA,
        "distilbert",
        classes=_classes("DistilBert"),
        prefix="distilbert.",
        names={
            "blocks.*.attention.qkv": tuple(f"{_DISTIL}.attention.{n}_lin" for n in "qkv"),
            "blocks.*.attention.o": f"{_DISTIL}.attention.out_lin",
            "blocks.*.norm_1": f"{_DISTIL}.sa_layer_norm",
            "blocks.*.feed_forward.1": f"{_DISTIL}.ffn.lin1",
            "blocks.*.feed_forward.2": f"{_DISTIL}.ffn.lin2",
            "blocks.*.norm_2": f"{_DISTIL}.output_layer_norm",
        },
        heads={
            "mask": "vocab_transform",
            "mask.norm": "vocab_layer_norm",
            "mask.output_b": "vocab_projector.bias",
        },
        output="vocab_projector.weight",
        ignored=BERT_LAYOUT.ignored,
        classifier=Classifier("pre_classifier", "classifier", "relu", "seq_classif_dropout"),
        entries={
            "layers": "n_layers",
            "heads": "n_heads",
            "width": "dim",
            "inner": "hidden_dim",
            "dropout": "dropout",
        },
        defaults={"dropout": 0.1, "layer_norm_eps": 1e-12},
        fixed={"activation": ("gelu",), "layer_norm_eps": (1e-12,)},
        written={"attention_dropout": 0.0},
    ),
    *(
        relative(
            _ROBERTA,
            family,
            classes=_classes(classes),
            prefix="roberta.",
            entries=_SEGMENTS,
            defaults=_PADDING,
        )
        for family, classes in (("roberta", "Roberta"), ("xlm-roberta", "XLMRoberta"))
    ),
    relative(
        _ROBERTA,
        "mpnet",
        classes=_classes("MPNet"),
        prefix="mpnet.",
        names={
            "blocks.*.attention.qkv": tuple(f"{_LAYER}.attention.attn.{n}" for n in "qkv"),
            "blocks.*.attention.o": f"{_LAYER}.attention.attn.o",
            "blocks.*.norm_1": f"{_LAYER}.attention.LayerNorm",
            "relative": "encoder.relative_attention_bias",
        },
        fixed={"hidden_act": ("gelu",), "pad_token_id": (1,)},
        defaults=_PADDING,
    ),
    relative(
        _ROBERTA,
        "electra",
        classes=_classes("Electra"),
        prefix="electra.",
        entries=_SEGMENTS,
        names={"project": "embeddings_project"},
        heads={},
        ignored=rf"{BERT_LAYOUT.ignored}|discriminator_predictions\..*",
        classifier=Classifier("classifier.dense", "classifier.out_proj", "gelu"),
    ),
)


# --- classifiers ---------------------------------------------------------------------------------


def fits(layout: Layout, config: FineTunedConfig) -> bool:
    """Whether theirs has the classifier's hidden layer, on its first token."""
    own = layout.classifier
    return own is not None and (config.pooling, config.head) == ("first", own.activation)


def classifier_of(layout: Layout, encoder: Any, file: Entries) -> FineTunedConfig:
    """The config of a classifier with this encoder, which has no heads."""
    own = layout.classifier
    assert own is not None
    given = file.values.get(own.dropout) is not None
    dropout = file.number(own.dropout) if given else encoder.dropout
    kind = "encoder" if layout.family else "bert"
    classes = len(labels_of(file))
    with in_file(file.path):
        return FineTunedConfig(kind, encoder, classes, "first", own.activation, dropout)


def classifier_entries(layout: Layout, config: FineTunedConfig, labels: Any) -> dict[str, Any]:
    """The entries of a classifier in config.json."""
    assert layout.classifier is not None
    return {
        "architectures": [layout.classes[-1]],
        layout.classifier.dropout: config.dropout,
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
    }


def labels_of(file: Entries) -> tuple[str, ...]:
    """The labels in config.json, in the order of the classes.

    InputError unless they are two or more, with different names, and one of them is right.
    """
    file.check("problem_type", (None, "single_label_classification"))
    values = file.values.get("id2label")
    if values is None:
        count = 2 if file.values.get("num_labels") is None else file.size("num_labels")
        values = {str(number): f"LABEL_{number}" for number in range(count)}
    expected = "a name for each number from 0 up, two or more, all different"
    if not isinstance(values, dict) or {*values} != {str(n) for n in range(len(values))}:
        raise file.wrong("id2label", expected)
    labels = tuple(values[str(number)] for number in range(len(values)))
    if not all(isinstance(n, str) for n in labels) or len({*labels}) < max(2, len(labels)):
        raise InputError(f"{file.path}: id2label: expected {expected}, found {short([*labels])}")
    return labels
