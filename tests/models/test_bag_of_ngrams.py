"""The bag of n-grams: its weights of n-grams."""

import numpy as np
import pytest

from minillm.data import Sequences
from minillm.models.bag_of_ngrams import Bag, BagConfig
from minillm.text.ngrams import GROUPS, hashed_ngrams

pytestmark = pytest.mark.usefixtures("both_twins")


def test_each_group_has_the_length_one():
    model = Bag(BagConfig(2, buckets=1000), np.random.default_rng(0), dtype=np.float64)
    texts = ["a long text of seven words , .", "one"]
    ids, lengths = Sequences(hashed_ngrams(t.split(), 1000) for t in texts).padded(np.arange(2))
    squares = model.weights(ids, lengths) ** 2
    for group in range(GROUPS):
        own = ids // (1000 // GROUPS) == group
        real = np.arange(ids.shape[1]) < lengths[:, None]
        assert np.allclose((squares * (own & real)).sum(axis=1), 1)


def test_the_first_weights_by_hand():
    """Of three n-grams that occur, one is in both texts of label 0 and in none of label 1."""
    model = Bag(BagConfig(2, buckets=8), np.random.default_rng(0), dtype=np.float64)
    texts = Sequences([[0, 1], [0], [1, 5]])
    model.begin_with_counts(texts.ids, texts.lengths, np.array([0, 0, 1]))
    of_0 = np.log([3 / 6 / (1 / 5), 2 / 6 / (2 / 5), 1 / 6 / (2 / 5)])  # of 3 and of 2 in all
    expected = np.zeros((8, 2))
    expected[[0, 1, 5]] = 0.1 * np.stack([of_0, -of_0], axis=1)
    np.testing.assert_allclose(model.params["ngrams.W"], expected, rtol=1e-12)
