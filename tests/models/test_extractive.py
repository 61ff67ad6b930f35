"""Extractive summaries: the graph, its scores against linear algebra, and what is chosen."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from minillm.models import extractive
from minillm.models.extractive import common_words, lead, oracle, rank, textrank

SENTENCES = st.lists(  # without a sentence of one letter, which would be an initial
    st.lists(
        st.sampled_from(["cat", "sat", "mat", "dog", "the", "one"]), min_size=1, max_size=6
    ).map(lambda words: " ".join(words).capitalize() + "."),
    min_size=1,
    max_size=7,
)


@st.composite
def graphs(draw, isolated=False):
    """Symmetric weights (n, n) with a zero diagonal; without vertices that have no edge."""
    n = draw(st.integers(2, 7))
    S = draw(arrays(float, (n, n), elements=st.floats(0, 3)))
    S = np.where(S < 0.2, 0, S) if isolated else S + 0.1
    S = S + S.T
    np.fill_diagonal(S, 0)
    return S


def steps(S):
    totals = S.sum(axis=1, keepdims=True)
    return np.divide(S, totals, out=np.zeros_like(S), where=totals > 0)


# --- scores ---------------------------------------------------------------------------


@given(graphs(isolated=True), st.floats(0.1, 0.9))
def test_scores_solve_their_equation(S, d):
    n, x = len(S), rank(S, d)
    assert x == pytest.approx(
        np.linalg.solve(np.eye(n) - d * steps(S).T, np.full(n, 1 - d)), abs=1e-4
    )
    assert x.min() >= 1 - d - 1e-9
    assert x[S.sum(axis=1) == 0] == pytest.approx(1 - d)


# --- TextRank -------------------------------------------------------------------------


@given(SENTENCES)
def test_weights_are_common_words_by_lengths(found):
    S = common_words(found)
    words = [sentence.lower().strip(".").split() for sentence in found]
    for i, one in enumerate(words):
        for j, other in enumerate(words):
            lengths = math.log(len(one)) + math.log(len(other))
            expected = len({*one} & {*other}) / lengths if i != j and lengths else 0
            assert S[i, j] == pytest.approx(expected, rel=1e-6)


@given(SENTENCES, st.integers(1, 8))
def test_the_best_sentences_are_returned_in_the_order_of_the_text(found, count):
    chosen = textrank(" ".join(found), count)
    rest = iter(found)
    assert all(sentence in rest for sentence in chosen)
    assert len(chosen) == min(count, len(found))
    assert lead(" ".join(found), count) == found[:count]
    scores = dict(zip(found, rank(common_words(found)), strict=True))
    worst = min(scores[sentence] for sentence in chosen)
    assert all(score <= worst + 1e-5 for s, score in scores.items() if s not in chosen)


def test_a_long_text_is_ranked_in_parts(monkeypatch):
    monkeypatch.setattr(extractive, "PART", 3)
    found = ["A cat sat.", "The cat sat.", "A dog ran.", "One mat.", "Mat one two.", "Ran.", "Mat."]
    sizes = []
    monkeypatch.setattr(extractive, "rank", lambda S: sizes.append(len(S)) or rank(S))
    parts = [found[:3], found[3:5], found[5:]]
    scores = np.concatenate([rank(common_words(part)) for part in parts])
    best = sorted(np.argsort(-scores, kind="stable")[:3])
    assert textrank(" ".join(found), 3) == [found[i] for i in best]
    assert sizes == [3, 2, 2]
    sizes.clear()
    textrank(" ".join(found[:6]))
    assert sizes == [3, 3]


def test_a_text_without_common_words_begins_with_its_summary():
    found = [f"One{k} cat{k}." for k in range(100)]
    assert textrank(" ".join(found), 3) == found[:3]


# --- the oracle -----------------------------------------------------------------------


def shared(summary, references):
    """The F1 of different words."""
    words, known = ({*text.lower().replace(".", "").split()} for text in (summary, references[0]))
    return 2 * len(words & known) / (len(words) + len(known))


@given(SENTENCES, SENTENCES, st.integers(1, 4))
def test_no_sentence_scores_above_the_oracle(found, other, count):
    text, references = " ".join(found), [" ".join(other)]
    chosen = oracle(text, references, shared, count)
    best = shared(" ".join(chosen), references)
    assert 1 <= len(chosen) <= count
    assert best >= max(shared(sentence, references) for sentence in found)
    assert best == shared(" ".join(chosen[:count]), references)


def test_the_oracle_adds_sentences_as_long_as_the_score_grows():
    text = "Dogs bark. The cat sat. It rains. On the mat."
    assert oracle(text, ["the cat sat on the mat"], shared, 3) == ["The cat sat.", "On the mat."]
    assert oracle(text, ["the cat sat on the mat"], shared) == ["The cat sat."]
    assert oracle(text, ["rain"], lambda summary, references: 1.0, 3) == ["Dogs bark."]


# --- all ------------------------------------------------------------------------------


def test_an_empty_text_has_no_sentence():
    for empty in ("", " \n ", "...\n\n***"):
        assert lead(empty) == textrank(empty) == oracle(empty, ["a"], shared) == []


def test_no_count_is_below_one():
    for pick, *arguments in ((lead,), (textrank,), (oracle, ["a"], shared)):
        with pytest.raises(ValueError, match=r"^count: expected 1 or more, found 0$"):
            pick("A.", *arguments, 0)
