"""Error rates, overlaps and confusion, on cases that can be counted by hand."""

import sys
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm import metrics
from minillm.errors import InputError


def test_exact_match_and_error_rate_take_the_best_reference():
    outputs = ["a b", "c"]
    references = [["x", "a b"], ["d"]]
    assert metrics.exact_match(outputs, references) == 0.5
    # "a b c" to "a x c d": 2 edits of 4; to "a b": 1 edit of 2, which is nearer; "e" is right
    rate = metrics.token_error_rate([["a", "b", "c"], ["e"]], [["axcd", "ab"], [["e"]]])
    assert rate == pytest.approx(1 / 3)


def test_overlaps():
    pytest.importorskip("sacrebleu")
    pytest.importorskip("rouge_score")
    same = ["the cat sat on the mat ."], [["the cat sat on the mat ."]]
    assert metrics.bleu(*same, tokenised=True) == pytest.approx(100)
    assert metrics.chrf(*same) == pytest.approx(100)
    assert metrics.rouge(*same) == {"rouge1": 1, "rouge2": 1, "rougeL": 1}
    other = ["the cat sat on a mat ."], [["no such words", "the cat sat on the mat ."]]
    assert 0 < metrics.bleu(*other, tokenised=True) < 100
    assert metrics.rouge(*other)["rouge1"] == pytest.approx(5 / 6)
    uneven = ["a b c d", "a b c d"], [["a b c d"], ["x", "a b c d"]]
    assert metrics.bleu(*uneven) == pytest.approx(100)


def test_rouge_is_the_published_one():
    """Words are stemmed, and the best reference counts for each kind by itself."""
    scorers = pytest.importorskip("rouge_score.rouge_scorer")
    published = scorers.RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    output = "Prices of running shoes, in Q4: they are rising"
    references = ["the price rises", "prices of shoes", "they run in the fourth quarter; Q4 rising"]
    scores = metrics.rouge_scores()(output, references)
    for kind, best in scores.items():
        assert best == max(published.score(one, output)[kind].fmeasure for one in references)
    assert metrics.rouge_scores()("running", ["runs"])["rouge1"] == 1
    by_words, by_pairs = "c b a d", "a b x y z"  # the best by ROUGE-1, and by ROUGE-2
    both = metrics.rouge(["a b c d"], [[by_words, by_pairs]])
    assert both["rouge1"] == 1
    assert both["rouge2"] == pytest.approx(2 / 7)


def test_confusion_accuracy_and_f1():
    actual, predicted = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 0])
    matrix = metrics.confusion_matrix(predicted, actual, 3)
    assert matrix.tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert metrics.measure_classes(matrix)["accuracy"] == pytest.approx(3 / 5)
    assert metrics.macro_f1(matrix) == pytest.approx((4 / 6 + 2 / 4) / 2)


def test_all_measures_of_outputs_and_of_classes():
    for package in ("sacrebleu", "rouge_score"):
        pytest.importorskip(package)
    texts, known = ["a b c", "d"], [["a b c"], ["e", "f"]]
    results = metrics.measure_texts(texts, known, split=str.split, tokenised=True)
    assert results["exact_match"] == 0.5
    assert results["token_error_rate"] == pytest.approx(1 / 4)
    assert {"bleu", "chrf", "rouge1", "rouge2", "rougeL"} < results.keys()
    assert results["bleu"] == metrics.bleu(texts, known, tokenised=True)
    measured = metrics.measure_classes(np.array([[3, 1], [0, 4]]))
    assert measured == {"accuracy": 7 / 8, "macro_f1": pytest.approx((6 / 7 + 8 / 9) / 2)}


@pytest.mark.parametrize(
    "measure",
    [
        lambda: metrics.bleu(["a"], [["a"]]),
        lambda: metrics.chrf(["a"], [["a"]]),
        lambda: metrics.rouge(["a"], [["a"]]),
    ],
)
def test_a_missing_library_is_named(monkeypatch, measure):
    for name in ("sacrebleu", "rouge_score.rouge_scorer"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=r"^this measure needs the packages of: pip .*metrics"):
        measure()


def test_what_is_not_installed_is_left_out(monkeypatch):
    for name in ("sacrebleu", "rouge_score", "rouge_score.rouge_scorer", "rapidfuzz"):
        monkeypatch.setitem(sys.modules, name, None)
    assert not metrics.has_packages()
    results = metrics.measure_texts(["a b"], [["a c"]], split=str.split)
    assert results == {"exact_match": 0, "token_error_rate": 0.5}


@given(st.text("abc", max_size=8), st.text("abc", max_size=8))
def test_the_edit_distance_is_that_of_the_recursion(one, other):
    def distance(i, j):
        if not i or not j:
            return i + j
        changed = distance(i - 1, j - 1) + (one[i - 1] != other[j - 1])
        return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, changed)

    distance = cache(distance)
    assert metrics.edit_distance(one, list(other)) == distance(len(one), len(other))
