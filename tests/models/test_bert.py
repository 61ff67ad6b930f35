"""BERT: what its gradient and its outputs depend on, and fresh weights."""

import numpy as np
import pytest
from model_checks import check_layer
from model_table import BLOCKS, CLS, MASK, SEP, Entry, V, masked_pairs

from minillm.data.masking import MaskedBatch
from minillm.layers.positions import sinusoids
from minillm.layers.stack import forgetful
from minillm.models.bert import BERT, BERTConfig

pytestmark = pytest.mark.usefixtures("both_twins")


def new(**options):
    return Entry(BERT, BERTConfig(V, **BLOCKS | options), masked_pairs).with_batch()


def test_what_is_not_asked_for_has_no_gradient():
    model, batch = new(pooler=True)
    _, backward = model.loss(batch)
    heads = {"pooler.W", "pooler.b"}
    assert backward().keys() == model.params.keys() - heads
    assert {*model.unused} == heads


def test_the_gradient_of_a_pooled_vector():
    model, _ = new(pooler=True)
    heads = {name: model.params[name] for name in ("pooler.W", "pooler.b")}
    rng = np.random.default_rng(0)

    def layer(params, x):
        return BERT(model.config, params=model.params | params).pool(x)

    check_layer(layer, heads, rng.standard_normal((2, 3, 8)), rng)


def test_reading_is_the_same_without_a_backward():
    model, batch = new(dropout=0.5)
    np.testing.assert_array_equal(
        forgetful(model).hidden(*batch[:3])[0], model.hidden(*batch[:3])[0]
    )
    ids = batch.ids
    np.testing.assert_array_equal(forgetful(model).hidden(ids)[0], model.hidden(ids)[0])


def test_it_cannot_see_what_it_must_fill():
    """The original tokens at hidden places have no gradient but that of the output layer."""
    ids = np.array([[CLS, 3, MASK, 4, SEP]])
    places = ids == MASK
    model, _ = new()
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


def test_it_looks_to_both_sides_and_at_segments():
    model, batch = new()
    x, _ = model.hidden(*batch[:3])
    for place in (1, 7):
        ids = batch.ids.copy()
        ids[0, place] = 3 + (ids[0, place] - 2) % (V - 3)
        assert np.abs(model.hidden(ids, *batch[1:3])[0][0, 4] - x[0, 4]).max() > 1e-3
    assert np.abs(model.hidden(*batch[:2], 1 - batch.segments)[0] - x).max() > 1e-3


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
