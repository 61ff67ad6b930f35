"""The neural n-gram: its equation, and how far it sees.

What it has in common with other language models is in test_every_model.py and test_reading.py.
"""

import numpy as np
import pytest
from model_table import neural

from minillm.decoding import Reader

pytestmark = pytest.mark.usefixtures("both_twins")


def test_the_equation_of_the_paper():
    rng = np.random.default_rng(2)
    model, ids = neural(3).new(), rng.integers(0, 6, (2, 5))
    p = model.params
    (logits, _), _ = model.forward(ids, model.zero_state(2))
    x = np.concatenate([p["embedding.E"][ids[:, 1:3]][:, 0], p["embedding.E"][ids[:, 2]]], axis=1)
    h = np.tanh(x @ p["hidden.W"] + p["hidden.b"])
    expected = h @ p["output.W"] + p["output.b"]
    np.testing.assert_allclose(logits[:, 2], expected, rtol=1e-12)


def test_dropout_takes_an_rng():
    model, ids = neural(4, dropout=0.5).new(), np.zeros((1, 3), int)
    plain, _ = model.loss((ids, ids))
    dropped = [model.loss((ids, ids), np.random.default_rng(s))[0] for s in (1, 1, 2)]
    assert dropped[0] == dropped[1] != dropped[2]
    assert plain not in dropped


def test_it_sees_no_further_than_its_order():
    model = neural(3).new()
    text = np.array([[0, 1, 2, 3, 4]])
    other = np.array([[5, 5, 5, 3, 4]])
    logits = []
    for ids in (text, other):
        logits.append(Reader(model).read(ids, model.zero_state(1))[0])
    assert np.array_equal(*logits)
