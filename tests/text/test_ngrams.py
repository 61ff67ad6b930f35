"""Hashed n-grams: which there are, where they go, and that they never change."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from minillm.text.ngrams import GROUPS, hashed_ngrams

WORDS = st.lists(st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=8))


def test_the_hash_is_the_same_for_all_time():
    """Runs are stored with it: another hash would make nonsense of them."""
    assert hashed_ngrams(["not", "bad"], 4000) == [
        *(293, 971, 1102, 1729, 1569, 2651, 2853),  # not, bad; ^ not, not bad, bad $; triples
        *(3063, 3639, 3762, 3798, 3902, 3293, 3142, 3162, 3448, 3038),  # <n no ot t> ... <not>
        *(3228, 3980, 3528, 3303, 3269, 3971, 3373, 3732, 3515, 3349),  # <b ba ad d> ... <bad>
    ]


def test_each_group_has_its_share():
    buckets = np.array(hashed_ngrams(["the", "cat", "the"], 4 * 10**6))
    groups = buckets // 10**6
    assert (groups[:9] == [0, 0, 1, 1, 1, 1, 2, 2, 2]).all()  # ^ the, the cat, cat the, the $
    assert (groups[9:] == GROUPS - 1).all()


@given(words=WORDS, buckets=st.integers(1, 500))
def test_each_is_there_once_whatever_the_case(words, buckets):
    ids = hashed_ngrams(words, GROUPS * buckets)
    assert len(set(ids)) == len(ids)
    assert all(0 <= id < GROUPS * buckets for id in ids)
    assert bool(ids) == bool(words)
    lower = [word.lower() for word in words]
    assert hashed_ngrams(lower, GROUPS * buckets) == ids


def test_order_matters_to_those_of_words():
    one, other = (set(hashed_ngrams(words, 10**6)) for words in (["a", "b"], ["b", "a"]))
    assert len(one & other) == 2 + 6  # the words, and their characters
