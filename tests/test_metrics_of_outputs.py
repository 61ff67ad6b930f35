"""Error rates, overlaps and confusion, on cases that can be counted by hand."""

import sys

import numpy as np
import pytest

from minillm import metrics
from minillm.errors import InputError


def test_exact_match_and_error_rate_take_the_best_reference():
    outputs = ["a b", "c"]
    references = [["x", "a b"], ["d"]]
    assert metrics.exact_match(outputs, references) == 0.5
    pytest.importorskip("rapidfuzz")
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


def test_confusion_accuracy_and_f1():
    actual, predicted = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 0])
    matrix = metrics.confusion_matrix(predicted, actual, 3)
    assert matrix.tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert metrics.accuracy(matrix) == pytest.approx(3 / 5)
    assert metrics.macro_f1(matrix) == pytest.approx((4 / 6 + 2 / 4) / 2)


@pytest.mark.parametrize(
    ("measure", "package"),
    [
        (lambda: metrics.token_error_rate(["a"], [["a"]]), "rapidfuzz"),
        (lambda: metrics.bleu(["a"], [["a"]]), "sacrebleu"),
        (lambda: metrics.chrf(["a"], [["a"]]), "sacrebleu"),
        (lambda: metrics.rouge(["a"], [["a"]]), "rouge-score"),
    ],
)
def test_a_missing_library_is_named(monkeypatch, measure, package):
    for name in ("rapidfuzz.distance", "sacrebleu", "rouge_score.rouge_scorer"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=f"^this measure needs the package {package}$"):
        measure()
