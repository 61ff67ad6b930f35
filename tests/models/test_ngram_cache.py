"""The cache model: by hand, and all positions at once equal to one token after the other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.models.ngram_cache import NGramCache, read, sum_before

texts = st.lists(st.integers(0, 3), max_size=40).map(lambda ids: np.array(ids, np.int32))


def test_probabilities_by_hand():
    cache = NGramCache(order=2, vocabulary=4)
    assert cache.distribution()[0].tolist() == [0.25] * 4
    for token in (0, 1, 0):
        cache.add(token)
    # 0 twice, 1 once: of 3 counts, 2 discounts of 1/2 are left for the uniform distribution
    frequencies = np.array([1.5, 0.5, 0, 0]) / 3 + 1 / 3 * 0.25
    p, length = cache.distribution()  # after 0: 1 once
    assert length == 1
    assert p == pytest.approx(np.array([0, 0.5, 0, 0]) + 0.5 * frequencies)
    cache.add(2)
    p, length = cache.distribution()  # nothing has followed 2
    assert length == 0
    assert p == pytest.approx(np.array([1.5, 0.5, 0.5, 0]) / 4 + 1.5 / 4 * 0.25)


@given(texts, st.integers(1, 6))
def test_all_positions_at_once_equal_one_after_the_other(ids, order):
    p, length = read(ids, order, 4)
    cache = NGramCache(order, 4)
    for t, token in enumerate(ids.tolist()):
        expected, longest = cache.distribution()
        assert expected.sum() == pytest.approx(1)
        assert p[t] == pytest.approx(expected[token])
        assert length[t] == longest
        cache.add(token)


@given(texts, st.integers(1, 6), st.integers(0, 3), st.data())
def test_later_tokens_change_nothing(ids, order, token, data):
    t = data.draw(st.integers(0, len(ids)))
    changed = np.append(ids[:t], np.int32(token))
    p, length = read(ids, order, 4)
    q, longest = read(changed, order, 4)
    assert np.array_equal(p[:t], q[:t])
    assert np.array_equal(length[: t + 1], longest[: len(length)][: t + 1])


def test_sums_before_by_hand():
    sums = sum_before(np.array([7, 2, 7, 7, 2]), np.array([1, 10, 2, 3, 20]))
    assert sums.tolist() == [0, 0, 1, 3, 10]
