"""BERT: the weights without a gradient, its pooled vector, and fresh weights."""

import numpy as np
import pytest
from model_checks import check_layer
from model_table import BLOCKS, Entry, V, masked_pairs
from usual import originals_deep

from minillm.layers.positions import sinusoids
from minillm.models.bert import BERT, BERTConfig

pytestmark = [pytest.mark.usefixtures("both_twins"), originals_deep]


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

    x = rng.standard_normal((2, 3, 8))
    np.testing.assert_allclose(
        layer(heads, x)[0], np.tanh(x[:, 0] @ heads["pooler.W"] + heads["pooler.b"])
    )
    check_layer(layer, heads, x, rng)


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
