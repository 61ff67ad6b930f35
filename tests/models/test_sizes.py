"""The sizes that no model can have: each is refused in a line that names it."""

import importlib
import math
import pkgutil
from dataclasses import fields, is_dataclass, replace

import pytest

import minillm.models
from minillm.models.bag_of_ngrams import BagConfig
from minillm.models.bert import BERTConfig
from minillm.models.classifier import ClassifierConfig
from minillm.models.decoders import DecoderConfig
from minillm.models.encoder_decoder import EncoderDecoderConfig
from minillm.models.encoders import EncoderConfig
from minillm.models.fine_tuned import FineTunedConfig
from minillm.models.gated_delta_net import GatedDeltaNetConfig
from minillm.models.gpt import GPTConfig
from minillm.models.image_classifier import ImageClassifierConfig
from minillm.models.language_model import LanguageModelConfig
from minillm.models.llama import LlamaConfig
from minillm.models.mamba import MambaConfig
from minillm.models.neural_ngram import NeuralNGramConfig
from minillm.models.ngram import NGramConfig
from minillm.models.pointer_generator import PointerGeneratorConfig
from minillm.models.question_answering import ReaderConfig
from minillm.models.transformer import TransformerConfig
from minillm.models.word2vec import Word2VecConfig

BERT, TRANSFORMER = BERTConfig(7), TransformerConfig(6, 5)
CONFIGS = [
    *(BERT, TRANSFORMER, BagConfig(2), ClassifierConfig(5, 2)),
    *(EncoderDecoderConfig(6, 5), FineTunedConfig("bert", BERT, 2), GPTConfig(7), LlamaConfig(7)),
    *(ImageClassifierConfig(5, 2), LanguageModelConfig(5), NeuralNGramConfig(5)),
    *(EncoderConfig(7), GatedDeltaNetConfig(7), MambaConfig(7), DecoderConfig(7)),
    *(
        NGramConfig(5, 3),
        PointerGeneratorConfig(5),
        ReaderConfig(5),
        Word2VecConfig(5),
    ),
]


def test_every_config_is_here():
    modules = [
        importlib.import_module(f"minillm.models.{module.name}")
        for module in pkgutil.iter_modules(minillm.models.__path__)
    ]
    values = [value for module in modules for value in vars(module).values()]
    known = {v for v in values if is_dataclass(v) and getattr(v, "__name__", "").endswith("Config")}
    assert known == {type(config) for config in CONFIGS}


# Neither a size, a rate nor a choice of any model.
NO_NUMBERS = [math.nan, math.inf, -math.inf]
WRONG = {int: [-1, *NO_NUMBERS], float: NO_NUMBERS, str: ["nonsense"]}
RATES = {"dropout": [1.0], "label_smoothing": [1.0]}


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_nonsense_is_refused(config):
    for entry in fields(config):
        usual = WRONG.get(type(getattr(config, entry.name)), [])
        for wrong in usual + RATES.get(entry.name, []):
            with pytest.raises(ValueError, match=f"^{entry.name}: expected .*found"):
                replace(config, **{entry.name: wrong})


@pytest.mark.parametrize(
    ("config", "change", "message"),
    [
        (BagConfig(2), {"buckets": 0}, "buckets: expected 4 or more"),
        (BagConfig(2), {"buckets": 10}, "buckets: expected a multiple of 4"),
        (BERT, {"heads": 3}, "heads: expected a divisor of width, found 3 and"),
        (BERT, {"inner": -1}, "inner: expected 1 or more, found -1"),
        (BERT, {"context": 1}, "context: expected 2 or more, found 1"),
        (ClassifierConfig(5, 2), {"classes": 0}, "classes: expected 1 or more"),
        (GPTConfig(7), {"heads": 3}, "heads: expected a divisor of width, found 3 and"),
        (GPTConfig(7), {"context": 1}, "context: expected 2 or more"),
        (LanguageModelConfig(5), {"tied": True}, "embedding: expected 512, as hidden, for tied"),
        (DecoderConfig(5), {"ngrams": 1}, "ngrams: expected 2 or more, found 1"),
        (NeuralNGramConfig(5), {"order": 1}, "order: expected 2 or more"),
        (ReaderConfig(5), {"width": 5}, "width: expected an even number"),
        (ReaderConfig(5), {"encoder": "bert", "width": 5}, "heads: expected a divisor of width"),
        (ReaderConfig(5), {"context": 3}, "context: expected 8 or more"),
        (TRANSFORMER, {"heads": 3}, "heads: expected a divisor of width, found 3 and"),
        (TRANSFORMER, {"heads": 1, "width": 3}, "width: expected an even number"),
        (TRANSFORMER, {"shared": True}, "shared: expected False for vocabularies of two sizes"),
    ],
)
def test_sizes_that_do_not_go_together(config, change, message):
    with pytest.raises(ValueError, match=message):
        replace(config, **change)
