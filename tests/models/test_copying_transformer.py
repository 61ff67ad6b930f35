"""The Transformer with copying: gradients, padding, new words, and what it learns."""

import numpy as np
import pytest
from model_checks import (
    check_ids_of_words,
    check_model,
    check_padded_targets,
    check_padding,
    fit,
    pairs_to_copy,
)
from usual import originals_deep, usual_kernels

from minillm.decoding import beam_search
from minillm.models.copying_transformer import CopyingTransformer, CopyingTransformerConfig
from minillm.models.transformer import Transformer
from minillm.training import Adam

pytestmark = pytest.mark.usefixtures("both_twins")
V = 6


def small(dtype=np.float64, seed=0, **options):
    options = {"layers": 1, "heads": 2, "width": 4, "feed_forward": 5, "dropout": 0.0, **options}
    config = CopyingTransformerConfig(V, **options)
    return CopyingTransformer(config, np.random.default_rng(seed), dtype=dtype)


@originals_deep
@pytest.mark.parametrize(("post_norm", "coverage"), [(False, 0.0), (True, 0.7)])
def test_gradient_of_every_parameter(post_norm, coverage):
    model = small(post_norm=post_norm, coverage=coverage)
    check_model(model, pairs_to_copy(model, np.random.default_rng(1)))


@originals_deep
def test_gradient_with_layers_and_dropout():
    model = small(layers=2, dropout=0.3, coverage=1.0)
    check_model(model, pairs_to_copy(model, np.random.default_rng(1)))


@pytest.mark.parametrize("post_norm", [False, True])
def test_padding_and_batch_mates_change_nothing(post_norm):
    check_padding(small(layers=2, post_norm=post_norm), pairs_to_copy)


def test_padding_has_no_coverage_either():
    check_padded_targets(small(coverage=2.0))


def test_the_loss_is_that_of_the_mixture():
    model = small()
    source, lengths, target, target_lengths = pairs_to_copy(model, np.random.default_rng(4))
    inputs = model.known(np.concatenate([np.full((3, 1), V), target[:, :-1]], axis=1))
    memory, _ = model.encode(source, lengths)
    y, _ = model.transformer().decode(inputs, memory, lengths)
    p = model.params
    total = 0.0
    for b in range(3):
        keys = memory[b, : lengths[b]] @ p["pointer.W_k"]
        for t in range(target_lengths[b]):
            scores = keys @ (y[b, t] @ p["pointer.W_q"]) / np.sqrt(keys.shape[1])
            w = np.exp(scores) / np.exp(scores).sum()
            logits = p["embedding.E"] @ y[b, t]
            g = 1 / (1 + np.exp(-(y[b, t] @ p["gate.W"] + p["gate.b"])[0]))
            written = (np.exp(logits) / np.exp(logits).sum())[min(target[b, t], V)]
            copied = w[source[b, : lengths[b]] == target[b, t]].sum()
            total -= np.log(g * written * (target[b, t] <= V) + (1 - g) * copied)
    loss, _ = model.loss((source, lengths, target, target_lengths))
    assert loss == pytest.approx(total / target_lengths.sum(), rel=1e-12)


def test_a_new_word_is_read_as_the_unknown_word():
    model = small(unknown=2)
    memory, _ = model.encode(np.array([[1, 7, 8, 7]]), np.array([4]))
    unknown, _ = model.encode(np.array([[1, 2, 2, 2]]), np.array([4]))
    np.testing.assert_array_equal(memory, unknown)


@pytest.mark.parametrize("wrong", [-1, V + 1 + 4, 2**40])
@pytest.mark.parametrize("side", ["source", "target"])
def test_ids_out_of_range_are_refused(side, wrong):
    check_ids_of_words(small(), side, wrong)


def test_the_weights_of_a_shared_transformer_keep_their_names():
    """So a pre-trained one can learn to copy."""
    model = small()
    config = model.config.transformer()
    shapes = Transformer.shapes(config)
    assert shapes.items() < CopyingTransformer.shapes(model.config).items()
    new = model.params.keys() - shapes.keys()
    assert new == {"pointer.W_q", "pointer.W_k", "gate.W", "gate.b"}


def third_words(rng, B, new, S=6, words=30):
    """Sources, and their third words as the targets.  With ``new``, all words are new ones."""
    source = rng.integers(1, words, (B, S))
    if new:
        source = words + 1 + np.argsort(rng.random((B, S)), axis=1)
    target = np.stack([source[:, 2], np.full(B, words)], axis=1)
    return source, np.full(B, S), target, np.full(B, 2)


@usual_kernels
def test_words_that_no_training_has_seen_are_copied():
    rng = np.random.default_rng(8)
    sizes = {"layers": 1, "heads": 2, "width": 16, "feed_forward": 16, "dropout": 0.0}
    model = CopyingTransformer(CopyingTransformerConfig(30, **sizes), rng)
    optimiser = Adam(model.params)
    for _ in range(100):
        _, backward = model.loss(third_words(rng, 32, new=False))
        optimiser.step(backward(), 0.01)
    source, lengths, target, target_lengths = third_words(rng, 100, new=True)
    outputs = beam_search(model, source, lengths, beam=2, limit=4)
    assert [best.ids for best, *_ in outputs] == [[word] for word in target[:, 0]]
    assert model.loss((source, lengths, target, target_lengths))[0] < 0.1


@usual_kernels
def test_one_batch_is_learned_by_heart():
    rng = np.random.default_rng(9)
    model = small(np.float32, width=16, feed_forward=32)
    assert fit(model, pairs_to_copy(model, rng, B=4), steps=100) < 0.05
