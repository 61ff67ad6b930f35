"""The neural n-gram: its gradient, its equation, and that it learns.

What it has in common with other language models is in test_next_token_models.py.
"""

import numpy as np
import pytest
from model_checks import check_model

from minillm.decoding import Continuation, Reader, Sampling, write
from minillm.models.neural_ngram import NeuralNGram, NeuralNGramConfig
from minillm.training import Adam

pytestmark = pytest.mark.usefixtures("both_twins")


def tiny(order=4, dropout=0.0, dtype=np.float64):
    config = NeuralNGramConfig(6, order, 3, 5, dropout)
    model = NeuralNGram(config, np.random.default_rng(0), dtype=dtype)
    rng = np.random.default_rng(1)
    for array in model.params.values():  # no bias and no connection is zero
        array += 0.3 * rng.standard_normal(array.shape)
    return model


@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize("options", [{}, {"dropout": 0.4}])
def test_gradient(order, options):
    rng = np.random.default_rng(3)
    check_model(tiny(order, **options), tuple(rng.integers(0, 6, (2, 2, 5))))


def test_the_equation_of_the_paper():
    rng = np.random.default_rng(2)
    model, ids = tiny(order=3), rng.integers(0, 6, (2, 5))
    p = model.params
    (logits, _), _ = model.forward(ids, model.zero_state(2))
    x = np.concatenate([p["embedding.E"][ids[:, 1:3]][:, 0], p["embedding.E"][ids[:, 2]]], axis=1)
    h = np.tanh(x @ p["hidden.W"] + p["hidden.b"])
    expected = h @ p["output.W"] + p["output.b"]
    np.testing.assert_allclose(logits[:, 2], expected, rtol=1e-12)


def test_dropout_takes_an_rng():
    model, ids = tiny(dropout=0.5), np.zeros((1, 3), int)
    plain, _ = model.loss((ids, ids))
    dropped = [model.loss((ids, ids), np.random.default_rng(s))[0] for s in (1, 1, 2)]
    assert dropped[0] == dropped[1] != dropped[2]
    assert plain not in dropped


def test_it_sees_no_further_than_its_order():
    model = tiny(order=3)
    text = np.array([[0, 1, 2, 3, 4]])
    other = np.array([[5, 5, 5, 3, 4]])
    logits = []
    for ids in (text, other):
        logits.append(Reader(model).read(ids, model.zero_state(1))[0])
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
    some = Continuation([4, 5], 9, Sampling(temperature=0))
    assert list(write(model, some)) == [0, 1, 0, 2, 0, 3, 0, 4, 5]
