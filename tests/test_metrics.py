"""Perplexity, rank correlation, and the measures of word vectors."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.errors import InputError
from minillm.metrics import (
    analogy_accuracy,
    bits,
    perplexity,
    rank_correlation,
    ranks,
    similarity_correlation,
)
from minillm.models.word2vec import Vectors


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
        with pytest.raises(InputError, match="all values are equal"):
            rank_correlation(x, y)
        return
    r = rank_correlation(x, y)
    assert r == pytest.approx(np.corrcoef(ranks(np.array(x)), ranks(np.array(y)))[0, 1])
    assert rank_correlation(np.exp(x), y) == pytest.approx(r)  # only the order counts
    assert rank_correlation(x, [-value for value in x]) == pytest.approx(-1)


def test_equal_values_share_their_mean_rank():
    assert ranks(np.array([3.0, 1, 3, 7])).tolist() == [2.5, 1, 2.5, 4]


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
    with pytest.raises(InputError, match="the model knows 1 of the 2 pairs"):
        similarity_correlation(VECTORS, [pairs[0], pairs[3]])


def test_analogies_are_solved_by_the_nearest_word():
    right, wrong = ("man", "king", "woman", "queen"), ("man", "king", "woman", "apple")
    sections = {"royal": [right, wrong], "unknown": [("man", "king", "woman", "x")]}
    assert analogy_accuracy(VECTORS, sections) == {"royal": (1, 2, 2), "unknown": (0, 0, 1)}
    many = analogy_accuracy(VECTORS, {"many": [right] * 300 + [wrong] * 5})
    assert many == {"many": (300, 305, 305)}
