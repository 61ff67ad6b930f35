"""The pointer-generator: gradients of all variants, padding, new words, and what it learns."""

import tracemalloc

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

from minillm import ops
from minillm.decoding import beam_search
from minillm.models.pointer_generator import PointerGenerator, PointerGeneratorConfig
from minillm.training import Adam

pytestmark = pytest.mark.usefixtures("both_twins")
CELLS = ("rnn", "lstm", "gru")
V = 6


def small(dtype=np.float64, seed=0, **options):
    options = {"embedding": 3, "hidden": 4, "dropout": 0.0, **options}
    config = PointerGeneratorConfig(V, **options)
    return PointerGenerator(config, np.random.default_rng(seed), dtype=dtype)


@originals_deep
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("coverage", [0.0, 0.7])
def test_gradient_of_every_parameter(cell, coverage):
    model = small(cell=cell, coverage=coverage)
    check_model(model, pairs_to_copy(model, np.random.default_rng(1)))


@originals_deep
@pytest.mark.parametrize("coverage", [0.0, 1.0])
def test_gradient_with_layers_and_dropout(coverage):
    model = small(layers=2, dropout=0.3, coverage=coverage)
    check_model(model, pairs_to_copy(model, np.random.default_rng(1)))


def test_gradient_without_new_words():
    """As with byte pairs."""
    model = small(cell="gru")
    check_model(model, pairs_to_copy(model, np.random.default_rng(1), new=0))


@pytest.mark.parametrize("layers", [1, 2])
def test_padding_and_batch_mates_change_nothing(layers):
    model = small(layers=layers)
    model.params["attention.W"] *= 4
    check_padding(model, pairs_to_copy)


def test_padding_has_no_coverage_either():
    check_padded_targets(small(coverage=2.0))


def test_coverage_is_in_the_training_loss_alone():
    model = small(coverage=2.0)
    batch = pairs_to_copy(model, np.random.default_rng(3))
    nats, _ = model.loss(batch)
    training, _ = model.loss(batch, np.random.default_rng(0))  # without dropout
    state, _ = model.encode(*batch[:2])
    inputs = np.concatenate([np.full((3, 1), V), batch[2][:, :-1]], axis=1)
    (_, weights), _ = model.decode(inputs, state)
    repeated, _ = ops.coverage(weights, batch[3])
    assert repeated > 0.1
    assert training == pytest.approx(nats + 2 * repeated)


def test_the_loss_is_that_of_the_mixture():
    """P of each target, in probability space: from the vocabulary, or from a position."""
    model = small()
    source, lengths, target, target_lengths = pairs_to_copy(model, np.random.default_rng(4))
    state, _ = model.encode(source, lengths)
    inputs = np.concatenate([np.full((3, 1), V), target[:, :-1]], axis=1)
    (a, weights), _ = model.decode(inputs, state)
    (logits, gates), _ = model.output(a)
    total = 0.0
    for b in range(3):
        for t in range(target_lengths[b]):
            g = 1 / (1 + np.exp(-gates[b, t]))
            p = np.exp(logits[b, t]) / np.exp(logits[b, t]).sum()
            written = p[target[b, t]] if target[b, t] <= V else 0
            copied = sum(
                weights[b, t, j] for j in range(lengths[b]) if source[b, j] == target[b, t]
            )
            total -= np.log(g * written + (1 - g) * copied)
    loss, _ = model.loss((source, lengths, target, target_lengths))
    assert loss == pytest.approx(total / target_lengths.sum(), rel=1e-12)


def test_a_new_word_is_read_as_the_unknown_word():
    """In source and target alike: other new words in the same positions change nothing."""
    model = small(unknown=2)
    source, lengths, target = np.array([[1, 7, 8, 7]]), np.array([4]), np.array([[8, 3, 7, V]])
    batch = source, lengths, target, np.array([4])
    loss, backward = model.loss(batch)
    swap = {7: 8, 8: 7}
    swapped = [np.vectorize(lambda id: swap.get(id, id))(ids) for ids in (source, target)]
    other, other_backward = model.loss((swapped[0], lengths, swapped[1], np.array([4])))
    assert other == loss
    gradients, others = backward(), other_backward()
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(others[name], gradient)
    state, _ = model.encode(source, lengths)
    unknown, _ = model.encode(np.array([[1, 2, 2, 2]]), lengths)
    np.testing.assert_array_equal(state["memory.values"], unknown["memory.values"])
    np.testing.assert_array_equal(state["memory.source"], source)


@pytest.mark.parametrize("wrong", [-1, V + 1 + 4, 2**40])
@pytest.mark.parametrize("side", ["source", "target"])
def test_ids_out_of_range_are_refused(side, wrong):
    check_ids_of_words(small(), side, wrong)


def test_the_unknown_word_is_in_the_vocabulary():
    with pytest.raises(ValueError, match=r"^unknown: expected an id below 6, found 6"):
        small(unknown=6)


def pairs_after_a_mark(rng, B, new, S=6, words=30):
    """Sources with a mark, and as the target the word after it.

    With ``new``, all words are new ones; they are in any order.
    """
    source = rng.integers(2, words, (B, S))
    if new:
        source = words + 1 + np.argsort(rng.random((B, S)), axis=1)
    rows, at = np.arange(B), rng.integers(0, S - 1, B)
    source[rows, at] = 1
    target = np.stack([source[rows, at + 1], np.full(B, words)], axis=1)
    return source, np.full(B, S), target, np.full(B, 2)


@usual_kernels
def test_words_that_no_training_has_seen_are_copied():
    rng = np.random.default_rng(8)
    config = PointerGeneratorConfig(30, embedding=16, hidden=16, dropout=0.0)
    model = PointerGenerator(config, rng)
    optimiser = Adam(model.params)
    for _ in range(250):
        _, backward = model.loss(pairs_after_a_mark(rng, 32, new=False))
        optimiser.step(backward(), 0.01)
    source, lengths, target, target_lengths = pairs_after_a_mark(rng, 100, new=True)
    outputs = beam_search(model, source, lengths, beam=2, limit=4)
    assert [best.ids for best, *_ in outputs] == [[word] for word in target[:, 0]]
    assert model.loss((source, lengths, target, target_lengths))[0] < 0.1


@usual_kernels
def test_one_batch_is_learned_by_heart():
    rng = np.random.default_rng(9)
    model = small(np.float32, hidden=16, embedding=16)
    assert fit(model, pairs_to_copy(model, rng, B=4), steps=150) < 0.05


@pytest.mark.parametrize("kernels", ["numpy"], indirect=True)  # whose arrays are all of NumPy
def test_memory_grows_linearly_with_the_source():
    """Twice the source takes twice the memory, forward and backward."""
    model = small(coverage=1.0)
    rng = np.random.default_rng(0)
    peaks = []
    for S in (150, 300):
        batch = pairs_to_copy(model, rng, B=2, S=S)
        tracemalloc.start()
        model.loss(batch, rng)[1]()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2.2 * peaks[0]
