"""Hashed n-grams: which there are, where they go, and that they never change."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from minillm.text.ngrams import hashed_ngrams

WORDS = st.lists(st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=8))


def test_the_hash_is_the_same_for_all_time():
    """Runs are stored with it: another hash would make nonsense of them."""
    assert hashed_ngrams(["not", "bad"], 1000) == [
        *(293, 471, 229),  # not, bad, not bad
        *(563, 639, 762, 798, 902, 793, 642, 662, 948, 538),  # <n no ot t> <no ... <not>
        *(728, 980, 528, 803, 769, 971, 873, 732, 515, 849),  # <b ba ad d> <ba ... <bad>
    ]


def test_words_and_characters_have_a_half_each():
    found = np.array(hashed_ngrams(["the", "cat", "the"], 10**6))
    assert (found[:4] < 500_000).all()  # the, cat, the cat, cat the
    assert (found[4:] >= 500_000).all()


@given(words=WORDS, buckets=st.integers(1, 500))
def test_each_is_there_once_whatever_the_case(words, buckets):
    found = hashed_ngrams(words, 2 * buckets)
    assert len(set(found)) == len(found)
    assert all(0 <= gram < 2 * buckets for gram in found)
    assert bool(found) == bool(words)
    lower = [word.lower() for word in words]
    assert hashed_ngrams(lower, 2 * buckets) == found


def test_order_matters_to_those_of_words():
    one, other = (set(hashed_ngrams(words, 10**6)) for words in (["a", "b"], ["b", "a"]))
    assert one != other
    assert len(one & other) == len(one) - 1
