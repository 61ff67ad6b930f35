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
import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

from minillm.data.entries import Entries
from minillm.errors import InputError, Reasons
from minillm.formats.format import Contents
from minillm.formats.huggingface import Transformers, config_from, json_file, read_dropout
from minillm.formats.sentences import Sentences, read_modules, read_sentences, sentence_files
from minillm.formats.tensors import Tensor
from minillm.models.bert import BERT, EPSILON, BERTConfig
from minillm.text import WordPieces, load_tokenizer, tokenizer_files

_OF_SELF, _QKV = "encoder.layer.*.attention.self", ("query", "key", "value")
# The name of a model by its heads: for masked words, and for the next sentence.
_ARCHITECTURES = {
    (False, False): "BertModel",
    (True, False): "BertForMaskedLM",
    (False, True): "BertForNextSentencePrediction",
    (True, True): "BertForPreTraining",
}


class BERTFolder(Transformers):
    """Folders of a BERT, and of sentence encoders with one."""

    models = (BERT,)
    signature = "a folder with a BERT"
    causal = False
    roles = ("pad",)
    model_type = "bert"
    architectures = tuple(_ARCHITECTURES.values())
    sizes: ClassVar = {
        "vocabulary": "vocab_size",
        "context": "max_position_embeddings",
        "layers": "num_hidden_layers",
        "heads": "num_attention_heads",
        "width": "hidden_size",
        "inner": "intermediate_size",
        "segments": "type_vocab_size",
    }
    fixed: ClassVar = {
        "hidden_act": ("gelu",),
        "layer_norm_eps": (EPSILON,),
        "position_embedding_type": ("absolute",),
        "is_decoder": (False,),
        "add_cross_attention": (False,),
    }
    others: ClassVar = {
        "hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout",
        "directionality", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers",
        "pooler_size_per_head", "pooler_type",
    }  # fmt: skip
    names: ClassVar = {
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
    prefix, heads = "bert.", "cls."
    output = "cls.predictions.decoder.weight"
    buffers = re.compile(r"embeddings\.(position_ids|token_type_ids)")  # 0, 1, 2, ...

    def tied(self, config: BERTConfig) -> dict[str, tuple[str, str]]:
        """The output for masked tokens, if the model has this head, and its bias."""
        bias = {"cls.predictions.decoder.bias": ("cls.predictions.bias", "mask.output_b")}
        return super().tied(config) | bias if config.masked_words else {}

    def plain(self, name: str) -> str:
        """The name without the prefix; gain and bias once had other names."""
        name = name.removeprefix(self.prefix)
        return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace(
            "LayerNorm.beta", "LayerNorm.bias"
        )

    def stored(self, name: str, config: BERTConfig) -> str:
        """A model without heads, a BertModel, has no prefix."""
        return super().stored(name, config) if config.masked_words or config.next_sentence else name

    def recognises(self, path: Path, head: bytes) -> bool:
        """Whether the folder, or the first step of a sentence encoder, has a BERT."""
        return super().recognises(read_modules(path)["Transformer"], head)

    def read(self, path: str | Path, baseline: Any = None) -> Contents:
        """The BERT in a folder, with the settings for vectors of texts as facts."""
        modules = read_modules(Path(path))
        contents = super().read(modules["Transformer"])
        config = contents.model.config
        sentences = read_sentences(Path(path), modules, config.width, config.context)
        return replace(contents, facts=asdict(sentences))

    def config(self, file: Entries, tensors: Mapping[str, Tensor]) -> BERTConfig:
        """The sizes, and the heads: the architecture's, and all that have weights."""
        names = file.values.get("architectures") or []
        masked_words, next_sentence = (
            any(_ARCHITECTURES[heads] in names for heads in _ARCHITECTURES if heads[head])
            for head in (0, 1)
        )

        def any_of(prefix: str) -> bool:
            return any(name.startswith(prefix) for name in tensors)

        next_sentence = next_sentence or any_of("cls.seq_relationship.")
        others: dict[str, Any] = {
            "masked_words": masked_words or any_of("cls.predictions."),
            "pooler": next_sentence or any_of("pooler."),
            "next_sentence": next_sentence,
        }
        reasons = Reasons()
        with reasons:
            others["dropout"] = read_dropout(file, "hidden_dropout_prob")
        with reasons:
            config = config_from(file, BERTConfig, self.sizes, **others)
        reasons.check()
        return config

    def entries(self, config: BERTConfig) -> dict[str, Any]:
        """The heads, and dropout as in our model: none of the attention's weights."""
        return {
            "architectures": [_ARCHITECTURES[config.masked_words, config.next_sentence]],
            "intermediate_size": config.inner or 4 * config.width,
            "hidden_dropout_prob": config.dropout,
            "attention_probs_dropout_prob": 0.0,
        }

    def files(self, contents: Contents) -> dict[str, bytes]:
        """Also the files of sentence-transformers, if the facts name a pooling."""
        config, sentences = contents.model.config, Sentences.of(contents.facts)
        files = super().files(contents)
        settings = json.loads(files["tokenizer_config.json"])
        settings["model_max_length"] = sentences.longest or config.context
        files["tokenizer_config.json"] = json_file(settings)
        return files | sentence_files(sentences, config.width, config.context)

    def tokenizer_files(self, tokenizer: WordPieces, context: int) -> dict[str, bytes]:
        """Files of word pieces."""
        return tokenizer_files(tokenizer)

    def read_tokenizer(self, folder: Path) -> WordPieces:
        """A tokenizer with word pieces and BERT's special tokens."""
        tokenizer = load_tokenizer(folder)
        if not isinstance(tokenizer, WordPieces):
            unit = tokenizer.unit
            raise InputError(f"{folder}: expected a tokenizer of pieces of words, found {unit}")
        if None in (tokenizer.cls, tokenizer.sep, tokenizer.mask):
            raise InputError(
                f"{folder}: expected a tokenizer with [CLS], [SEP] and [MASK], found one without"
            )
        return tokenizer
