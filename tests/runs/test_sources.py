"""The passages that a text shares with the training text: the longest ones, for every text."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from minillm.runs.kinds.beside import passages

texts = st.lists(st.integers(0, 2), min_size=1, max_size=40).map(np.array)


def occurrences(text, pattern):
    """The positions of a pattern in a text, found by looking at each."""
    n = len(pattern)
    return [at for at in range(len(text) - n + 1) if list(text[at : at + n]) == list(pattern)]


@given(texts, texts)
def test_passages_are_the_longest_ones(text, ids):
    found = passages(text, ids, 3)
    free = np.ones(len(ids), bool)
    for passage in found:
        places = occurrences(text, ids[passage.start : passage.end])
        assert (passage.position, passage.times) == (places[0], len(places))
        assert free[passage.start : passage.end].all()
        free[passage.start : passage.end] = False
    lengths = [passage.end - passage.start for passage in found]
    assert lengths == sorted(lengths, reverse=True)
    pairs = [(s, e) for s in range(len(ids)) for e in range(s + 1, len(ids) + 1)]
    occurring = [e - s for s, e in pairs if occurrences(text, ids[s:e])]
    assert lengths[:1] == [max(occurring)][: len(lengths)] if occurring else not lengths


def test_any_id_is_a_character():
    """Also halves of surrogate pairs."""
    text = np.array([0xD800, 150_000, 0xDFFF, 10])
    assert passages(text, text[1:3], 5) == [(0, 2, 1, 1)]
