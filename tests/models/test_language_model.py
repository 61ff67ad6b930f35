"""The recurrent language model: one-hot input, tied weights, and states.

What it has in common with other language models is in test_every_model.py and test_reading.py.
"""

import numpy as np
import pytest
from model_table import lm
from usual import originals_deep

from minillm.decoding import Reader
from minillm.decoding.recurrent import one_hot

pytestmark = [pytest.mark.usefixtures("both_twins"), originals_deep]
CELLS = ("rnn", "lstm", "gru")


def small(cell="lstm", **options):
    return lm(cell, **options).new()


def random_state(model, B, rng):
    return {name: rng.standard_normal(h.shape) for name, h in model.zero_state(B).items()}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("tied", [False, True])
def test_one_hot_input_is_the_same_model(cell, tied):
    rng = np.random.default_rng(3)
    model = small(cell, tied=tied)
    inputs, state = rng.integers(0, 7, (3, 2)), random_state(model, 3, rng)
    other = one_hot(model)
    (logits, last), _ = model.forward(inputs, state)
    (other_logits, other_last), _ = other.forward(inputs, state)
    step_logits, _ = Reader(other).read(inputs[:, :1], state)
    assert one_hot(other) is other
    np.testing.assert_allclose(other_logits, logits, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(step_logits, logits[:, 0], rtol=1e-12, atol=1e-12)
    for name, h in last.items():
        np.testing.assert_allclose(other_last[name], h, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "options", [{"layers": 1}, {"layers": 3}, {"cell": "gru"}, {"cell": "rnn"}]
)
@pytest.mark.parametrize("T", [1, 2])
def test_the_state_of_another_model_of_equal_width_is_refused(options, T):
    ids = np.zeros((2, T), int)
    other = Reader(small(**options))
    _, state = other.read(ids, other.zero_state(2))
    with pytest.raises(ValueError, match=r"state: expected \['layers.0.c', .*\], found \["):
        Reader(small()).read(ids, state)
