"""Penalties and biases: which logits they change, and by how much."""

from collections import Counter
from functools import partial

import numpy as np
import pytest
from fake_models import TinyLanguageModel
from hypothesis import given
from hypothesis import strategies as st

from minillm.decoding import Reader, Sampling, next_probabilities
from minillm.decoding.continuation import Continuation
from minillm.decoding.sampling import biased, less_often, penalised

LOGITS = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=12).map(np.array)
TEXTS = st.lists(st.integers(0, 100), max_size=20)
GREEDY = Sampling(temperature=0)


@given(LOGITS, TEXTS, st.floats(0.1, 10))
def test_the_penalty_is_paid_once_for_each_token_of_the_text(logits, text, penalty):
    text = [id % len(logits) for id in text]
    before = logits.copy()
    after = penalised(logits, text, penalty)
    for id, x in enumerate(logits):
        paid = (x / penalty if x > 0 else x * penalty) if id in text else x
        assert after[id] == pytest.approx(paid)
    np.testing.assert_array_equal(logits, before)
    expected = next_probabilities(after, 0.7, top_k=3)
    some = Sampling(temperature=0.7, top_k=3, repetition_penalty=penalty)
    np.testing.assert_allclose(some.probabilities(logits, text), expected)


@given(LOGITS, TEXTS, st.floats(-2, 2), st.floats(-2, 2))
def test_occurrences_are_counted(logits, written, frequency, presence):
    written = [id % len(logits) for id in written]
    before, counts = logits.copy(), Counter(written)
    after = less_often(logits, written, frequency, presence)
    for id, x in enumerate(logits):
        assert after[id] == pytest.approx(x - frequency * counts[id] - presence * (id in counts))
    np.testing.assert_array_equal(logits, before)


def test_a_bias_is_added_whatever_has_been_written():
    logits = np.array([1.0, 2.0, 3.0])
    for written in ([], [0, 0, 2]):
        after = biased(logits, written, {0: -1.5, 2: 4.0})
        assert after.tolist() == [-0.5, 2.0, 7.0]
    assert logits.tolist() == [1.0, 2.0, 3.0]


class Noting:
    """An adjustment that makes one id certain, and keeps what it was given."""

    def __init__(self, certain):
        self.certain, self.given = certain, []

    def __call__(self, logits, written):
        self.given.append((logits.copy(), list(written)))
        return np.where(np.arange(len(logits)) == self.certain, 1000.0, logits)


def test_adjustments_act_one_after_the_other_on_what_has_been_drawn():
    model = TinyLanguageModel(5)
    logits, _ = Reader(model).read(np.array([[1, 2]]), Reader(model).zero_state(1))
    first, second = Noting(4), Noting(3)
    text = Continuation([1, 2], 3, GREEDY, banned=[0], adjustments=[first, second])
    for _ in range(3):
        text.draw(logits[0])
    assert text.ids == [1, 2, 3, 3, 3]  # the lower of two equals
    assert [written for _, written in second.given] == [[], [3], [3, 3]]
    assert first.given[0][0][0] == -np.inf  # banned before
    assert second.given[0][0][4] == 1000


def test_penalties_change_what_is_drawn():
    logits = np.array([1.0, 0.8, 0.5])

    def drawn(*adjustments):
        text = Continuation([0], 6, GREEDY, adjustments=adjustments)
        return [text.draw(logits) for _ in range(6)]

    assert drawn() == [0] * 6
    assert drawn(partial(less_often, presence=0.3)) == [0, 1, 0, 0, 0, 0]
    assert drawn(partial(less_often, frequency=0.3)) == [0, 1, 0, 1, 2, 0]
    assert drawn(partial(biased, biases={2: 1.0})) == [2] * 6
    assert drawn(partial(biased, biases={0: -100}), partial(less_often, presence=2)) == [
        1,
        2,
        1,
        1,
        1,
        1,
    ]
