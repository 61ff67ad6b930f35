"""All measures: losses, ranks, word vectors, texts, classes, answers and summaries.

Cases can be counted by hand; properties hold for any.
"""

import math
import sys
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm import metrics
from minillm.errors import InputError
from minillm.metrics import fragments, measure_summaries
from minillm.models.vectors import Vectors


def test_a_fair_die_and_a_hopeless_model():
    for sides in (1, 2, 65):
        assert metrics.perplexity(math.log(sides)) == pytest.approx(sides)
        assert metrics.bits(math.log(sides)) == pytest.approx(math.log2(sides))
    assert metrics.perplexity(1e6) == math.inf


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=9), st.randoms())
def test_rank_correlation_is_the_correlation_of_ranks(x, random):
    y = random.sample(x, len(x))
    if len(set(x)) == 1:
        with pytest.raises(InputError, match="found all equal"):
            metrics.rank_correlation(x, y)
        return
    r = metrics.rank_correlation(x, y)
    mean = [[sum(v < w for v in x) + (x.count(w) + 1) / 2 for w in values] for values in (x, y)]
    assert r == pytest.approx(np.corrcoef(mean)[0, 1])
    assert metrics.rank_correlation(np.exp(x), y) == pytest.approx(r)  # only the order counts
    assert metrics.rank_correlation(x, [-value for value in x]) == pytest.approx(-1)


VECTORS = Vectors(
    ["king", "queen", "man", "woman", "apple"],
    np.array([[1, 1, 0], [1, -1, 0], [0, 1, 0.1], [0, -1, 0.1], [0, 0, 1.0]]),
)


def test_similarity_correlation_leaves_unknown_words_out():
    pairs = [("king", "man", 9.0), ("king", "woman", 1.0), ("man", "apple", 5.0), ("king", "x", 3)]
    assert metrics.similarity_correlation(VECTORS, pairs) == (pytest.approx(1), 3)
    with pytest.raises(InputError, match="that the model knows, found 1 of 2"):
        metrics.similarity_correlation(VECTORS, [pairs[0], pairs[3]])


def test_analogies_are_solved_by_the_nearest_word():
    right, wrong = ("man", "king", "woman", "queen"), ("man", "king", "woman", "apple")
    sections = {"royal": [right, wrong], "unknown": [("man", "king", "woman", "x")]}
    assert metrics.analogy_accuracy(VECTORS, sections) == {"royal": (1, 2, 2), "unknown": (0, 0, 1)}
    many = metrics.analogy_accuracy(VECTORS, {"many": [right] * 300 + [wrong] * 5})
    assert many == {"many": (300, 305, 305)}


# --- answers to questions: what SQuAD's evaluation script says -------------------------------


def test_normalised_answers():
    for text, words in (
        ("The  Cat", ["cat"]),
        ("theatre of an analysis", ["theatre", "of", "analysis"]),
        ("well-known, U.S. $5!", ["wellknown", "us", "5"]),
        ("a.the", ["athe"]),  # punctuation goes first, articles after it
        ("don\u2019t \u201cquote\u201d", ["don\u2019t", "\u201cquote\u201d"]),  # ASCII's alone
        ("\tan\n a  ()", []),
        ("ÉCOLE", ["école"]),
    ):
        assert metrics.normalised_answer(text) == words


@pytest.mark.parametrize(
    ("answer", "references", "exact", "f1"),
    [
        ("the Broncos.", ["Denver Broncos"], 0, 2 / 3),
        ("Broncos", ["Denver Broncos", "Broncos of Denver"], 0, 2 / 3),  # the best of them
        ("gold and gold", ["gold"], 0, 0.5),  # it counts once: 1 of 3 and 1 of 1
        ("gold gold", ["gold and gold"], 0, 0.8),
        ("Broncos Denver", ["Denver Broncos"], 0, 1),  # F1 knows no order
        ("", [], 1, 1),  # no answer, and none is expected
        ("Denver", [], 0, 0),
        ("the", [], 1, 1),  # an article is no answer
        ("", ["a", "..."], 1, 1),  # references of which nothing is left are none
        ("", ["the", "Denver"], 0, 0),
    ],
)
def test_scores_of_answers(answer, references, exact, f1):
    assert metrics.answer_exact(answer, references) == exact
    assert metrics.answer_f1(answer, references) == pytest.approx(f1)


# --- texts and classes ---------------------------------------------------------------------------


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
    results = metrics.measure_texts(*other, split=str.split, tokenised=True)
    assert {
        "exact_match",
        "token_error_rate",
        "chrf",
        "rouge1",
        "rouge2",
        "rougeL",
    } < results.keys()
    assert results["bleu"] == metrics.bleu(*other, tokenised=True)


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
    f1 = pytest.approx((4 / 6 + 2 / 4) / 2)
    assert metrics.measure_classes(matrix) == {"accuracy": pytest.approx(3 / 5), "macro_f1": f1}


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


# --- summaries against their sources -------------------------------------------------------------

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


def test_shares_by_hand():
    one = measure_summaries(["Gas prices up"], ["The price of gas is up."])
    assert (one["new_words"], one["new_bigrams"]) == (1 / 3, 1)
    two = measure_summaries(["it is up and it is up", "it is, it is"], ["", ""])
    assert two["repeated_trigrams"] == 0.5
    names = measure_summaries(["Call Ada and Bob", "gas"], ["ask ada to call me", "oil"])
    assert names["new_names"] == 0.5
    assert measure_summaries(["A.", "A.", "C.", "B."], [*"abcd"])["distinct_outputs"] == 0.75
    nothing = measure_summaries(["", "..."], ["a b", ""])  # without words there is no share
    assert {value for name, value in nothing.items() if name != "distinct_outputs"} == {0}


# --- minimal pairs -------------------------------------------------------------------------------


@given(st.integers(1, 200), st.floats(0, 1))
def test_the_bounds_of_a_share_are_z_deviations_from_it(n, share):
    for bound in metrics.interval_of_share(share, n):
        if 0 < bound < 1:
            off = abs(share - bound)
            assert off == pytest.approx(1.96 * math.sqrt(bound * (1 - bound) / n), abs=1e-9)


def test_a_tie_counts_one_half():
    measured = metrics.measure_minimal_pairs(
        [-1.0, -2.0, -3.0, -np.inf], [-2.0, -2.0, -1.0, -np.inf]
    )
    assert (measured["accuracy"], measured["ties"]) == (0.5, 2)
