"""Pairs of texts as ids, and their vocabularies."""

from hypothesis import given
from hypothesis import strategies as st

from minillm.runs.kind import Training, find_kind
from minillm.runs.kinds.pairs import PairSettings, encode_pairs, new_vocabularies
from minillm.text import Characters, Words

TEXTS = st.text("abc", min_size=1, max_size=12)
LETTERS = Characters("abc")
EOS = 3


@given(st.lists(st.tuples(TEXTS, TEXTS)), st.integers(1, 13), st.integers(1, 13))
def test_longer_sides_are_cut_and_counted_and_only_whole_targets_end(pairs, most, most_written):
    settings = PairSettings(max_source=most, max_target=most_written)
    (sources, targets), line, unknown = encode_pairs(pairs, LETTERS, LETTERS, settings)
    assert len(sources) == len(targets) == len(pairs)
    for row, (source, target) in enumerate(pairs):
        assert LETTERS.decode(sources[row]) == source[:most]
        *before, last = targets[row].tolist()
        assert EOS not in before
        assert (last == EOS) == (len(target) <= most_written)
        assert LETTERS.decode(id for id in targets[row] if id != EOS) == target[:most_written]
    cut = sum(len(source) > most for source, _ in pairs)
    cut_targets = sum(len(target) > most_written for _, target in pairs)
    expected = f", {cut} sources are cut to {most} tokens" * (cut > 0)
    expected += f", {cut_targets} targets are cut to {most_written} tokens" * (cut_targets > 0)
    assert line == expected
    assert unknown == [0, 0]


def test_the_shares_of_unknown_words():
    words = Words(("<unk>", "a"))
    for pairs, expected in (([("a", "b")], [0, 1]), ([("a b", "a"), ("b", "a a")], [2 / 3, 0])):
        assert encode_pairs(pairs, words, words, PairSettings()).unknown == expected


def test_a_word_of_a_summary_counts_five_times():
    kind = find_kind("summariser")
    settings = kind.settings(unit="word", minimum_count=5)
    training = Training(kind, None, settings, {"data": ""}, print)
    pairs = {"training": [("a b " * 4, "c"), ("a", "d")], "validation": [("b", "b")]}
    source, target = new_vocabularies(training, pairs)
    assert source is target
    assert [word for word in "abcd" if word in source.tokens] == ["a", "c", "d"]
