"""BERT as Hugging Face's library transformers stores it (:mod:`minillm.formats.huggingface`).

    BertModel                       the blocks, and perhaps the pooler
    BertForMaskedLM                 with the head that predicts masked words
    BertForNextSentencePrediction   with the head that predicts whether a second part follows
    BertForPreTraining              with both heads
    BertForSequenceClassification   a classifier: :mod:`minillm.formats.classification`

The tokenizer is vocab.txt or tokenizer.json, with tokenizer_config.json.  A folder of a sentence
encoder has more files: see :mod:`minillm.formats.sentences`.

Its linear layers have weights (out, in), the transpose of ours.  Query, key and value are three
matrices; ours is one, with the three side by side.  As in ours, the output for masked words is tied
to the token embedding: it has a bias, but no weight.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

from minillm.data.entries import Entries, in_file
from minillm.data.files import read_json
from minillm.errors import InputError, Reasons
from minillm.formats.classification import Classifier, labels_of
from minillm.formats.format import Contents
from minillm.formats.huggingface import (
    Transformers,
    byte_pair_files,
    config_from,
    json_file,
    read_dropout,
)
from minillm.formats.sentences import Sentences, read_modules, read_sentences, sentence_files
from minillm.formats.tensors import Tensor
from minillm.formats.weights import Weight, weights_of
from minillm.models.bert import BERT, BERTConfig
from minillm.models.fine_tuned import ENCODERS, FineTuned, FineTunedConfig, encoder_of
from minillm.text import Vocabulary, WordPieces, load_tokenizer, tokenizer_files
from minillm.text.byte_tokens import MASK, ByteTokens
from minillm.text.sentence_pieces import SentencePieces

BOS, EOS = "<s>", "</s>"  # of tokenizers whose tokens are bytes

_OF_SELF, _QKV = "encoder.layer.*.attention.self", ("query", "key", "value")
# The name of a model by its heads: for masked words, and for the next sentence.
_ARCHITECTURES = {
    (False, False): "BertModel",
    (True, False): "BertForMaskedLM",
    (False, True): "BertForNextSentencePrediction",
    (True, True): "BertForPreTraining",
}


class BERTFolder(Transformers):
    """Folders of a BERT, and of sentence encoders and classifiers with one."""

    models: ClassVar[tuple[type, ...]] = (BERT, FineTuned)
    kind = "bert"  # of the encoder in a classifier
    tokenizers: ClassVar[tuple[type, ...]] = (WordPieces, SentencePieces)
    signature: ClassVar[str | None] = "a folder with a BERT or a later encoder"
    causal = False
    roles = ("pad",)
    model_type = "bert"
    classifier = Classifier("BertForSequenceClassification", "pooler.dense", "classifier", "tanh")
    architectures = (*_ARCHITECTURES.values(), classifier.architecture)
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
        "position_embedding_type": ("absolute",),
        "is_decoder": (False,),
        "add_cross_attention": (False,),
    }
    others: ClassVar = {
        "hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout",
        "directionality", "layer_norm_eps", "pooler_fc_size", "pooler_num_attention_heads",
        "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type",
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
    prefix, heads = "bert.", ("cls.", "classifier.")
    output = "cls.predictions.decoder.weight"
    buffers = re.compile(r"embeddings\.(position_ids|token_type_ids)")  # 0, 1, 2, ...

    @property
    def model(self) -> Any:
        """A function of a config and its parameters: the encoder, or a classifier with it."""
        return lambda config, params: self._class_of(config)(config, params=params)

    def _class_of(self, config: Any) -> Any:
        return FineTuned if isinstance(config, FineTunedConfig) else self.models[0]

    def holds(self, model: Any) -> bool:
        """Whether it is the encoder, or a classifier with it that transformers has, too."""
        if type(model) not in self.models or not self.describes(encoder_config(model.config)):
            return False
        return not isinstance(model, FineTuned) or self.classifier.fits(model.config)

    def describes(self, config: Any) -> bool:
        """Whether it is the config of the encoder."""
        return type(config) is BERTConfig

    def weights(self, config: Any) -> Iterator[Weight]:
        """The parameters, which have other names in a classifier."""
        classifier = isinstance(config, FineTunedConfig)
        names = self.classifier.names(self.names) if classifier else self.names
        return weights_of(self._class_of(config).shapes(config), names, self.transposed)

    def tied(self, config: Any) -> dict[str, tuple[str, str]]:
        """The output for masked tokens, if the model has this head, and its bias."""
        if isinstance(config, FineTunedConfig) or not config.masked_words:
            return {}
        bias = str(self.names["mask.output_b"])
        second = self.output.replace(".weight", ".bias")
        return super().tied(config) | ({second: (bias, "mask.output_b")} if second != bias else {})

    def plain(self, name: str) -> str:
        """The name without the prefix; gain and bias once had other names."""
        name = name.removeprefix(self.prefix)
        return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace(
            "LayerNorm.beta", "LayerNorm.bias"
        )

    def stored(self, name: str, config: Any) -> str:
        """A model without heads, a BertModel, has no prefix."""
        if isinstance(config, FineTunedConfig) or config.masked_words or config.next_sentence:
            return super().stored(name, config)
        return name

    def recognises(self, path: Path, head: bytes) -> bool:
        """Whether the folder, or the first step of a sentence encoder, has a BERT."""
        return super().recognises(read_modules(path)["Transformer"], head)

    def read(self, path: str | Path, baseline: Any = None) -> Contents:
        """The model in a folder; facts are the settings for vectors of texts, or the labels."""
        modules, reasons = read_modules(Path(path)), Reasons()
        width, context = None, 0
        with reasons:
            contents = super().read(modules["Transformer"])
            config = encoder_config(contents.model.config)
            width, context = config.width, config.context
        with reasons:
            sentences = read_sentences(Path(path), modules, width, context)
        reasons.check()
        if not isinstance(contents.model, FineTuned):
            return replace(contents, facts=asdict(sentences))
        file = modules["Transformer"] / "config.json"
        labels = labels_of(Entries(file, read_json(file)))
        return replace(contents, facts={"labels": labels, "longest": sentences.longest})

    def config(self, file: Entries, tensors: Mapping[str, Tensor]) -> Any:
        """The sizes; and the heads, or the labels of a classifier."""
        if self.classifier.architecture not in architectures_of(file):
            return self.encoder(file, **self.heads_of(file, tensors))
        encoder = self.encoder(file, **ENCODERS[self.kind].headless)
        dropout, name = encoder.dropout, self.classifier.dropout
        if file.values.get(name) is not None:
            dropout = read_dropout(file, name)
        labels = labels_of(file)
        with in_file(file.path):
            return FineTunedConfig(
                kind=self.kind,
                encoder=encoder,
                classes=len(labels),
                pooling="first",
                head=self.classifier.activation,
                dropout=dropout,
            )

    def encoder(self, file: Entries, **heads: bool) -> Any:
        """The sizes of the encoder."""
        reasons, others = Reasons(), dict[str, Any](heads)
        with reasons:
            others["dropout"] = read_dropout(file, "hidden_dropout_prob")
        with reasons:
            others["eps"] = file.number("layer_norm_eps", 1e-12)
        with reasons:
            config = config_from(file, BERTConfig, self.sizes, **others)
        reasons.check()
        return config

    def heads_of(self, file: Entries, tensors: Mapping[str, Tensor]) -> dict[str, bool]:
        """The heads of the architecture, and all that have weights."""
        names = architectures_of(file)
        masked_words, next_sentence = (
            any(_ARCHITECTURES[heads] in names for heads in _ARCHITECTURES if heads[head])
            for head in (0, 1)
        )
        next_sentence = next_sentence or any_of(tensors, "cls.seq_relationship.")
        return {
            "masked_words": masked_words or any_of(tensors, "cls.predictions."),
            "pooler": next_sentence or any_of(tensors, "pooler."),
            "next_sentence": next_sentence,
        }

    def entries(self, config: BERTConfig) -> dict[str, Any]:
        """The heads, and dropout as in our model: none of the attention's weights."""
        return {
            "architectures": [_ARCHITECTURES[config.masked_words, config.next_sentence]],
            "intermediate_size": config.inner or 4 * config.width,
            "layer_norm_eps": config.eps,
            "hidden_dropout_prob": config.dropout,
            "attention_probs_dropout_prob": 0.0,
        }

    def files(self, contents: Contents) -> dict[str, bytes]:
        """Also the files of sentence-transformers, if the facts name a pooling."""
        model, sentences = contents.model, Sentences.of(contents.facts)
        config = encoder_config(model.config)
        classifier = isinstance(model, FineTuned)
        if classifier:
            contents = replace(contents, model=encoder_of(model))
        files = super().files(contents)
        settings = json.loads(files["tokenizer_config.json"])
        settings["model_max_length"] = sentences.longest or config.context
        files["tokenizer_config.json"] = json_file(settings)
        if not classifier:
            return files | sentence_files(sentences, config.width, config.context)
        values = json.loads(files["config.json"])
        values |= self.classifier.entries(model.config, contents.facts["labels"])
        return files | {"config.json": json_file(values)}

    def read_tokenizer(self, folder: Path) -> Vocabulary:
        """A tokenizer of pieces of words, byte pairs or SentencePiece, with the special tokens.

        The kind of run puts them around texts, so the tokenizer does not.
        """
        tokenizer = load_tokenizer(folder)
        if isinstance(tokenizer, ByteTokens):
            tokenizer.add_bos = tokenizer.add_eos = False
            ids = tokenizer.special.ids
            tokenizer.bos, tokenizer.eos = ids.get(BOS), ids.get(EOS)
        if not isinstance(tokenizer, self.tokenizers):
            raise InputError(
                f"{folder}: expected a tokenizer of pieces of words, found {tokenizer.unit}"
            )
        if None in (tokenizer.bos, tokenizer.eos, tokenizer.mask):
            raise InputError(
                f"{folder}: expected a tokenizer with [CLS], [SEP] and [MASK], or <s>, </s> and "
                "<mask>, found one without"
            )
        return tokenizer

    def tokenizer_files(self, tokenizer: Any, context: int | None) -> dict[str, bytes]:
        """Files of word pieces, of byte pairs as RoBERTa's are, or as XLM-R's are."""
        if isinstance(tokenizer, WordPieces):
            return tokenizer_files(tokenizer)
        xlm = isinstance(tokenizer, SentencePieces)
        name = "XLMRobertaTokenizer" if xlm else "RobertaTokenizer"
        files = byte_pair_files(tokenizer, name, context)
        ids, settings = tokenizer.special.ids, json.loads(files["tokenizer_config.json"])
        whole = json.loads(files["tokenizer.json"])
        processor = {"type": "RobertaProcessing", "trim_offsets": True, "add_prefix_space": False}
        whole["post_processor"] = processor | {"cls": [BOS, ids[BOS]], "sep": [EOS, ids[EOS]]}
        mask = next(token for token in whole["added_tokens"] if token["content"] == MASK)
        settings |= {"cls_token": BOS, "sep_token": EOS}
        settings |= {
            "mask_token": {"__type": "AddedToken"} | {n: v for n, v in mask.items() if n != "id"}
        }
        settings |= {f"{role}_token": f"<{role}>" for role in ("pad", "unk") if f"<{role}>" in ids}
        changed = {"tokenizer.json": whole, "tokenizer_config.json": settings}
        return files | {name: json_file(values) for name, values in changed.items()}


def architectures_of(file: Entries) -> list[Any]:
    """The architectures that a config.json names; none if it names them wrongly."""
    names = file.values.get("architectures")
    return names if isinstance(names, list) else []


def any_of(tensors: Mapping[str, Tensor], prefix: str) -> bool:
    """Whether the name of a tensor begins with the prefix."""
    return any(name.startswith(prefix) for name in tensors)


def encoder_config(config: Any) -> Any:
    """The config of an encoder, which may be inside a classifier's."""
    return config.encoder if isinstance(config, FineTunedConfig) else config
