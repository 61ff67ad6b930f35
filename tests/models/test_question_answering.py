"""Readers: their loss and spans."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_table import READERS, each
from usual import originals_deep

from minillm.models.question_answering import best_spans, rows_of
from minillm.testing import strategies

pytestmark = [pytest.mark.usefixtures("both_twins"), originals_deep]


def test_the_loss_is_the_mean_of_two_cross_entropies():
    model, (*texts, places) = READERS["reader, bert"].with_batch()
    logits, _ = model.forward(*texts)
    nats = 0.0
    for row in range(3):
        for side, place in enumerate(places[row]):
            p = np.exp(logits[row, side]) / np.exp(logits[row, side]).sum()
            nats -= np.log(p[place]) / 6
    assert model.loss((*texts, places))[0] == pytest.approx(nats)


@each(READERS)
def test_no_answer_is_in_the_padding_or_its_separator(entry):
    model, (*texts, _) = entry.with_batch()
    logits, _ = model.forward(*texts)
    for b, length in enumerate(texts[3]):
        assert np.isfinite(logits[b, :, : length - 1]).all()
        assert (logits[b, :, length - 1 :] == -np.inf).all()


def test_places_of_a_row():
    question, context = np.array([[7, 8, 2], [7, 2, 0]]), np.array([[1, 5, 2], [1, 6, 2]])
    ids, lengths, segments, places = rows_of(question, np.array([3, 2]), context, np.array([3, 3]))
    assert ids.tolist() == [[1, 7, 8, 2, 5, 2], [1, 7, 2, 6, 2, 0]]
    assert lengths.tolist() == [6, 5]
    assert segments.tolist() == [[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 0]]
    assert places.tolist() == [[0, 4, 5], [0, 3, 4]]
    *_, places = rows_of(question, np.array([3, 2]), context, np.array([3, 2]))
    assert places.tolist() == [[0, 4, 5], [0, 3, -1]]


@given(rng=strategies.generators(), T=st.integers(2, 9), longest=st.integers(1, 12))
def test_the_best_spans_are_those_of_all(rng, T, longest):
    logits = rng.standard_normal((2, T))
    logits[:, -1] = -np.inf
    everything = [
        (i, j, logits[0, i] + logits[1, j] - logits[0, 0] - logits[1, 0])
        for i in range(1, T - 1)
        for j in range(i, min(T - 1, i + longest))
    ]
    everything.sort(key=lambda span: -span[2])
    for number in (1, 3, 100):
        found = best_spans(logits, longest, number)
        assert [span[:2] for span in found] == [span[:2] for span in everything[:number]]
        np.testing.assert_allclose([s[2] for s in found], [s[2] for s in everything[:number]])
