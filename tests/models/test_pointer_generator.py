"""The pointer-generator: its mixture, coverage, new words, and what it learns."""

import tracemalloc

import numpy as np
import pytest
from model_table import pairs_to_copy, pointer

from minillm import ops
from minillm.decoding import TargetDecoder

pytestmark = pytest.mark.usefixtures("both_twins")
V = 6


def small(**options):
    return pointer(**options).new()


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
    """In one line: ids that no word of the vocabulary or of a source of 4 words has."""
    model, source, target = small(), np.array([[1, V + 1, V + 2, 0]]), np.array([[V + 2, 3, V]])
    {"source": source, "target": target}[side][0, 1] = wrong
    message = rf"{side}: expected 0\.\.{V + 4}, found .*{wrong}"
    with pytest.raises(ValueError, match=message):
        model.loss((source, np.array([4]), target, np.array([3])))
    if side == "source":
        with pytest.raises(ValueError, match=message):
            TargetDecoder(model).start(source, np.array([4]))


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
