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
from minillm.models.gated_convolution import GatedConvolutionConfig
from minillm.models.gated_delta_net import GatedDeltaNetConfig
from minillm.models.gpt import GPTConfig
from minillm.models.image_classifier import ImageClassifierConfig
from minillm.models.language_model import LanguageModelConfig
from minillm.models.llama import LlamaConfig
from minillm.models.mamba import MambaConfig
from minillm.models.maximum_entropy import MaximumEntropyConfig
from minillm.models.neural_ngram import NeuralNGramConfig
from minillm.models.ngram import NGramConfig
from minillm.models.pointer_generator import PointerGeneratorConfig
from minillm.models.question_answering import ReaderConfig
from minillm.models.transformer import TransformerConfig
from minillm.models.word2vec import Word2VecConfig
from minillm.ops.rotary_scaling import Yarn

BERT, TRANSFORMER = BERTConfig(7), TransformerConfig(6, 5)
CONFIGS = [
    *(BERT, TRANSFORMER, BagConfig(2), ClassifierConfig(5, 2)),
    *(EncoderDecoderConfig(6, 5), FineTunedConfig("bert", BERT, 2), GPTConfig(7), LlamaConfig(7)),
    *(ImageClassifierConfig(5, 2), LanguageModelConfig(5), NeuralNGramConfig(5)),
    *(EncoderConfig(7), GatedDeltaNetConfig(7), MambaConfig(7), DecoderConfig(7)),
    *(GatedConvolutionConfig(7), MaximumEntropyConfig(7)),
    *(NGramConfig(5, 3), PointerGeneratorConfig(5), ReaderConfig(5), Word2VecConfig(5)),
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


QWEN, LLAMA = DecoderConfig(5, width=4, heads=2), LlamaConfig(5, width=4, heads=2)
NGRAM, SKIP_GRAM = NGramConfig(5, 3), Word2VecConfig(5)
ALONE = {
    BagConfig(2): [("buckets", 0, "4 or more"), ("buckets", 10, "a multiple of 4")],
    BERT: [("heads", 3, "a divisor of width, found 3 and"), ("inner", -1, "1 or more, found -1"),
        ("context", 1, "2 or more, found 1")],
    ClassifierConfig(5, 2): [("classes", 0, "1 or more")],
    FineTunedConfig("bert", BERT, 2): [("head", "silu", "one of tanh, relu, gelu; found 'silu'")],
    GPTConfig(7): [("heads", 3, "a divisor of width, found 3 and"), ("context", 1, "2 or more")],
    GatedDeltaNetConfig(7): [("heads", 3, ""), ("eps", 0.0, ""), ("feed_forward", 0, "")],
    LLAMA: [("key_heads", 0, "1 or more, found 0"),
        ("key_heads", 3, "a divisor of heads, found 3 and 2"),
        ("head_width", 3, "an even number, found 3"),
        ("rotary_base", 0.0, "a finite number above 0, found 0.0"),
        ("rope_scaling", 3.0, "a scaling of the angles, found 3.0")],
    LanguageModelConfig(9): [("layers", 10**9, "10,000 or less")],
    MambaConfig(9): [("state", 0, "1 or more, found 0"), ("convolution", 1, "2 or more, found 1"),
        ("inner", 0, "1 or more, found 0"), ("rank", 0, "1 or more, found 0"),
        ("eps", 0.0, "a finite number above 0, found 0.0")],
    NeuralNGramConfig(5): [("order", 1, "2 or more")],
    NGRAM: [("k", 0.0, "a finite number above 0, found 0.0"),
        ("prune", (2, 1), "counts that do not fall"), ("line_end", 5, r"an id in 0\.\.4, found 5"),
        ("unknown", -1, "an id"), ("order", 0, "1 or more"), ("vocabulary", 0, "1 or more")],
    PointerGeneratorConfig(5): [("unknown", 5, "an id below 5, found 5")],
    QWEN: [("family", "qwen4", "one of mistral, qwen2, .*; found 'qwen4'"),
        ("window", 3, "None for qwen3, found 3"), ("sinks", 4, "0 without a window, found 4"),
        ("local_base", 0.0, "a finite number above 0"), ("ngrams", 1, "2 or more, found 1")],
    ReaderConfig(5): [("width", 5, "an even number"), ("context", 3, "8 or more")],
    EncoderConfig(7, family="roberta"): [("embedding", 3, "none in family roberta, found 3"),
        ("padding", -1, "0 or more, found -1"),
        ("family", "bert", "one of distilbert, roberta, xlm-roberta, mpnet, electra; found ")],
    TRANSFORMER: [("heads", 3, "a divisor of width, found 3 and"),
        ("shared", True, "False for vocabularies of two sizes")],
    SKIP_GRAM: [("window", 0, "1 or more, found 0"), ("vocabulary", 1, "2 or more, found 1"),
        ("subsample", math.inf, "0 or more, but finite, found inf"),
        *(("power", wrong, "-10 to 10") for wrong in (750.0, -11.0, math.nan, math.inf))],
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "name", "wrong", "expected"),
    [(config, *row) for config, rows in ALONE.items() for row in rows],
)
def test_a_size_that_a_model_has_not(config, name, wrong, expected):
    with pytest.raises(ValueError, match=f"^{name}: expected {expected}"):
        replace(config, **{name: wrong})


@pytest.mark.parametrize(
    ("config", "change", "message"),
    [
        (QWEN, {"family": "mistral", "window": 0}, "window: expected 1 or more, found 0"),
        (QWEN, {"family": "mistral", "window": 3, "sinks": -1},
         "sinks: expected 0 or more, found -1"),
        (LLAMA, {"heads": 3, "key_heads": None, "head_width": None},
         "heads: expected a divisor of width, found 3 and 4"),
        (LLAMA, {"heads": 4, "head_width": None}, "head_width: expected 2 or more, found 1"),
        (LLAMA, {"rope_scaling": Yarn(2, 9), "rotary_base": 1},
         "rope_scaling: base: expected above 1"),
        (LanguageModelConfig(5), {"tied": True}, "embedding: expected 512, as hidden, for tied"),
        (ReaderConfig(5), {"encoder": "bert", "width": 5}, "heads: expected a divisor of width"),
        (EncoderConfig(7, family="roberta"), {"family": "electra"},
         "masked_words: expected none in family electra, found True"),
        (TRANSFORMER, {"heads": 1, "width": 3}, "width: expected an even number"),
    ],
)  # fmt: skip
def test_sizes_that_do_not_go_together(config, change, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        replace(config, **change)


def test_sizes_that_follow_from_others():
    config = LlamaConfig(vocabulary=9, heads=4, width=128)
    assert (config.key_heads, config.head_width, config.feed_forward) == (4, 32, 352)
    config = MambaConfig(9, width=40)
    assert (config.inner, config.rank, config.state, config.convolution) == (80, 3, 16, 4)
    assert MambaConfig(9, width=40, inner=7, rank=5).rank == 5
