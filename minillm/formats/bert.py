"""BERT as Hugging Face's library transformers stores it (:mod:`minillm.formats.huggingface`).

    BertModel                       the blocks, and perhaps the pooler
    BertForMaskedLM                 with the head that predicts masked words
    BertForNextSentencePrediction   with the head that predicts whether a second part follows
    BertForPreTraining              with both heads

The tokenizer is vocab.txt or tokenizer.json, with tokenizer_config.json.  A folder of a sentence
encoder has more files: see :mod:`minillm.formats.sentences`.

Its linear layers have weights (out, in), the transpose of ours.  Query, key and value are three
matrices; ours is one, with the three side by side.  As in ours, the output for masked words is tied
to the token embedding: it has a bias, but no weight.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from minillm.data.files import read_json
from minillm.errors import InputError
from minillm.formats import huggingface
from minillm.formats.format import Contents
from minillm.formats.huggingface import Transformers
from minillm.formats.sentences import Sentences, read_modules, read_sentences, sentence_files
from minillm.formats.tensors import Tensor
from minillm.formats.weights import Weight, weights_of
from minillm.models.bert import BERT, EPSILON, BERTConfig
from minillm.text import WordPieces, load_tokenizer, tokenizer_files

_OF_SELF, _QKV = "encoder.layer.*.attention.self", ("query", "key", "value")
_NAMES: dict[str, str | tuple[str, ...]] = {  # ours, theirs
    "embedding.E": "embeddings.word_embeddings.weight",
    "positions.E": "embeddings.position_embeddings.weight",
    "segments.E": "embeddings.token_type_embeddings.weight",
    "embedding.norm.gain": "embeddings.LayerNorm.weight",
    "embedding.norm.bias": "embeddings.LayerNorm.bias",
    "blocks.*.attention.W_qkv": tuple(f"{_OF_SELF}.{part}.weight" for part in _QKV),
    "blocks.*.attention.b_qkv": tuple(f"{_OF_SELF}.{part}.bias" for part in _QKV),
    "blocks.*.attention.W_o": "encoder.layer.*.attention.output.dense.weight",
    "blocks.*.attention.b_o": "encoder.layer.*.attention.output.dense.bias",
    "blocks.*.norm_1.gain": "encoder.layer.*.attention.output.LayerNorm.weight",
    "blocks.*.norm_1.bias": "encoder.layer.*.attention.output.LayerNorm.bias",
    "blocks.*.feed_forward.W_1": "encoder.layer.*.intermediate.dense.weight",
    "blocks.*.feed_forward.b_1": "encoder.layer.*.intermediate.dense.bias",
    "blocks.*.feed_forward.W_2": "encoder.layer.*.output.dense.weight",
    "blocks.*.feed_forward.b_2": "encoder.layer.*.output.dense.bias",
    "blocks.*.norm_2.gain": "encoder.layer.*.output.LayerNorm.weight",
    "blocks.*.norm_2.bias": "encoder.layer.*.output.LayerNorm.bias",
    "pooler.W": "pooler.dense.weight",
    "pooler.b": "pooler.dense.bias",
    "mask.W": "cls.predictions.transform.dense.weight",
    "mask.b": "cls.predictions.transform.dense.bias",
    "mask.norm.gain": "cls.predictions.transform.LayerNorm.weight",
    "mask.norm.bias": "cls.predictions.transform.LayerNorm.bias",
    "mask.output_b": "cls.predictions.bias",
    "next.W": "cls.seq_relationship.weight",
    "next.b": "cls.seq_relationship.bias",
}
PREFIX, HEADS = "bert.", "cls."  # tensors outside of heads have the prefix, except in a BertModel
_OUTPUT, _OUTPUT_BIAS = "cls.predictions.decoder.weight", "cls.predictions.decoder.bias"
_TIED = {  # a second name of a tensor, the first one, ours
    _OUTPUT: ("embeddings.word_embeddings.weight", "embedding.E"),
    _OUTPUT_BIAS: ("cls.predictions.bias", "mask.output_b"),
}
_BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")  # not weights: 0, 1, 2, ...

_SIZES = {
    "vocabulary": "vocab_size",
    "context": "max_position_embeddings",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "width": "hidden_size",
    "inner": "intermediate_size",
    "segments": "type_vocab_size",
}

# Entries that are read below, and others that change no result.
_OTHERS = {
    *_SIZES.values(),
    "hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout",
    "directionality", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers",
    "pooler_size_per_head", "pooler_type",
}  # fmt: skip

# The name of a model by its heads: for masked words, and for the next sentence.
_ARCHITECTURES = {
    (False, False): "BertModel",
    (True, False): "BertForMaskedLM",
    (False, True): "BertForNextSentencePrediction",
    (True, True): "BertForPreTraining",
}

# Entries that may vary in Hugging Face's BERT, but not in models/bert.py; the default comes first.
_FIXED: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("gelu",),
    "layer_norm_eps": (EPSILON,),
    "position_embedding_type": ("absolute",),
    "is_decoder": (False,),
    "add_cross_attention": (False,),
}
_SEES_ALL: dict[str, tuple[Any, ...]] = {"is_causal": (False, None)}


def weights(config: BERTConfig) -> Iterator[Weight]:
    """The parameters of a model, and their tensors."""
    return weights_of(BERT.shapes(config), _NAMES, transposed=True)


# --- reading -----------------------------------------------------------------


def import_bert(folder: str | Path) -> tuple[BERT, WordPieces, Sentences]:
    """The BERT in a folder, in float32, its tokenizer, and its settings for vectors of texts.

    InputError names the file, and the entry or tensor that is missing, damaged or not supported by
    :mod:`minillm.models.bert`.
    """
    modules = read_modules(Path(folder))
    place = modules["Transformer"]
    path = place / "config.json"
    values = read_json(path)
    huggingface.check_known(
        path, values, "bert", _ARCHITECTURES.values(), _FIXED | _SEES_ALL, _OTHERS
    )
    tensors = huggingface.open_weights(place, _plain)
    config = _read_config(path, values, tensors)
    sentences = read_sentences(Path(folder), modules, config.width, config.context)
    tokenizer = _read_tokenizer(place)
    huggingface.check_vocabulary(place, config.vocabulary, len(tokenizer))
    if values.get("tie_word_embeddings") is False and config.masked_words:
        huggingface.checked(place, _OUTPUT, tensors.get(_OUTPUT), (config.vocabulary, config.width))
    params = huggingface.read_weights(
        place, tensors, weights(config), _TIED, lambda name: name in _BUFFERS
    )
    return BERT(config, params=params), tokenizer, sentences


def _plain(name: str) -> str:
    """The current name of a tensor, without the prefix; gain and bias once had other names."""
    name = name.removeprefix(PREFIX)
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("Norm.beta", "Norm.bias")


def _read_config(path: Path, values: dict[str, Any], tensors: Mapping[str, Tensor]) -> BERTConfig:
    """The sizes, and the heads: those of the architecture, and those with weights."""
    names = values.get("architectures") or []
    masked_words, next_sentence = (
        any(_ARCHITECTURES[heads] in names for heads in _ARCHITECTURES if heads[head])
        for head in (0, 1)
    )

    def any_of(prefix: str) -> bool:
        return any(name.startswith(prefix) for name in tensors)

    next_sentence = next_sentence or any_of("cls.seq_relationship.")
    sizes = huggingface.read_sizes(path, values, _SIZES, "hidden_dropout_prob")
    try:
        return BERTConfig(
            **sizes,
            masked_words=masked_words or any_of("cls.predictions."),
            pooler=next_sentence or any_of("pooler."),
            next_sentence=next_sentence,
        )
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None


def _read_tokenizer(folder: Path) -> WordPieces:
    tokenizer = load_tokenizer(folder)
    if not isinstance(tokenizer, WordPieces):
        unit = tokenizer.unit
        raise InputError(f"{folder}: expected a tokenizer of pieces of words, found {unit}")
    if None in (tokenizer.cls, tokenizer.sep, tokenizer.mask):
        raise InputError(
            f"{folder}: expected a tokenizer with [CLS], [SEP] and [MASK], found one without"
        )
    return tokenizer


# --- writing -----------------------------------------------------------------


def has_heads(config: BERTConfig) -> bool:
    """Whether a model has heads, unlike a BertModel."""
    return config.masked_words or config.next_sentence


def export_bert(
    model: BERT, tokenizer: WordPieces, folder: str | Path, sentences: Sentences | None = None
) -> None:
    """Write a new folder that transformers loads, with the same outputs; whole or not at all.

    With a pooling in ``sentences``, sentence-transformers loads it, too.
    """
    config, sentences = model.config, sentences or Sentences()
    files = tokenizer_files(tokenizer)
    settings = json.loads(files["tokenizer_config.json"])
    settings["model_max_length"] = sentences.longest or config.context
    files |= {
        "tokenizer_config.json": huggingface.json_file(settings),
        "config.json": huggingface.json_file(_config_values(config, tokenizer)),
        **sentence_files(sentences, config.width, config.context),
    }
    prefix = PREFIX if has_heads(config) else ""
    tensors = {}
    for weight in weights(config):
        for name, view in weight.views(model.params[weight.name]).items():
            tensors[name if name.startswith(HEADS) else prefix + name] = view
    huggingface.write_folder(folder, files, tensors)


def _config_values(config: BERTConfig, tokenizer: WordPieces) -> dict[str, Any]:
    return {
        "model_type": "bert",
        "architectures": [_ARCHITECTURES[config.masked_words, config.next_sentence]],
        **{theirs: getattr(config, ours) for ours, theirs in _SIZES.items()},
        "intermediate_size": config.inner or 4 * config.width,
        **{name: allowed[0] for name, allowed in _FIXED.items()},
        "tie_word_embeddings": True,
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": 0.0,
        "pad_token_id": tokenizer.pad,
    }


class BERTFolder(Transformers):
    """Folders of a BERT, and of sentence encoders with one."""

    models = (BERT,)
    model_type = "bert"
    signature = "a folder with a BERT"

    def recognises(self, path: Path, head: bytes) -> bool:
        """See :meth:`minillm.formats.format.Format.recognises`."""
        return super().recognises(read_modules(path)["Transformer"], head)

    def read(self, path: str, baseline: Any = None) -> Contents:
        """See :func:`import_bert`."""
        model, tokenizer, sentences = import_bert(path)
        return Contents(model, tokenizer, facts=asdict(sentences))

    def write(self, contents: Contents, path: str | Path, options: Any) -> None:
        """See :func:`export_bert`."""
        export_bert(contents.model, contents.tokenizer, path, Sentences.of(contents.facts))
