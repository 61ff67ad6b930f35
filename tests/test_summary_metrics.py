"""Measures of summaries against their sources: definitions, and properties of copies."""

from hypothesis import given
from hypothesis import strategies as st

from minillm.metrics import fragments, measure_summaries

WORDS = st.lists(st.sampled_from(["gas", "is", "up", "and", "oil", "7", "Ada"]), max_size=9)
PAIRS = st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4)


def test_an_extract_has_nothing_new():
    source = "Ada said: gas is up 7%, and oil is up. Call Ada."
    measured = measure_summaries(["gas is up 7%", "Call Ada"], [source, source])
    new = {name: value for name, value in measured.items() if name.startswith("new_")}
    assert set(new.values()) == {0}
    assert measured["density"] == (4 + 2) / 2
    assert measured["words"] == 3
    assert measured["distinct_outputs"] == 2


def test_an_invention_is_new():
    measured = measure_summaries(["Bob sold 300 Barrels"], ["gas is up 7%"])
    assert [measured[f"new_{of}"] for of in ("words", "bigrams", "names", "numbers")] == [1] * 4
    assert measured["density"] == 0


def test_outputs_without_words_have_no_share():
    measured = measure_summaries(["", "..."], ["a b", ""])
    assert all(value == 0 for name, value in measured.items() if name != "distinct_outputs")


@given(WORDS, WORDS)
def test_fragments_are_the_greedy_ones_of_the_paper(output, source):
    def longest(begin):
        return max(
            (
                n
                for n in range(1, len(output) - begin + 1)
                for at in range(len(source))
                if source[at : at + n] == output[begin : begin + n]
            ),
            default=0,
        )

    expected, begin = [], 0
    while begin < len(output):
        expected.append(longest(begin))
        begin += max(expected[-1], 1)
    assert fragments(output, source) == [n for n in expected if n]


@given(PAIRS)
def test_the_coverage_of_fragments_is_the_share_of_known_words(pairs):
    outputs, sources = ([" ".join(words) for words in texts] for texts in zip(*pairs, strict=True))
    covered = sum(sum(fragments(output, source)) for output, source in pairs)
    total = sum(len(output) for output, _ in pairs)
    new = measure_summaries(outputs, sources)["new_words"]
    assert total == 0 or abs(1 - covered / total - new) < 1e-9


@given(PAIRS, st.lists(WORDS, min_size=4, max_size=4))
def test_a_longer_source_makes_nothing_newer(pairs, more):
    outputs, sources = ([" ".join(words) for words in texts] for texts in zip(*pairs, strict=True))
    longer = [f"{source} . {' '.join(words)}" for source, words in zip(sources, more, strict=False)]
    before, after = measure_summaries(outputs, sources), measure_summaries(outputs, longer)
    for name in ("new_words", "new_names", "new_numbers"):
        assert after[name] <= before[name]
    assert after["density"] >= 0
    assert after["words"] == before["words"]
    assert 0 <= after["repeated_trigrams"] == before["repeated_trigrams"] <= 1


def test_shares_by_hand():
    one = measure_summaries(["Gas prices up"], ["The price of gas is up."])
    assert (one["new_words"], one["new_bigrams"]) == (1 / 3, 1)
    two = measure_summaries(["it is up and it is up", "it is, it is"], ["", ""])
    assert two["repeated_trigrams"] == 0.5
    names = measure_summaries(["Call Ada and Bob", "gas"], ["ask ada to call me", "oil"])
    assert names["new_names"] == 0.5
    assert measure_summaries(["A.", "A.", "C.", "B."], [*"abcd"])["distinct_outputs"] == 0.75
