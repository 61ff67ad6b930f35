"""Encoders after BERT as transformers stores them: DistilBERT, RoBERTa, XLM-R, MPNet, ELECTRA.

    RobertaModel                      the blocks, and perhaps the pooler
    RobertaForMaskedLM                with the head that predicts masked words
    RobertaForSequenceClassification  a classifier: :mod:`minillm.formats.classification`

:mod:`minillm.formats.bert` explains the layout.  A row says where the files of a family differ from
BERT's; :mod:`minillm.models.encoders` has the changes of the model.  An ELECTRA's folder may hold
the output of its pre-training, which tells replaced tokens: it is left out.
"""

from dataclasses import replace
from typing import Any

from minillm.formats.bert import BERT_FOLDER, EncoderFolder, attention, classes_of, masked_words
from minillm.formats.classification import Classifier
from minillm.formats.weights import Names
from minillm.models.encoders import BUCKETS, FAMILIES, Encoder, EncoderConfig
from minillm.models.fine_tuned import FineTuned


def family(
    name: str,
    classes: str,
    hidden: str,
    activation: str,
    names: Names,
    ignored: str = r"pooler\..*",
    sizes: dict[str, str] | None = None,
    labels: str = "classifier.out_proj",
    dropout: str = "classifier_dropout",
    **options: Any,
) -> EncoderFolder:
    """The folders of a family.

    ``hidden``, ``labels``, ``activation`` and ``dropout`` are a classifier's.  ``names`` and
    ``sizes`` take the place of BERT's.  ``ignored`` is a pattern of names of tensors without use.
    """
    sizes = {**BERT_FOLDER.sizes, **(sizes or {})}
    if not FAMILIES[name].segments:
        del sizes["segments"]
    architectures = classes_of(classes)
    given: dict[str, Any] = {
        "prefix": f"{name}.",
        "heads": ("lm_head.",),
        "output": "lm_head.decoder.weight",
        **options,
    }
    return replace(
        BERT_FOLDER,
        signature=None,
        models=(Encoder, FineTuned),
        config_type=EncoderConfig,
        kind="encoder",
        family=name,
        model_type=name,
        classes=classes,
        architectures=architectures,
        classifier=Classifier(architectures[-1], hidden, labels, activation, dropout),
        sizes=sizes,
        names={**BERT_FOLDER.names, **names},
        roles=("bos", "eos"),
        buffers=f"{BERT_FOLDER.buffers}|{ignored}",
        **given | {"heads": (*given["heads"], f"{hidden.split('.')[0]}.", "classifier.")},
    )


_LM_HEAD = masked_words("lm_head.dense", "lm_head.layer_norm", "lm_head.bias")
_PADDING = {"pad_token_id": 1}
_BLOCK, _DISTIL = "blocks.*", "transformer.layer.*"

FORMATS = (
    family(
        "distilbert",
        "DistilBert",
        hidden="pre_classifier",
        activation="relu",
        names={
            **attention(f"{_DISTIL}.attention", ("q_lin", "k_lin", "v_lin"), "out_lin"),
            f"{_BLOCK}.norm_1.gain": f"{_DISTIL}.sa_layer_norm.weight",
            f"{_BLOCK}.norm_1.bias": f"{_DISTIL}.sa_layer_norm.bias",
            f"{_BLOCK}.feed_forward.W_1": f"{_DISTIL}.ffn.lin1.weight",
            f"{_BLOCK}.feed_forward.b_1": f"{_DISTIL}.ffn.lin1.bias",
            f"{_BLOCK}.feed_forward.W_2": f"{_DISTIL}.ffn.lin2.weight",
            f"{_BLOCK}.feed_forward.b_2": f"{_DISTIL}.ffn.lin2.bias",
            f"{_BLOCK}.norm_2.gain": f"{_DISTIL}.output_layer_norm.weight",
            f"{_BLOCK}.norm_2.bias": f"{_DISTIL}.output_layer_norm.bias",
            **masked_words("vocab_transform", "vocab_layer_norm", "vocab_projector.bias"),
        },
        ignored="(?!)",
        heads=("vocab_",),
        labels="classifier",
        output="vocab_projector.weight",
        dropout="seq_classif_dropout",
        sizes={"layers": "n_layers", "heads": "n_heads", "width": "dim", "inner": "hidden_dim"},
        numbers={"dropout": (0.1, "dropout"), "eps": (1e-12, "layer_norm_eps")},
        fixed={"activation": ("gelu",), "layer_norm_eps": (1e-12,)},
        written={"attention_dropout": 0.0},
    ),
    family(
        "roberta",
        "Roberta",
        hidden="classifier.dense",
        activation="tanh",
        names=_LM_HEAD,
        defaults=_PADDING,
    ),
    family(
        "xlm-roberta",
        "XLMRoberta",
        hidden="classifier.dense",
        activation="tanh",
        names=_LM_HEAD,
        prefix="roberta.",
        defaults=_PADDING,
    ),
    family(
        "mpnet",
        "MPNet",
        hidden="classifier.dense",
        activation="tanh",
        names={
            **attention("encoder.layer.*.attention.attn", ("q", "k", "v"), "o"),
            f"{_BLOCK}.norm_1.gain": "encoder.layer.*.attention.LayerNorm.weight",
            f"{_BLOCK}.norm_1.bias": "encoder.layer.*.attention.LayerNorm.bias",
            "relative.E": "encoder.relative_attention_bias.weight",
            **_LM_HEAD,
        },
        fixed={
            "hidden_act": ("gelu",),
            "pad_token_id": (1,),
            "relative_attention_num_buckets": (BUCKETS,),
        },
        defaults=_PADDING,
    ),
    family(
        "electra",
        "Electra",
        hidden="classifier.dense",
        activation="gelu",
        names={
            "project.W": "embeddings_project.weight",
            "project.b": "embeddings_project.bias",
        },
        ignored=r"discriminator_predictions\..*",
        heads=("discriminator_predictions.",),
    ),
)
