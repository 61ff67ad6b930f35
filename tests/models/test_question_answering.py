"""Readers: gradients, padding, spans, and tasks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_checks import check_model, fit
from usual import originals_deep, usual_kernels

from minillm.models.question_answering import ENCODERS, Reader, ReaderConfig, best_spans, rows_of
from minillm.testing import strategies
from minillm.training import Adam

pytestmark = pytest.mark.usefixtures("both_twins")
CLS, SEP = 1, 2


def reader(encoder, dtype=np.float64, seed=0, **sizes):
    sizes = {"vocabulary": 9, "width": 4, "heads": 2, "layers": 2, "context": 20, **sizes}
    config = ReaderConfig(encoder=encoder, **sizes)
    return Reader(config, np.random.default_rng(seed), dtype=dtype)


def batch_of(rng, B=3, J=4, T=6, V=9):
    """Questions and contexts of unequal lengths, with answers."""
    question, context = rng.integers(3, V, (B, J)), rng.integers(3, V, (B, T))
    question_lengths, lengths = rng.integers(2, J + 1, B), rng.integers(4, T + 1, B)
    question_lengths[0], lengths[-1] = J, T
    question[np.arange(B), question_lengths - 1] = SEP
    context[:, 0], context[np.arange(B), lengths - 1] = CLS, SEP
    first = rng.integers(0, lengths - 1)
    last = rng.integers(first, lengths - 1)
    return question, question_lengths, context, lengths, np.stack([first, last], axis=1)


@originals_deep
@pytest.mark.parametrize("encoder", ENCODERS)
def test_gradients_of_the_logits(encoder):
    model = reader(encoder, dropout=0.3)
    *texts, _ = batch_of(np.random.default_rng(0))
    dlogits = np.random.default_rng(1).standard_normal((3, 2, 6))

    class OfLogits:
        params = model.params

        def loss(self, batch, rng):
            logits, backward = model.forward(*batch, rng)
            total = (dlogits * np.where(logits > -np.inf, logits, 0)).sum()
            return total, lambda: backward(dlogits)

    check_model(OfLogits(), texts)


def test_the_loss_is_the_mean_of_two_cross_entropies():
    model = reader("bert")
    *texts, places = batch_of(np.random.default_rng(0))
    logits, backward = model.forward(*texts)
    nats, dlogits = 0.0, np.zeros_like(logits)
    for row in range(3):
        for side, place in enumerate(places[row]):
            p = np.exp(logits[row, side]) / np.exp(logits[row, side]).sum()
            nats -= np.log(p[place]) / 6
            dlogits[row, side] = (p - (np.arange(6) == place)) / 6
    loss, loss_backward = model.loss((*texts, places))
    assert loss == pytest.approx(nats)
    expected = backward(dlogits)
    for name, gradient in loss_backward().items():
        np.testing.assert_allclose(gradient, expected[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("encoder", ENCODERS)
@given(rng=strategies.generators(), more=st.integers(1, 4))
def test_padding_and_neighbours_change_nothing(encoder, rng, more):
    model = reader(encoder)
    *texts, _ = batch_of(rng)
    together, _ = model.forward(*texts)
    question, question_lengths, context, lengths = texts
    for b in range(len(context)):
        alone, _ = model.forward(
            question[b : b + 1, : question_lengths[b]],
            question_lengths[b : b + 1],
            context[b : b + 1, : lengths[b]],
            lengths[b : b + 1],
        )
        np.testing.assert_allclose(together[b, :, : lengths[b]], alone[0], rtol=1e-9, atol=1e-9)
        assert (together[b, :, lengths[b] - 1 :] == -np.inf).all()
    junk = [np.pad(x, ((0, 0), (0, more)), constant_values=8) for x in (question, context)]
    padded, _ = model.forward(junk[0], question_lengths, junk[1], lengths)
    np.testing.assert_allclose(padded[..., :-more], together, rtol=1e-9, atol=1e-9)
    assert (padded[..., -more:] == -np.inf).all()


def lookup(rng, B, T=8):
    """The answer is the two tokens after the token that the question names."""
    context = np.stack([rng.permutation(np.arange(3, 3 + T)) for _ in range(B)])
    place = rng.integers(1, T - 2, B)
    question = np.stack([context[np.arange(B), place], np.full(B, SEP)], axis=1)
    context[:, 0], context[:, -1] = CLS, SEP
    lengths = np.full(B, 2), np.full(B, T)
    places = np.stack([place + 1, np.minimum(place + 2, T - 2)], axis=1)
    return question, lengths[0], context, lengths[1], places


@usual_kernels
@pytest.mark.deep
def test_a_recurrent_reader_learns_to_look_up():
    """It answers in contexts that it has not seen."""
    rng = np.random.default_rng(3)
    model = reader("recurrent", np.float32, vocabulary=11, width=16, layers=1, dropout=0.0)
    optimiser = Adam(model.params)
    for _ in range(120):
        _, backward = model.loss(lookup(rng, 32))
        optimiser.step(backward(), 0.01)
    *texts, places = lookup(rng, 100)
    logits, _ = model.forward(*texts)
    right = (logits.argmax(axis=2) == places).all(axis=1)
    assert right.mean() > 0.95


@usual_kernels
def test_a_bert_learns_a_batch():
    batch = lookup(np.random.default_rng(3), 32)
    model = reader("bert", np.float32, vocabulary=11, width=16, layers=1, dropout=0.0)
    assert fit(model, batch, steps=100) < 0.05


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
