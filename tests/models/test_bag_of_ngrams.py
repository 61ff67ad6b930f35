"""The bag of n-grams: its gradient, its weights of n-grams, and a task."""

import numpy as np
import pytest
from model_checks import check_model, fit

from minillm.data import Sequences
from minillm.models.bag_of_ngrams import Bag, BagConfig
from minillm.text.ngrams import GROUPS, hashed_ngrams

pytestmark = pytest.mark.usefixtures("both_twins")


def batch_of(texts, buckets):
    return Sequences(hashed_ngrams(text.split(), buckets) for text in texts).padded(
        np.arange(len(texts))
    )


def test_gradient_of_a_bag():
    rng = np.random.default_rng(0)
    model = Bag(BagConfig(3, buckets=40), rng, dtype=np.float64)
    for name, array in model.params.items():
        model.params[name] = rng.standard_normal(array.shape)
    ids, lengths = batch_of(["not bad", "a good day it was", "", "bad"], 40)
    check_model(model, (ids, lengths, np.array([0, 2, 1, 1])))
    check_model(
        model, (ids, lengths, np.array([0, 2, 1, 1])), class_weights=np.array([0.5, 1.0, 2.0])
    )


def test_each_group_has_the_length_one():
    model = Bag(BagConfig(2, buckets=1000), np.random.default_rng(0), dtype=np.float64)
    ids, lengths = batch_of(["a long text of seven words , .", "one"], 1000)
    squares = model.weights(ids, lengths) ** 2
    for group in range(GROUPS):
        own = ids // (1000 // GROUPS) == group
        real = np.arange(ids.shape[1]) < lengths[:, None]
        assert np.allclose((squares * (own & real)).sum(axis=1), 1)


def test_padding_changes_nothing():
    rng = np.random.default_rng(1)
    model = Bag(BagConfig(3, buckets=400), rng)
    model.params["ngrams.W"][...] = rng.standard_normal((400, 3))
    texts = ["not bad", "a good day it was", "", "bad"]
    together, _ = model.forward(*batch_of(texts, 400))
    alone = [model.forward(*batch_of([text], 400))[0][0] for text in texts]
    assert np.allclose(together, alone, atol=1e-5)
    assert np.array_equal(together[2], model.params["ngrams.b"])  # of no words


def test_a_bag_learns_an_order_of_words():
    """The order of the same words decides the label: only pairs of words can tell."""
    texts = ["dog bites man", "man bites dog", "dog dog man", "man dog dog"]
    model = Bag(BagConfig(2), np.random.default_rng(2))
    loss = fit(model, (*batch_of(texts, 1 << 18), np.array([0, 1, 0, 1])), 30, learning_rate=0.1)
    assert loss < 0.05
