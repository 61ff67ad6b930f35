"""Perplexity, rank correlation, and the measures of word vectors."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.errors import InputError
from minillm.metrics import (
    analogy_accuracy,
    answer_exact,
    answer_f1,
    bits,
    normalised_answer,
    perplexity,
    rank_correlation,
    similarity_correlation,
)
from minillm.models.vectors import Vectors


@pytest.mark.parametrize("sides", [1, 2, 65])
def test_a_fair_die(sides):
    assert perplexity(math.log(sides)) == pytest.approx(sides)
    assert bits(math.log(sides)) == pytest.approx(math.log2(sides))


def test_a_hopeless_model_has_no_perplexity_to_print():
    assert perplexity(1e6) == math.inf


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=9), st.randoms())
def test_rank_correlation_is_the_correlation_of_ranks(x, random):
    y = random.sample(x, len(x))
    if len(set(x)) == 1:
        with pytest.raises(InputError, match="found all equal"):
            rank_correlation(x, y)
        return
    r = rank_correlation(x, y)
    mean = [[sum(v < w for v in x) + (x.count(w) + 1) / 2 for w in values] for values in (x, y)]
    assert r == pytest.approx(np.corrcoef(mean)[0, 1])
    assert rank_correlation(np.exp(x), y) == pytest.approx(r)  # only the order counts
    assert rank_correlation(x, [-value for value in x]) == pytest.approx(-1)


def test_rank_correlation_agrees_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    x, y = np.random.default_rng(0).integers(0, 9, (2, 50))
    assert rank_correlation(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)


VECTORS = Vectors(
    ["king", "queen", "man", "woman", "apple"],
    np.array([[1, 1, 0], [1, -1, 0], [0, 1, 0.1], [0, -1, 0.1], [0, 0, 1.0]]),
)


def test_similarity_correlation_leaves_unknown_words_out():
    pairs = [("king", "man", 9.0), ("king", "woman", 1.0), ("man", "apple", 5.0), ("king", "x", 3)]
    assert similarity_correlation(VECTORS, pairs) == (pytest.approx(1), 3)
    with pytest.raises(InputError, match="that the model knows, found 1 of 2"):
        similarity_correlation(VECTORS, [pairs[0], pairs[3]])


def test_analogies_are_solved_by_the_nearest_word():
    right, wrong = ("man", "king", "woman", "queen"), ("man", "king", "woman", "apple")
    sections = {"royal": [right, wrong], "unknown": [("man", "king", "woman", "x")]}
    assert analogy_accuracy(VECTORS, sections) == {"royal": (1, 2, 2), "unknown": (0, 0, 1)}
    many = analogy_accuracy(VECTORS, {"many": [right] * 300 + [wrong] * 5})
    assert many == {"many": (300, 305, 305)}


# --- answers to questions: what SQuAD's evaluation script says -------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The  Cat", ["cat"]),
        ("theatre of an analysis", ["theatre", "of", "analysis"]),
        ("well-known, U.S. $5!", ["wellknown", "us", "5"]),
        ("a.the", ["athe"]),  # punctuation goes first, articles after it
        ("don\u2019t \u201cquote\u201d", ["don\u2019t", "\u201cquote\u201d"]),  # ASCII's alone
        ("\tan\n a  ", []),
        ("()", []),
        ("ÉCOLE", ["école"]),
    ],
)
def test_normalised_answers(text, words):
    assert normalised_answer(text) == words


@pytest.mark.parametrize(
    ("answer", "references", "exact", "f1"),
    [
        ("Denver Broncos", ["Denver Broncos", "The Denver Broncos"], 1, 1),
        ("the Broncos.", ["Denver Broncos"], 0, 2 / 3),
        ("Broncos", ["Denver Broncos", "Broncos of Denver"], 0, 2 / 3),  # the best of them
        ("gold and gold", ["gold"], 0, 0.5),  # it counts once: 1 of 3 and 1 of 1
        ("gold gold", ["gold and gold"], 0, 0.8),
        ("Broncos Denver", ["Denver Broncos"], 0, 1),  # F1 knows no order
        ("Panthers", ["Denver Broncos"], 0, 0),
        ("", ["Denver"], 0, 0),
        ("", [], 1, 1),  # no answer, and none is expected
        ("Denver", [], 0, 0),
        ("the", [], 1, 1),  # an article is no answer
        ("", ["a", "..."], 1, 1),  # references of which nothing is left are none
        ("", ["the", "Denver"], 0, 0),
        ("Denver", ["the", "Denver"], 1, 1),
    ],
)
def test_scores_of_answers(answer, references, exact, f1):
    assert answer_exact(answer, references) == exact
    assert answer_f1(answer, references) == pytest.approx(f1)
