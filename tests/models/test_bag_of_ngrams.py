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
