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
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from minillm.data.entries import Entries, in_file
from minillm.data.files import read_json
from minillm.errors import InputError
from minillm.formats.classification import Classifier, labels_of
from minillm.formats.format import Contents
from minillm.formats.huggingface import Allowed, Transformers, byte_pair_files, json_file
from minillm.formats.sentences import Sentences, read_modules, read_sentences, sentence_files
from minillm.formats.tensors import Tensor
from minillm.formats.weights import Names, Weight, weights_of
from minillm.models.bert import BERT, BERTConfig
from minillm.models.encoders import FAMILIES, Changes, EncoderConfig
from minillm.models.fine_tuned import FineTuned, FineTunedConfig, encoder_of
from minillm.text import (
    PublishedTokenizer,
    Vocabulary,
    WordPieces,
    load_tokenizer,
    tokenizer_json,
)

BOS, EOS = "<s>", "</s>"  # of tokenizers whose tokens are bytes

# The name of a model by its heads: for masked words, and for the next sentence.
_CLASSES = {
    (False, False): "Model",
    (True, False): "ForMaskedLM",
    (False, True): "ForNextSentencePrediction",
    (True, True): "ForPreTraining",
}


@dataclass(frozen=True, kw_only=True)
class EncoderFolder(Transformers):
    """Folders of a BERT or a relative, and of sentence encoders and classifiers with one."""

    kind: str = "bert"  # of the encoder in a classifier
    family: str = ""  # of :mod:`minillm.models.encoders`; none: a BERT
    classes: str  # the beginning of the names of its classes in transformers
    classifier: Classifier

    causal: bool = False
    fixed: Allowed = field(
        default_factory=lambda: {
            "hidden_act": ("gelu",),
            "position_embedding_type": ("absolute",),
            "is_decoder": (False,),
            "add_cross_attention": (False,),
        }
    )

    @property
    def changes(self) -> Changes:
        """The changes of the family to a BERT."""
        return FAMILIES.get(self.family, Changes())

    def model_of(self, config: Any) -> Any:
        """The class of the encoder, or a classifier with it."""
        return FineTuned if isinstance(config, FineTunedConfig) else self.models[0]

    def holds(self, model: Any) -> bool:
        """Whether it is the encoder, or a classifier with it that transformers has, too."""
        if type(model) not in self.models:
            return False
        config = encoder_config(model.config)
        if type(config) is not self.config_type or getattr(config, "family", "") != self.family:
            return False
        return not isinstance(model, FineTuned) or self.classifier.fits(model.config)

    def weights(self, config: Any) -> Iterator[Weight]:
        """The parameters, which have other names in a classifier."""
        classifier = isinstance(config, FineTunedConfig)
        names = self.classifier.names(self.names) if classifier else self.names
        return weights_of(self.model_of(config).shapes(config), names, self.transposed)

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
        """Whether the folder, or the first step of a sentence encoder, has such a model."""
        return super().recognises(read_modules(path)["Transformer"], head)

    def read(self, path: str | Path, baseline: Any = None) -> Contents:
        """The model in a folder; facts are the settings for vectors of texts, or the labels."""
        modules = read_modules(Path(path))
        contents = super().read(modules["Transformer"])
        config = encoder_config(contents.model.config)
        sentences = read_sentences(Path(path), modules, config.width, config.context)
        if not isinstance(contents.model, FineTuned):
            return replace(contents, facts=asdict(sentences))
        file = modules["Transformer"] / "config.json"
        labels = labels_of(Entries(file, read_json(file)))
        return replace(contents, facts={"labels": labels, "longest": sentences.longest})

    def config(self, file: Entries, tensors: Mapping[str, Tensor]) -> Any:
        """The config of the encoder, or of a classifier, whose encoder has no heads."""
        names = file.values.get("architectures")
        if not isinstance(names, list) or self.classifier.architecture not in names:
            return super().config(file, tensors)
        encoder, name = super().config(file, {}), self.classifier.dropout
        dropout = encoder.dropout if file.values.get(name) is None else file.number(name)
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

    def fields(self, file: Entries, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
        """The heads that have weights, and the numbers that the family's changes need.

        Sentence encoders name architectures with heads that they lack.
        """
        heads = {"masked_words": "mask.W", "pooler": "pooler.W", "next_sentence": "next.W"}
        found: dict[str, Any] = {
            head: self.names[weight] in tensors for head, weight in heads.items()
        }
        found["pooler"] |= found["next_sentence"]
        if not self.changes.segments:
            found["segments"] = 1
        if self.family:
            found["family"] = self.family
            if file.values.get("pad_token_id") is not None:
                found["padding"] = file.size("pad_token_id", 0)
        unread = 0
        if self.changes.after_padding:
            unread = found.get("padding", EncoderConfig.padding) + 1
        found["context"] = file.size("max_position_embeddings", unread + 2) - unread
        if self.changes.narrow:
            width = file.size("embedding_size")
            found["embedding"] = None if width == file.size("hidden_size") else width
        return found

    def entries(self, config: Any) -> dict[str, Any]:
        """The heads, and the numbers of the changes."""
        entries = super().entries(config) | {
            "architectures": [self.classes + _CLASSES[config.masked_words, config.next_sentence]],
            "max_position_embeddings": config.context,
            self.sizes["inner"]: config.inner or 4 * config.width,
        }
        if self.family:
            entries["max_position_embeddings"] += config.unread
            entries["pad_token_id"] = config.padding
        if self.changes.narrow:
            entries["embedding_size"] = config.embedding or config.width
        return entries

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
        if not isinstance(tokenizer, PublishedTokenizer):
            raise InputError(
                f"{folder}: expected a tokenizer of pieces of words, found {tokenizer.unit}"
            )
        tokenizer.add_bos = tokenizer.add_eos = False
        if tokenizer.unit != "wordpiece":
            ids = tokenizer.special.ids
            tokenizer.bos, tokenizer.eos = ids.get(BOS), ids.get(EOS)
        if None in (tokenizer.bos, tokenizer.eos, tokenizer.mask):
            raise InputError(
                f"{folder}: expected a tokenizer with [CLS], [SEP] and [MASK], or <s>, </s> and "
                "<mask>, found one without"
            )
        return tokenizer

    def tokenizer_files(self, tokenizer: Any, context: int | None) -> dict[str, bytes]:
        """Files of pieces of words, of byte pairs as RoBERTa's are, or as XLM-R's are."""
        if isinstance(tokenizer, WordPieces):
            tokenizer = PublishedTokenizer(tokenizer_json.of_ours(tokenizer))
        files = byte_pair_files(tokenizer, context)
        settings, whole = (json.loads(file) for file in reversed(files.values()))
        ids, texts = tokenizer.special.ids, tokenizer.texts
        cls, sep = tokenizer.cls, tokenizer.sep
        if not self.changes.segments:
            settings["model_input_names"] = ["input_ids", "attention_mask"]
        if tokenizer.unit != "wordpiece":
            processor = {"type": "RobertaProcessing", "trim_offsets": True}
            processor |= {"add_prefix_space": False, "cls": [BOS, cls], "sep": [EOS, sep]}
            whole["post_processor"] = processor
        mask = next(token for token in whole["added_tokens"] if token["id"] == tokenizer.mask)
        settings |= {"bos_token": texts[cls], "eos_token": texts[sep]}
        settings |= {"cls_token": texts[cls], "sep_token": texts[sep]}
        settings |= {
            "mask_token": {"__type": "AddedToken"} | {n: v for n, v in mask.items() if n != "id"}
        }
        for role, names in {"pad": ("[PAD]", "<pad>"), "unk": ("[UNK]", "<unk>")}.items():
            settings |= {f"{role}_token": name for name in names if name in ids}
        changed = {"tokenizer.json": whole, "tokenizer_config.json": settings}
        return files | {name: json_file(values) for name, values in changed.items()}


def encoder_config(config: Any) -> Any:
    """The config of an encoder, which may be inside a classifier's."""
    return config.encoder if isinstance(config, FineTunedConfig) else config


def classes_of(beginning: str) -> tuple[str, ...]:
    """The names of the classes with these weights in transformers."""
    ends = (*_CLASSES.values(), "ForSequenceClassification")
    return tuple(beginning + end for end in ends)


def attention(layer: str, parts: tuple[str, str, str], output: str) -> Names:
    """The names of the four matrices of attention and their biases."""
    return {
        "blocks.*.attention.W_qkv": tuple(f"{layer}.{part}.weight" for part in parts),
        "blocks.*.attention.b_qkv": tuple(f"{layer}.{part}.bias" for part in parts),
        "blocks.*.attention.W_o": f"{layer}.{output}.weight",
        "blocks.*.attention.b_o": f"{layer}.{output}.bias",
    }


def masked_words(dense: str, norm: str, bias: str) -> Names:
    """The names of the head for masked words."""
    return {
        "mask.W": f"{dense}.weight",
        "mask.b": f"{dense}.bias",
        "mask.norm.gain": f"{norm}.weight",
        "mask.norm.bias": f"{norm}.bias",
        "mask.output_b": bias,
    }


_LAYER, _PREDICTIONS = "encoder.layer.*", "cls.predictions"
BERT_FOLDER = EncoderFolder(
    signature="a folder with a BERT or a later encoder",
    models=(BERT, FineTuned),
    config_type=BERTConfig,
    model_type="bert",
    classes="Bert",
    architectures=classes_of("Bert"),
    classifier=Classifier("BertForSequenceClassification", "pooler.dense", "classifier", "tanh"),
    sizes={
        "vocabulary": "vocab_size",
        "layers": "num_hidden_layers",
        "heads": "num_attention_heads",
        "width": "hidden_size",
        "inner": "intermediate_size",
        "segments": "type_vocab_size",
    },
    numbers={"dropout": (0.1, "hidden_dropout_prob"), "eps": (1e-12, "layer_norm_eps")},
    written={"attention_probs_dropout_prob": 0.0},
    roles=("pad",),
    names={
        "embedding.E": "embeddings.word_embeddings.weight",
        "positions.E": "embeddings.position_embeddings.weight",
        "segments.E": "embeddings.token_type_embeddings.weight",
        "embedding.norm.gain": "embeddings.LayerNorm.weight",
        "embedding.norm.bias": "embeddings.LayerNorm.bias",
        **attention(
            f"{_LAYER}.attention", ("self.query", "self.key", "self.value"), "output.dense"
        ),
        "blocks.*.norm_1.gain": f"{_LAYER}.attention.output.LayerNorm.weight",
        "blocks.*.norm_1.bias": f"{_LAYER}.attention.output.LayerNorm.bias",
        "blocks.*.feed_forward.W_1": f"{_LAYER}.intermediate.dense.weight",
        "blocks.*.feed_forward.b_1": f"{_LAYER}.intermediate.dense.bias",
        "blocks.*.feed_forward.W_2": f"{_LAYER}.output.dense.weight",
        "blocks.*.feed_forward.b_2": f"{_LAYER}.output.dense.bias",
        "blocks.*.norm_2.gain": f"{_LAYER}.output.LayerNorm.weight",
        "blocks.*.norm_2.bias": f"{_LAYER}.output.LayerNorm.bias",
        "pooler.W": "pooler.dense.weight",
        "pooler.b": "pooler.dense.bias",
        **masked_words(
            f"{_PREDICTIONS}.transform.dense",
            f"{_PREDICTIONS}.transform.LayerNorm",
            f"{_PREDICTIONS}.bias",
        ),
        "next.W": "cls.seq_relationship.weight",
        "next.b": "cls.seq_relationship.bias",
    },
    prefix="bert.",
    heads=("cls.", "classifier."),
    output=f"{_PREDICTIONS}.decoder.weight",
    buffers=r"embeddings\.(position_ids|token_type_ids)",  # 0, 1, 2, ...
)
FORMATS = (BERT_FOLDER,)
