"""Tasks that a model could not learn if its gradient were wrong, one for each kind of model.

What they are tested on was not seen in training, unless the docstring says otherwise.
"""

import numpy as np
import pytest
from model_checks import logits_of
from model_table import CLS, MASK, SEP, V

from minillm import ops
from minillm.data.masking import MaskedBatch, framed
from minillm.decoding import beam_search
from minillm.models.bert import BERT, BERTConfig
from minillm.models.gated_delta_net import GatedDeltaNet, GatedDeltaNetConfig
from minillm.models.gpt import GPT, GPTConfig
from minillm.models.language_model import LanguageModel, LanguageModelConfig
from minillm.models.llama import Llama, LlamaConfig
from minillm.models.mamba import Mamba, MambaConfig
from minillm.models.pointer_generator import PointerGenerator, PointerGeneratorConfig
from minillm.models.transformer import Transformer, TransformerConfig
from minillm.training.optimisers import Adam, clip_global_norm


def train(params, next_loss, steps, learning_rate, warmup=1):
    """Take steps on new batches, whose rate falls in the second half."""
    optimiser = Adam(params)
    for step in range(steps):
        _, backward = next_loss()
        gradients = backward()
        clip_global_norm(gradients, 1.0)
        rate = learning_rate * min(1, (step + 1) / warmup, (steps - step) / (steps / 2))
        optimiser.step(gradients, rate)


# --- language models ------------------------------------------------------------------------------


def loss_at_the_end(model, inputs, targets, asked):
    """The loss at the last ``asked`` places of a text: what stands before is noise."""
    logits, logits_backward = logits_of(model, inputs)
    loss, loss_backward = ops.cross_entropy(logits[:, -asked:], targets[:, -asked:])

    def backward():
        dlogits = np.zeros_like(logits)
        dlogits[:, -asked:] = loss_backward()
        return logits_backward(dlogits)

    return loss, backward


def share_learned(model, text, asked, steps, learning_rate, warmup=1):
    """The share of right answers at the last places, in texts ``text(B)``."""

    def next_loss():
        batch = text(32)
        return loss_at_the_end(model, batch[:, :-1], batch[:, 1:], asked)

    train(model.params, next_loss, steps, learning_rate, warmup)
    batch = text(200)
    answers = logits_of(model, batch[:, :-1])[0][:, -asked:].argmax(-1)
    return np.mean(answers == batch[:, -asked:])


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_copying_what_was_read(cell):
    """Read three random symbols, then a separator, then output the three symbols again."""
    rng = np.random.default_rng(1)
    model = LanguageModel(LanguageModelConfig(5, embedding=16, hidden=48, cell=cell), rng)

    def text(B):
        symbols = rng.integers(1, 5, (B, 3))
        return np.concatenate([symbols, np.zeros((B, 1), int), symbols], axis=1)

    assert share_learned(model, text, 3, 300, 2e-2) > 0.98  # chance: 0.25


def test_one_symbol_among_noise_is_remembered():
    """Its place varies, so that a Mamba has to choose what it takes up: by what it reads."""
    rng, T = np.random.default_rng(2), 9
    model = Mamba(MambaConfig(8, layers=1, width=16, state=4), rng)

    def text(B):
        text = rng.integers(3, 7, (B, T + 2))  # noise
        text[:, T + 1] = text[np.arange(B), rng.integers(0, T - 4, B)] = rng.integers(0, 3, B)
        text[:, T] = 7  # the question
        return text

    assert share_learned(model, text, 1, 150, 2e-2) > 0.95  # chance: 1/3


@pytest.mark.deep
def test_looking_up_the_value_of_a_key():
    """Pairs of a key and a value, then a key: its value follows, which a bigram cannot know."""
    rng, rows = np.random.default_rng(0), np.arange(200)
    model = GatedDeltaNet(GatedDeltaNetConfig(8, context=8, layers=3, heads=2, width=32), rng)

    def text(B):
        keys = rng.permuted(np.tile(np.arange(4), (B, 1)), axis=1)[:, :3]
        values, asked = rng.integers(4, 8, (B, 3)), rng.integers(0, 3, B)
        pairs = np.stack([keys, values], axis=2).reshape(B, 6)
        last = [keys[rows[:B], asked], values[rows[:B], asked]]
        return np.concatenate([pairs, np.stack(last, axis=1)], axis=1)

    assert (
        share_learned(model, text, 1, 400, 1e-2, warmup=20) > 0.8
    )  # guessing among the three: 1/3


@pytest.mark.deep
@pytest.mark.parametrize(("Model", "Config"), [(GPT, GPTConfig), (Llama, LlamaConfig)])
def test_induction_what_followed_before_follows_again(Model, Config):
    """The second half of a random text repeats the first: only attention can predict it."""
    rng = np.random.default_rng(0)
    model = Model(Config(vocabulary=12, context=12, layers=2, heads=2, width=32), rng)

    def text(B):
        half = rng.permuted(np.tile(np.arange(12), (B, 1)), axis=1)[:, :6]
        return np.concatenate([half, half], axis=1)

    assert share_learned(model, text, 5, 200, 1e-2, warmup=20) > 0.98


# --- encoders -----------------------------------------------------------------------------------


@pytest.mark.deep
def test_a_bert_fills_a_repeated_pattern():
    """A hidden token also occurs two places further, so unseen rows can be filled in, too."""
    rng = np.random.default_rng(0)
    model = BERT(BERTConfig(V + 2, 12, layers=1, heads=2, width=16, inner=16), rng)

    def batch(B):
        texts = framed([[np.tile(rng.integers(3, V + 2, 2), 3)] for _ in range(B)], CLS, SEP)
        places = np.zeros(texts.ids.shape, bool)
        places[np.arange(B), rng.integers(3, 5, B)] = True
        read = np.where(places, MASK, texts.ids)
        return MaskedBatch(read, texts.lengths, texts.segments, places, texts.ids[places])

    train(model.params, lambda: model.loss(batch(30)), 200, 0.01, warmup=20)
    assert model.loss(batch(100))[0] < 0.2  # guessing: log 6 = 1.8


# --- sequences to sequences -----------------------------------------------------------------------


@pytest.mark.deep
@pytest.mark.parametrize(("task", "post_norm"), [("reverse", True), ("sort", False)])
def test_a_transformer_learns_to(task, post_norm):
    """Sequences of 1 to 6 of 8 letters; guessing would get half of them right once in 10,000."""
    sizes = {"layers": 1, "heads": 2, "width": 32, "feed_forward": 64, "post_norm": post_norm}
    rng = np.random.default_rng(9)
    config = TransformerConfig(8, 8, **sizes, dropout=0.0, label_smoothing=0.0)
    model = Transformer(config, rng)

    def batch(B):
        lengths = rng.integers(1, 7, B)
        source, target = rng.integers(0, 8, (B, 6)), np.full((B, 7), 8)
        for b, n in enumerate(lengths):
            target[b, :n] = np.sort(source[b, :n]) if task == "sort" else source[b, :n][::-1]
        return source, lengths, target, lengths + 1

    train(model.params, lambda: model.loss(batch(64)), 300, 0.005, warmup=30)
    source, lengths, target, target_lengths = batch(64)
    outputs = beam_search(model, source, lengths, beam=2, limit=10)
    right = [
        best.ids == target[b, : target_lengths[b] - 1].tolist()
        for b, (best, *_) in enumerate(outputs)
    ]
    assert np.mean(right) > 0.9


def test_words_that_no_training_has_seen_are_copied():
    """The target is the word after a mark; at the end, all words of a source are new."""
    words, S, rng = 30, 6, np.random.default_rng(8)
    config = PointerGeneratorConfig(words, embedding=16, hidden=16, dropout=0.0)
    model = PointerGenerator(config, rng)

    def batch(B, new=False):
        source = rng.integers(2, words, (B, S))
        if new:
            source = words + 1 + np.argsort(rng.random((B, S)), axis=1)
        rows, at = np.arange(B), rng.integers(0, S - 1, B)
        source[rows, at] = 1
        target = np.stack([source[rows, at + 1], np.full(B, words)], axis=1)
        return source, np.full(B, S), target, np.full(B, 2)

    train(model.params, lambda: model.loss(batch(32)), 200, 0.015)
    source, lengths, target, target_lengths = batch(100, new=True)
    outputs = beam_search(model, source, lengths, beam=2, limit=4)
    assert [best.ids for best, *_ in outputs] == [[word] for word in target[:, 0]]
    assert model.loss((source, lengths, target, target_lengths))[0] < 0.1
