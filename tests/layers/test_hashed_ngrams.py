"""The rows of n-grams: the hash of their last tokens, and nothing else."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from minillm.layers import hashed_ngrams
from minillm.layers.hashed_ngrams import BITS, rows_of


@given(st.lists(st.integers(0, 100_000), min_size=6, max_size=30), st.integers(2, 6))
def test_a_row_depends_on_the_last_tokens_alone(text, N):
    rows = rows_of(np.array([text]), N)
    A = int(hashed_ngrams.A)
    assert list(rows) == list(range(2, N + 1))
    for n, found in rows.items():
        assert found.shape == (1, len(text) - (N - 1))
        for t, row in enumerate(found[0], start=N - 1):
            key = sum((text[t - k] + 1) * A**k for k in range(n)) % 2**64
            assert row == (key ^ key >> 32) * A % 2**64 >> 64 - BITS


def test_few_ngrams_share_a_row():
    rng = np.random.default_rng(0)
    pairs = rng.permutation(65 * 65)[:2000]
    rows = rows_of(np.stack([pairs // 65, pairs % 65], axis=1), 2)[2]
    expected = 2**BITS * (1 - np.exp(-2000 / 2**BITS))  # of a random function
    assert len(np.unique(rows)) > 0.9 * expected
