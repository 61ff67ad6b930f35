"""BERT: its gradient, padding and neighbours, hidden tokens, and a task."""

import numpy as np
import pytest
from model_checks import check_model
from usual import originals_deep, usual_kernels

from minillm.data.masking import MaskedBatch, Masking, framed
from minillm.layers.positions import sinusoids
from minillm.layers.stack import forgetful
from minillm.models.bert import BERT, BERTConfig
from minillm.training import Adam

pytestmark = pytest.mark.usefixtures("both_twins")
V, C = 9, 12
CLS, SEP, MASK = 0, 1, 2
ORDINARY = np.arange(V) > MASK


def new(seed=0, dtype=np.float64, **options):
    sizes = {"vocabulary": V, "context": C, "layers": 2, "heads": 2, "width": 6}
    model = BERT(BERTConfig(**sizes | options), np.random.default_rng(seed), dtype=dtype)
    rng = np.random.default_rng(seed + 1)
    for array in model.params.values():  # no bias is zero, no gain one, no branch negligible
        array += (0.3 * rng.standard_normal(array.shape)).astype(dtype)
    return model


def batch_of(lengths, seed=0, pairs=False):
    """Rows of unequal length with hidden tokens; with pairs, of two parts each."""
    rng = np.random.default_rng(seed)
    rows = [
        [rng.integers(3, V, length - 5), rng.integers(3, V, 2)] if pairs
        else [rng.integers(3, V, length - 2)]
        for length in lengths
    ]  # fmt: skip
    texts = framed(rows, CLS, SEP)
    return Masking(MASK, ORDINARY).hide(texts, rng)


@originals_deep
@pytest.mark.parametrize(
    ("options", "pairs"),
    [
        ({}, False),
        ({"dropout": 0.3, "inner": 5}, False),
        ({}, True),
    ],
)
def test_gradient(options, pairs):
    check_model(new(**options), batch_of([12, 9, 5], pairs=pairs))


def test_what_is_not_asked_for_has_no_gradient():
    model = new(pooler=True)
    _, backward = model.loss(batch_of([7, 8]))
    heads = {"pooler.W", "pooler.b"}
    assert backward().keys() == model.params.keys() - heads
    assert {*model.unused} == heads


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_a_batch_equals_its_rows_and_padding_changes_nothing(dtype, tolerance):
    model, batch = new(dtype=dtype, pooler=True), batch_of([12, 4, 7, 3])
    x, _ = model.hidden(*batch[:3])
    pooled, _ = model.pool(x)
    for row, length in enumerate(batch.lengths):
        alone, _ = model.hidden(batch.ids[row : row + 1, :length])
        np.testing.assert_allclose(x[row, :length], alone[0], atol=tolerance)
        own, _ = model.pool(alone)
        np.testing.assert_allclose(pooled[row], own[0], atol=tolerance)


def test_reading_is_the_same_without_a_backward():
    model, batch = new(dropout=0.5), batch_of([12, 4, 7])
    np.testing.assert_array_equal(
        forgetful(model).hidden(*batch[:3])[0], model.hidden(*batch[:3])[0]
    )
    ids = batch.ids
    np.testing.assert_array_equal(forgetful(model).hidden(ids)[0], model.hidden(ids)[0])


def test_what_stands_in_the_padding_changes_nothing():
    model, batch = new(), batch_of([12, 4, 7])
    beyond = np.arange(12) >= batch.lengths[:, None]
    other = batch._replace(
        ids=np.where(beyond, 5, batch.ids), segments=np.where(beyond, 1, batch.segments)
    )
    (loss, backward), (other_loss, other_backward) = model.loss(batch), model.loss(other)
    assert loss == other_loss
    results = other_backward()
    for name, gradient in backward().items():
        np.testing.assert_array_equal(gradient, results[name])


def test_it_cannot_see_what_it_must_fill():
    """The original tokens at hidden places have no gradient but that of the output layer."""
    ids = np.array([[CLS, 3, MASK, 4, SEP]])
    places = ids == MASK
    model = new()
    for wanted in (5, 6):  # neither is read
        batch = MaskedBatch(ids, np.array([5]), np.zeros_like(ids), places, np.array([wanted]))
        _, backward = model.loss(batch)
        x, hidden_backward = model.hidden(ids)
        logits, words_backward = model.masked_words(x[places])
        p = np.exp(logits - logits.max())
        dlogits = p / p.sum() - np.eye(V)[[wanted]]
        drows, of_head = words_backward(dlogits)
        dx = np.zeros_like(x)
        dx[places] = drows
        of_reading = hidden_backward(dx)["embedding.E"]
        assert not of_reading[wanted].any()
        tie = of_head["embedding.E"]
        np.testing.assert_allclose(backward()["embedding.E"], of_reading + tie, atol=1e-12)
        np.testing.assert_allclose(backward()["embedding.E"][wanted], tie[wanted], atol=1e-12)


def test_it_looks_to_both_sides():
    model, batch = new(), batch_of([9])
    for place in (1, 7):
        other = batch.ids.copy()
        other[0, place] = 3 + (other[0, place] - 2) % (V - 3)
        assert np.abs(model.hidden(other)[0][0, 4] - model.hidden(batch.ids)[0][0, 4]).max() > 1e-3


def test_segments_count():
    model, batch = new(), batch_of([9])
    assert (
        np.abs(model.hidden(batch.ids)[0] - model.hidden(*batch[:2], 1 - batch.segments)[0]).max()
        > 1e-3
    )


def test_too_long_a_row():
    with pytest.raises(ValueError, match="expected at most 12 tokens, found 13"):
        new().hidden(np.zeros((1, 13), int))


def repeated(rng, B):
    """Rows that repeat two tokens each, with one place hidden."""
    texts = framed([[np.tile(rng.integers(3, V, 2), 3)] for _ in range(B)], CLS, SEP)
    places = np.zeros(texts.ids.shape, bool)
    places[np.arange(B), rng.integers(3, 5, B)] = True
    read = np.where(places, MASK, texts.ids)
    return MaskedBatch(read, texts.lengths, texts.segments, places, texts.ids[places])


@usual_kernels
@pytest.mark.deep
def test_it_learns_to_fill_a_repeated_pattern():
    """A hidden token also occurs two places further, so unseen rows can be filled in, too."""
    rng = np.random.default_rng(0)
    model = BERT(BERTConfig(vocabulary=V, context=C, layers=1, heads=2, width=16, inner=16), rng)
    optimiser = Adam(model.params)
    for step in range(200):
        _, backward = model.loss(repeated(rng, 30))
        optimiser.step(backward(), 0.01 * min(1, step / 20))
    loss, _ = model.loss(repeated(rng, 100))
    assert loss < 0.2  # guessing: log 6 = 1.8


def test_fresh_places_are_sinusoids_and_attention_is_not_uniform():
    """These initial weights shorten the plateau of the loss: see ``new_parameters``."""
    D, N = 128, 4
    config = BERTConfig(vocabulary=50, context=64, width=D, heads=N, layers=1)
    p = BERT(config, np.random.default_rng(0)).params
    deviation = p["embedding.E"].std()
    assert deviation == pytest.approx(0.02 * (768 / D) ** 0.5, rel=0.05)
    P = p["positions.E"]
    noise = P - 3 * deviation * sinusoids(np.arange(64), D)
    assert noise.std() == pytest.approx(0.02, rel=0.3)
    similarities = P @ P.T  # of places as far from each other they are nearly the same
    for distance in (1, 5, 20):
        of_distance = np.diagonal(similarities, distance)
        assert of_distance.std() < 0.1 * np.diagonal(similarities).mean()
    W = p["blocks.0.attention.W_qkv"]
    queries, keys, values = (part.std() / deviation for part in np.split(W, 3, axis=1))
    assert (queries, keys, values) == pytest.approx((2, 2, 1), rel=0.05)
