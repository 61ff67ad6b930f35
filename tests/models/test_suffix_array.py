"""The suffix array and the unbounded n-gram: equal to their definitions, for every text."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.models.suffix_array import UnboundedNGram, sorted_suffixes, suffix_array

texts = st.lists(st.integers(0, 2), min_size=1, max_size=40).map(np.array)


def occurrences(text, pattern):
    """The positions of a pattern in a text, found by looking at each."""
    n = len(pattern)
    return [at for at in range(len(text) - n + 1) if list(text[at : at + n]) == list(pattern)]


def test_a_suffix_array_by_hand():
    banana = np.array([ord(letter) for letter in "banana"])
    assert suffix_array(banana).tolist() == [5, 3, 1, 0, 4, 2]
    assert suffix_array(np.zeros(0, np.int32)).tolist() == []


@given(texts)
def test_prefix_doubling_equals_the_definition(text):
    assert suffix_array(text).tolist() == sorted_suffixes(text).tolist()


@pytest.mark.parametrize("period", [1, 7, 10**6])
def test_a_long_text_takes_seconds(period):
    text = np.arange(300_000) % period % 65
    start = time.process_time()
    order = suffix_array(text)
    assert time.process_time() - start < 10
    some = np.random.default_rng(0).integers(0, len(text) - 1, 20)
    for at in some:
        assert text[order[at] :].tolist() < text[order[at + 1] :].tolist()


@given(texts, st.lists(st.integers(0, 3), min_size=1, max_size=4))
def test_a_pattern_is_counted(text, pattern):
    assert UnboundedNGram(text).count(np.array(pattern, int)) == len(occurrences(text, pattern))


def test_a_distribution_by_hand():
    model = UnboundedNGram(np.array([0, 1, 2, 0, 1, 3, 1, 2]))
    p, n = model.distribution(np.array([2, 0, 1]), 4)  # seen once, before 3
    assert (p.tolist(), n) == ([0, 0, 0, 1], 4)
    p, n = model.distribution(np.array([3, 0, 1]), 4)  # 0 1 was seen before 2 and before 3
    assert (p.tolist(), n) == ([0, 0, 0.5, 0.5], 3)
    p, n = model.distribution(np.array([1, 2, 3, 3]), 4)  # 3 was seen once, before 1
    assert (p.tolist(), n) == ([0, 1, 0, 0], 2)
    p, n = model.distribution(np.array([9]), 4)  # never seen: the frequencies
    assert (p.tolist(), n) == ([0.25, 0.375, 0.25, 0.125], 1)


def test_a_suffix_at_the_end_of_the_text_is_too_long():
    model = UnboundedNGram(np.array([1, 0, 2, 0, 1]))
    assert model.distribution(np.array([0, 1]), 3)[1] == 2  # 0 1 is followed by nothing
    assert model.read(np.array([0, 1, 0])).length.tolist() == [0, 1, 1]


@given(texts, st.lists(st.integers(0, 3), min_size=1, max_size=60).map(np.array))
def test_a_text_that_is_read_has_the_same_distributions(text, ids):
    model = UnboundedNGram(text)
    matches = model.read(ids)
    for t, token in enumerate(ids):
        p, n = model.distribution(ids[:t], 4)
        length, at = matches.length[t], matches.position[t]
        assert n == 1 + length
        assert matches.followed[t] / matches.count[t] == p[token]
        assert text[at - length : at].tolist() == ids[t - length : t].tolist()


@given(texts, st.integers(0, 3))
def test_later_tokens_change_nothing(text, token):
    model = UnboundedNGram(text)
    ids = np.concatenate([text, text[::-1]])
    changed = ids.copy()
    changed[len(text)] = token
    before, after = model.read(ids), model.read(changed)
    for name, kept in [("length", 1), ("count", 1), ("position", 1), ("followed", 0)]:
        values = (getattr(matches, name)[: len(text) + kept] for matches in (before, after))
        assert np.array_equal(*values)


@given(texts, texts)
def test_passages_are_the_longest_ones(text, ids):
    passages = UnboundedNGram(text).passages(ids, 3)
    free = np.ones(len(ids), bool)
    for passage in passages:
        pattern = ids[passage.start : passage.end]
        found = occurrences(text, pattern)
        assert passage.position in found
        assert passage.count == len(found)
        assert free[passage.start : passage.end].all()
        free[passage.start : passage.end] = False
    lengths = [passage.end - passage.start for passage in passages]
    assert lengths == sorted(lengths, reverse=True)
    last = len(text) - 1  # the last token is followed by nothing
    pairs = [(s, e) for s in range(len(ids)) for e in range(s + 1, len(ids) + 1)]
    occurring = [e - s for s, e in pairs if occurrences(text[:last], ids[s:e])]
    assert lengths[:1] == [max(occurring)][: len(lengths)] if occurring else not lengths


@pytest.mark.parametrize("text", [[], [0, -1]])
def test_a_wrong_text_is_refused(text):
    with pytest.raises(ValueError, match="text: expected one id or more"):
        UnboundedNGram(np.array(text, np.int32))


def test_a_copied_text_is_read_in_seconds():
    rng = np.random.default_rng(0)
    text = rng.integers(0, 20, 20_000)
    start = time.process_time()
    matches = UnboundedNGram(text).read(text)
    assert time.process_time() - start < 20
    assert matches.length[-1] == len(text) - 1
    same = UnboundedNGram(np.zeros(3000, int)).read(np.zeros(3000, int))
    assert same.length.tolist() == list(range(3000))
