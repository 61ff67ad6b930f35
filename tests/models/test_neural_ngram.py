"""The neural n-gram: its gradient, its windows, and that it learns."""

import numpy as np
import pytest

from minillm import use_kernels
from minillm.decoding import Writer
from minillm.models.neural_ngram import NeuralNGram, NeuralNGramConfig
from minillm.testing import check_projections
from minillm.training import Adam


def tiny(order=4, direct=False, dtype=np.float64):
    config = NeuralNGramConfig(6, order, embedding=3, hidden=5, direct=direct)
    model = NeuralNGram(config, np.random.default_rng(0), dtype=dtype)
    rng = np.random.default_rng(1)
    for array in model.params.values():  # no bias and no connection is zero
        array += 0.3 * rng.standard_normal(array.shape)
    return model


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("order", [2, 4])
def test_gradient(kernels, order, direct):
    rng = np.random.default_rng(2)
    model = tiny(order, direct)
    assert ("direct.W" in model.params) == direct
    contexts, targets = rng.integers(0, 6, (7, order - 1)), rng.integers(0, 6, 7)
    with use_kernels(kernels):
        check_projections(lambda: model.loss((contexts, targets)), model.params, rng=rng)


@pytest.mark.parametrize("order", [2, 4])
def test_gradient_of_a_window(order):
    rng = np.random.default_rng(3)
    model, state = tiny(order), {"context": rng.integers(0, 6, (2, order - 2))}
    inputs, targets = rng.integers(0, 6, (2, 5)), rng.integers(0, 6, (2, 5))

    def loss():
        (value, _), backward = model.window_loss(inputs, targets, state)
        return value, backward

    check_projections(loss, model.params, rng=rng)


@pytest.mark.parametrize("order", [2, 4])
def test_windows_in_a_row_are_one_text(order):
    rng = np.random.default_rng(4)
    model = tiny(order)
    text = rng.integers(0, 6, (2, 9))
    (whole, last), _ = model.window_loss(text[:, :-1], text[:, 1:], model.zero_state(2))
    state, total = model.zero_state(2), 0.0
    for start, stop in ((0, 1), (1, 6), (6, 8)):
        window, targets = text[:, start:stop], text[:, start + 1 : stop + 1]
        (loss, state), _ = model.window_loss(window, targets, state)
        total += loss * targets.size
    assert total / text[:, 1:].size == pytest.approx(whole)
    assert np.array_equal(state["context"], last["context"])

    state = model.zero_state(2)
    nats = 0.0
    for t in range(8):  # step by step
        logits, state = model.step(text[:, t], state)
        nats -= (logits - np.log(np.exp(logits).sum(1, keepdims=True)))[[0, 1], text[:, t + 1]]
    assert nats.mean() / 8 == pytest.approx(whole)


def test_it_sees_no_further_than_its_order():
    model = tiny(order=3)
    text = np.array([[0, 1, 2, 3, 4]])
    other = np.array([[5, 5, 5, 3, 4]])
    logits = []
    for ids in (text, other):
        state = model.zero_state(1)
        for t in range(5):
            out, state = model.step(ids[:, t], state)
        logits.append(out)
    assert np.array_equal(*logits)


def test_it_learns_a_text_by_heart():
    text = np.array([0, 1, 0, 2, 0, 3, 0, 4, 5] * 4)  # what follows 0 depends on the one before
    model = tiny(order=3, dtype=np.float32)
    optimiser = Adam(model.params)
    for _ in range(200):
        inputs, targets = text[None, :-1], text[None, 1:]
        (loss, _), backward = model.window_loss(inputs, targets, model.zero_state(1))
        optimiser.step(backward(), 0.03)
    assert loss < 0.1
    writer = Writer(model, np.random.default_rng(0), temperature=0)
    writer.read([4, 5])
    assert list(writer.write(9)) == [0, 1, 0, 2, 0, 3, 0, 4, 5]


@pytest.mark.parametrize(
    ("change", "message"),
    [({"order": 1}, "order must be at least 2"), ({"hidden": 0}, "hidden must be at least 1")],
)
def test_refusals(change, message):
    with pytest.raises(ValueError, match=message):
        NeuralNGramConfig(5, **change)
