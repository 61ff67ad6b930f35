"""Class n-grams: the loss of a merge, the classes that greedy merging finds, and the model."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.models.class_ngram import (
    ClassNGram,
    brown_classes,
    losses,
    mutual_information,
)
from minillm.models.ngram import NGramConfig, count_ngrams, estimate
from minillm.testing.strategies import generators


def merged(n, i, j):
    """The counts where class j has been added to class i."""
    n = n.copy()
    n[i] += n[j]
    n[:, i] += n[:, j]
    keep = np.arange(len(n)) != j
    return n[keep][:, keep]


@given(generators(), st.integers(2, 6))
def test_the_loss_of_a_merge_is_what_the_mutual_information_loses(rng, C):
    n = rng.poisson(rng.uniform(0, 5, (C, C))).astype(float)
    n[0, 1] += 1
    found = losses(n)
    for i in range(C):
        for j in range(i):
            lost = n.sum() * (mutual_information(n) - mutual_information(merged(n, i, j)))
            assert found[i, j] == pytest.approx(lost, abs=1e-9)
            assert found[j, i] == pytest.approx(lost, abs=1e-9)
    assert (np.diag(found) == np.inf).all()


def test_mutual_information_is_that_of_its_definition():
    n = np.array([[3.0, 0.0], [1.0, 4.0]])
    p = n / n.sum()
    ratio = p / (p.sum(axis=1, keepdims=True) * p.sum(axis=0))
    expected = sum(p[i, j] * np.log(ratio[i, j]) for i, j in ((0, 0), (1, 0), (1, 1)))
    assert mutual_information(n) == pytest.approx(expected)


def text_of_three_classes(rng, T=3000):
    """Words 0 to 11, frequent ones first: classes follow each other by a rule, words do not."""
    of, text = [], []
    state = 0
    share = 1 / np.arange(1, 5)
    for _ in range(T):
        state = rng.choice(3, p=[[0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.7, 0.2, 0.1]][state])
        of.append(state)
        text.append(3 * rng.choice(4, p=share / share.sum()) + state)
    return np.array(text, np.int32), np.arange(12) % 3


def test_greedy_merging_finds_the_classes_that_made_a_text():
    text, right = text_of_three_classes(np.random.default_rng(0))
    found = brown_classes(text, 12, 3)
    assert len({*zip(found.tolist(), right.tolist(), strict=True)}) == 3
    assert [*brown_classes(text, 12, 12)] == [*range(12)]


def test_the_probabilities_of_all_words_sum_to_one():
    text, class_of = text_of_three_classes(np.random.default_rng(1), 400)
    model = ClassNGram(text, class_of.astype(np.int32), order=3)
    for t in range(9):
        after = [model.probabilities(np.append(text[:t], word))[-1] for word in range(12)]
        assert np.exp(after).sum() == pytest.approx(1, abs=1e-6)


def test_with_a_class_for_each_word_it_is_the_n_gram_model_of_words():
    text, _ = text_of_three_classes(np.random.default_rng(2), 400)
    counts = count_ngrams(np.append(12, text), 2, start=12)
    words = estimate(counts, NGramConfig(vocabulary=12, order=2))
    found = ClassNGram(text, np.arange(12, dtype=np.int32), 2).probabilities(text)
    np.testing.assert_allclose(found, words.probabilities(text) * np.log(10), rtol=1e-5)
