"""The n-gram kernels: both twins against dictionaries and sets."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from minillm import use_kernels
from minillm.models.ngram import count_keys, find_children
from minillm.testing.strategies import generators


@given(generators(), st.integers(0, 300), st.sampled_from([1, 5, 5000, 2**22, 2**40]))
def test_count_keys(kernels, rng, T, most):
    keys = rng.integers(0, most, T)
    with use_kernels(kernels):
        distinct, places, counts = count_keys(keys)
    assert distinct.tolist() == sorted(set(keys.tolist()))
    assert np.array_equal(distinct[places], keys)
    assert counts.tolist() == [np.count_nonzero(keys == key) for key in distinct]
    assert (distinct.dtype, places.dtype, counts.dtype) == (np.int64, np.int32, np.int64)


@given(generators(), st.integers(0, 60), st.integers(1, 8), st.integers(0, 50))
def test_find_children(kernels, rng, M, contexts, T):
    pairs = sorted(set(zip(*rng.integers(0, (contexts, 20), (M, 2)).T.tolist(), strict=True)))
    first = [sum(c < context for c, _ in pairs) for context in range(contexts + 1)]
    asked = rng.integers(-1, contexts, T).astype(np.int32)
    last = rng.integers(0, 20, T).astype(np.int32)
    with use_kernels(kernels):
        results = find_children(
            np.array(first, np.int32), np.array([w for _, w in pairs], np.int32), asked, last
        )
    number = {pair: k for k, pair in enumerate(pairs)}
    questions = zip(asked.tolist(), last.tolist(), strict=True)
    assert results.tolist() == [number.get(question, -1) for question in questions]
    assert results.dtype == np.int32


def test_find_children_on_several_threads(kernels):
    rng = np.random.default_rng(0)
    words = np.sort(rng.choice(10**6, 5000, replace=False)).astype(np.int32)
    last = rng.integers(0, 10**6, 30_000).astype(np.int32)
    last[::3] = rng.choice(words, 10_000)
    with use_kernels(kernels):
        results = find_children(
            np.array([0, 5000], np.int32), words, np.zeros(30_000, np.int32), last
        )
    assert np.array_equal(results >= 0, np.isin(last, words))
    assert np.array_equal(words[results[results >= 0]], last[results >= 0])
