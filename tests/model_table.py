"""Every model with gradients, in one table: its sizes, and a batch that its loss takes.

``models/test_every_model.py`` has what all of them promise; other tests take their models here.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from minillm.data.masking import Masking, framed
from minillm.models import decoders, encoders, fine_tuned
from minillm.models.bag_of_ngrams import Bag, BagConfig
from minillm.models.bert import BERT, BERTConfig
from minillm.models.classifier import CLASSIFIER_POOLINGS, Classifier, ClassifierConfig
from minillm.models.decoders import Decoder, DecoderConfig
from minillm.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from minillm.models.encoders import Encoder, EncoderConfig
from minillm.models.fine_tuned import FineTuned, FineTunedConfig
from minillm.models.gated_convolution import GatedConvolution, GatedConvolutionConfig
from minillm.models.gated_delta_net import GatedDeltaNet, GatedDeltaNetConfig
from minillm.models.gpt import GPT, GPTConfig
from minillm.models.image_classifier import ImageClassifier, ImageClassifierConfig
from minillm.models.language_model import LanguageModel, LanguageModelConfig
from minillm.models.llama import Llama, LlamaConfig
from minillm.models.mamba import Mamba, MambaConfig
from minillm.models.neural_ngram import NeuralNGram, NeuralNGramConfig
from minillm.models.pointer_generator import PointerGenerator, PointerGeneratorConfig
from minillm.models.question_answering import Reader, ReaderConfig
from minillm.models.transformer import Transformer, TransformerConfig
from minillm.ops.rotary_scaling import Llama3
from minillm.text.ngrams import hashed_ngrams

V, C = 7, 12  # tokens and positions
CLS, SEP, MASK = 0, 1, 2


# --- batches --------------------------------------------------------------------------------------


def lengths_of(rng, B, most, least=1):
    lengths = rng.integers(least, most + 1, B)
    lengths[0] = most
    return lengths


def windows(model, rng, B=3, T=5):
    return tuple(rng.integers(0, model.config.vocabulary, (2, B, T)))


def labelled_texts(model, rng, B=4, T=5):
    ids = rng.integers(0, model.config.vocabulary, (B, T))
    return ids, lengths_of(rng, B, T), rng.integers(0, model.config.classes, B)


def labelled_ngrams(model, rng):
    texts = ["not bad", "a good day it was", "", "bad"]
    rows = [hashed_ngrams(text.split(), model.config.buckets) for text in texts]
    ids = np.zeros((4, max(map(len, rows))), int)
    for row, own in zip(ids, rows, strict=True):
        row[: len(own)] = own
    return ids, np.array([len(own) for own in rows]), np.array([0, 2, 1, 1])


def images(model, rng, B=4):
    """Floats, and classes."""
    x = rng.standard_normal((B, model.config.pixels)).astype(model.dtype)
    return x, rng.integers(0, model.config.classes, B)


def masked(model, rng, parts=1):
    """Rows of unequal length with hidden tokens, some of two parts."""
    rows = [[rng.integers(3, V, n) for _ in range(parts)] for n in (4, 3, 2)]
    return Masking(MASK, np.arange(V) > MASK).hide(framed(rows, CLS, SEP), rng)


def masked_pairs(model, rng):
    return masked(model, rng, parts=2)


def pairs(model, rng, B=3, S=5, T=4):
    """Sources and targets of unequal lengths; targets end with EOS."""
    c = model.config
    source, target = (
        rng.integers(0, V, (B, n)) for V, n in ((c.source_vocabulary, S), (c.target_vocabulary, T))
    )
    source_lengths, target_lengths = lengths_of(rng, B, S), lengths_of(rng, B, T)
    target[np.arange(B), target_lengths - 1] = c.eos
    return source, source_lengths, target, target_lengths


def pairs_to_copy(model, rng, B=3, S=5, T=4, new=3):
    """Pairs of one vocabulary and of words that it lacks.

    Every source has each of the new words, and most words of a target are in its source.
    """
    V = model.config.vocabulary
    source_lengths, target_lengths = lengths_of(rng, B, S, max(new, 1)), lengths_of(rng, B, T)
    source, target = rng.integers(0, V, (B, S)), rng.integers(0, V, (B, T))
    for row, length in enumerate(source_lengths):
        source[row, rng.permutation(length)[:new]] = V + 1 + np.arange(new)
        copies = rng.random(T) < 0.7
        target[row, copies] = rng.choice(source[row, :length], copies.sum())
    target[np.arange(B), target_lengths - 1] = model.config.eos
    return source, source_lengths, target, target_lengths


def pairs_of_known_words(model, rng):
    return pairs_to_copy(model, rng, new=0)


def questions(model, rng, B=3, J=4, T=6):
    """Questions and contexts of unequal lengths, with the places of the answers."""
    V = model.config.vocabulary
    question, context = rng.integers(3, V, (B, J)), rng.integers(3, V, (B, T))
    question_lengths, lengths = lengths_of(rng, B, J, 2), lengths_of(rng, B, T, 4)[::-1].copy()
    question[np.arange(B), question_lengths - 1] = SEP
    context[:, 0], context[np.arange(B), lengths - 1] = CLS, SEP
    first = rng.integers(0, lengths - 1)
    last = rng.integers(first, lengths - 1)
    return question, question_lengths, context, lengths, np.stack([first, last], axis=1)


# --- the table ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """A model: its class, its configuration, and what its batches are."""

    Model: type
    config: Any
    batch: Callable
    options: dict = field(default_factory=dict)  # of the loss that its gradient is checked with

    def new(self, dtype=np.float64, seed=0):
        """A model in which no bias is zero, no gain one, and no branch negligible."""
        model = self.Model(self.config, np.random.default_rng(seed), dtype=dtype)
        rng = np.random.default_rng(seed + 1)
        for array in model.params.values():
            array += (0.3 * rng.standard_normal(array.shape)).astype(dtype)
        return model

    def with_batch(self, dtype=np.float64, seed=1):
        model = self.new(dtype)
        return model, self.batch(model, np.random.default_rng(seed))


def lm(cell, **options):
    sizes = {"embedding": 4, "hidden": 4, "layers": 2, "dropout": 0.0}
    return Entry(LanguageModel, LanguageModelConfig(V, cell=cell, **sizes | options), windows)


def neural(order, **options):
    config = NeuralNGramConfig(V, order, embedding=3, hidden=5, **options)
    return Entry(NeuralNGram, config, windows)


def mamba(**options):
    sizes = {"layers": 2, "width": 4, "inner": 6, "state": 3, "convolution": 3, "rank": 2}
    return Entry(Mamba, MambaConfig(V, **sizes | options), windows)


BLOCKS = {"context": C, "layers": 2, "heads": 2, "width": 8}
LLAMA = BLOCKS | {"key_heads": 1, "feed_forward": 10}
UNUSUAL = LLAMA | {"rotary_base": 50.0, "rope_scaling": Llama3(4.0, 1.0, 4.0, 9.0), "eps": 1e-3}


def decoder(family, **options):
    window = {"window": 3} if decoders.FAMILIES[family].windows else {}
    sizes = LLAMA | window | {"global_every": 2, "unrotated_every": 2, "head_width": 6}
    return Entry(Decoder, DecoderConfig(V, family=family, **sizes | options), windows)


def encoder(family, **options):
    changes = encoders.FAMILIES[family]
    given = {"family": family, "padding": 1, "masked_words": changes.masked_words, "width": 6}
    given |= {"embedding": 4} if changes.narrow else {}
    batch = masked_pairs if changes.segments else masked
    return Entry(Encoder, EncoderConfig(V, **BLOCKS | given | options), batch)


def classifier(**options):
    sizes = {"embedding": 3, "hidden": 4, "layers": 2, "dropout": 0.0}
    return Entry(Classifier, ClassifierConfig(V, 3, **sizes | options), labelled_texts)


SMALL = {"context": 8, "layers": 2, "heads": 2, "width": 4}
ENCODERS = {
    "bert": BERTConfig(V, **SMALL, masked_words=False),
    "encoder": EncoderConfig(V, **SMALL, family="electra", embedding=3, masked_words=False),
    "gpt": GPTConfig(V, **SMALL),
    "llama": LlamaConfig(V, **SMALL, key_heads=1, feed_forward=5),
    "decoder": DecoderConfig(V, **SMALL, key_heads=1, feed_forward=5, window=3, family="gemma3"),
    "lm": LanguageModelConfig(V, embedding=3, hidden=4, layers=2, headless=True),
}
SHALLOW = BERTConfig(V, **SMALL | {"layers": 1}, masked_words=False)


def tuned(kind, config=None, **options):
    config = FineTunedConfig(kind, config or ENCODERS[kind], 3, **options)
    return Entry(FineTuned, config, labelled_texts)


def encoder_decoder(**options):
    sizes = {"embedding": 3, "hidden": 4, "dropout": 0.0, "label_smoothing": 0.0}
    return Entry(EncoderDecoder, EncoderDecoderConfig(6, 5, **sizes | options), pairs)


def pointer(batch=pairs_to_copy, **options):
    sizes = {"embedding": 3, "hidden": 4, "dropout": 0.0}
    return Entry(PointerGenerator, PointerGeneratorConfig(6, **sizes | options), batch)


def transformer(**options):
    sizes = {"layers": 1, "heads": 2, "width": 4, "feed_forward": 6}
    rates = {"dropout": 0.0, "label_smoothing": 0.0}
    return Entry(Transformer, TransformerConfig(5, 5, **sizes | rates | options), pairs)


def reader(kind, **options):
    sizes = {"width": 4, "heads": 2, "layers": 2, "context": 20, "dropout": 0.0}
    return Entry(Reader, ReaderConfig(9, kind, **sizes | options), questions)


# Language models that carry a state from window to window.
WINDOWS = {
    "rnn": lm("rnn"),
    "lstm": lm("lstm", dropout=0.4),
    "gru, tied": lm("gru", tied=True, layers=1),
    "lstm, one-hot": lm("lstm", embedding=0, dropout=0.4),
    "neural 4-gram": neural(4, dropout=0.4),
    "neural 2-gram": neural(2),
    "convolution": Entry(
        GatedConvolution, GatedConvolutionConfig(V, 2, 4, convolution=3, dropout=0.3), windows
    ),
    "mamba": mamba(dropout=0.3),
    "mamba, untied": mamba(tied=False, convolution=2, eps=0.1),
}
# Language models whose past is in a cache, if a reader knows them.
CAUSAL = {
    "gpt": Entry(GPT, GPTConfig(V, **BLOCKS, dropout=0.3), windows),
    "llama": Entry(Llama, LlamaConfig(V, **UNUSUAL, dropout=0.3), windows),
    "llama, untied": Entry(Llama, LlamaConfig(V, **LLAMA, head_width=6, tied=False), windows),
    "mistral": decoder("mistral", sinks=1, global_every=0),
    "qwen2": decoder("qwen2"),
    "qwen3": decoder("qwen3", tied=False),
    "smollm3": decoder("smollm3"),
    "gemma3": decoder("gemma3", rope_scaling=Llama3(4.0, 1.0, 4.0, 9.0), eps=1e-3, dropout=0.3),
}
STACKS = CAUSAL | {
    "n-grams": decoder("qwen3", ngrams=3),
    "gated delta net": Entry(
        GatedDeltaNet, GatedDeltaNetConfig(V, **BLOCKS | {"layers": 4}), windows
    ),
}
MASKED = {
    "bert": Entry(BERT, BERTConfig(V, **BLOCKS, dropout=0.3), masked),
    "bert of pairs": Entry(BERT, BERTConfig(V, **BLOCKS, inner=5), masked_pairs),
    "roberta": encoder("roberta", inner=5, dropout=0.3),
    "distilbert": encoder("distilbert"),
    "mpnet": encoder("mpnet", dropout=0.3),
}
CLASSIFIERS = {
    **{f"classifier, {kind}": classifier(pooling=kind) for kind in CLASSIFIER_POOLINGS},
    "classifier, last, one way": classifier(pooling="last", bidirectional=False, cell="rnn"),
    "classifier, dropout": classifier(cell="lstm", dropout=0.3),
    "bag": Entry(Bag, BagConfig(3, buckets=40), labelled_ngrams),
    **{f"fine-tuned {kind}": tuned(kind) for kind in ENCODERS},
    **{f"fine-tuned lm, {kind}": tuned("lm", pooling=kind) for kind in fine_tuned.ENCODER_POOLINGS},
    **{f"fine-tuned bert, {kind}": tuned("bert", SHALLOW, head=kind) for kind in fine_tuned.HEADS},
    "fine-tuned one-hot": tuned("lm", LanguageModelConfig(V, 0, 4, layers=2, headless=True)),
}
PAIRS = {
    "encoder-decoder, none": encoder_decoder(attention="none", cell="rnn"),
    "encoder-decoder, dot": encoder_decoder(attention="dot", cell="gru", bidirectional=False),
    "encoder-decoder, dot, both ways": encoder_decoder(attention="dot"),
    "encoder-decoder, general": encoder_decoder(attention="general"),
    "encoder-decoder, additive": encoder_decoder(layers=2, dropout=0.3, label_smoothing=0.2),
    "pointer": pointer(),
    "pointer, coverage": pointer(cell="rnn", coverage=0.7),
    "pointer, dropout": pointer(layers=2, dropout=0.3, coverage=1.0, cell="gru"),
    "pointer, known words": pointer(pairs_of_known_words, cell="gru"),
    "transformer": transformer(tied=False, post_norm=True, dropout=0.3, label_smoothing=0.2),
    "transformer, tied": transformer(tied=True),
    "transformer, shared": transformer(shared=True, layers=2, dropout=0.3, label_smoothing=0.2),
}
READERS = {"reader": reader("recurrent"), "reader, bert": reader("bert")}
OTHERS = {"images": Entry(ImageClassifier, ImageClassifierConfig(5, 3, hidden=8), images)}

TABLE = WINDOWS | STACKS | MASKED | CLASSIFIERS | PAIRS | READERS | OTHERS
# The first entry of each class.
EACH_CLASS = {
    name: entry
    for name, entry in TABLE.items()
    if entry.Model not in [other.Model for other in list(TABLE.values())[: list(TABLE).index(name)]]
}


def each(table):
    """A test of each entry of a table, with its name and its module's, by which it is chosen."""
    modules = [
        e.Model.__module__.rpartition(".")[2] if e.Model else "ngram" for e in table.values()
    ]
    names = [f"{module}: {name}" for module, name in zip(modules, table, strict=True)]
    return pytest.mark.parametrize("entry", table.values(), ids=names)
