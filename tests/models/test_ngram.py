"""n-gram models: counts, smoothing worked out by hand, sums to one, scoring, generation."""

from collections import Counter
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm import use_kernels
from minillm.decoding import Continuation, Sampling, write
from minillm.models.ngram import (
    IMPOSSIBLE,
    SMOOTHINGS,
    Length,
    NGram,
    NGramConfig,
    absolute_discounts,
    add_k,
    check_params,
    count_ngrams,
    counts_of_counts,
    discounted,
    estimate,
    kneser_ney_discounts,
    log10_of,
    maximum_likelihood,
    witten_bell,
)
from minillm.testing.strategies import generators

# The toy corpus "a b", "a b", "a c": a b c, the end, the unknown word; 5 opens a sentence.
A, B, C, END, UNKNOWN, START = range(6)
TOY = np.array([START, A, B, END, START, A, B, END, START, A, C, END], np.int32)
TOY_CONFIG = NGramConfig(vocabulary=5, order=2, line_end=END, unknown=UNKNOWN)


def random_text(rng, T=80, V=5):
    """Ids 0..V-1 in sentences that V opens; V - 1 never occurs."""
    text = np.minimum(rng.integers(0, V - 1, T), rng.integers(0, V - 1, T)).astype(np.int32)
    text[rng.random(T) < 0.1] = V
    text[0] = V
    return text


def random_cuts(rng, text):
    return np.split(text, np.sort(rng.integers(0, len(text) + 1, rng.integers(0, 4))))


def ngrams_of(levels, n):
    """All n-grams as tuples, spelled out through their contexts."""
    grams = [(word,) for word in levels[0].word.tolist()]
    for level in levels[1:n]:
        pairs = zip(level.context.tolist(), level.word.tolist(), strict=True)
        grams = [(*grams[context], word) for context, word in pairs]
    return grams


def model(text, config):
    return estimate(count_ngrams(text, config.order, config.start), config)


@given(generators(), st.integers(1, 7))
def test_counts_are_those_of_a_dictionary(kernels, rng, order):
    text = random_text(rng)
    with use_kernels(kernels):
        levels = count_ngrams(text, order, start=5)
    for n in range(1, order + 1):
        spans = zip(*(text[k:].tolist() for k in range(n)), strict=False)
        expected = Counter(span for span in spans if 5 not in span[1:])
        grams = ngrams_of(levels, n)
        counts = levels[n - 1].count.tolist()
        assert grams == sorted(grams)
        results = zip(grams, counts, strict=True)
        assert {gram: count for gram, count in results if count} == dict(expected)
        assert levels[n - 1].opening.tolist() == [gram[0] == 5 for gram in grams]
        if n > 1:
            shorter = ngrams_of(levels, n - 1)
            suffixes = [shorter[k] for k in levels[n - 1].suffix.tolist()]
            assert suffixes == [gram[1:] for gram in grams]


# --- smoothing, by hand --------------------------------------------------------


def test_kneser_ney_by_hand():
    # Too few n-grams for discounts of their own: 0.5, 1, 1.5.
    # Words before each word: a 1 (<s>), b 1, c 1, the end 2 (b, c).  2.5 of 5 are taken, so half
    # is spread over 5 words: 0.1 each.
    toy = model(TOY, TOY_CONFIG)
    unigrams = [0.5 / 5 + 0.1, 0.5 / 5 + 0.1, 0.5 / 5 + 0.1, 1 / 5 + 0.1, 0.1]
    assert 10 ** toy.distribution([]) == pytest.approx(unigrams, rel=1e-6)
    # After a: b twice, c once; 1.5 of 3 are taken.
    after_a = [0.5 * 0.2, 1 / 3 + 0.5 * 0.2, 0.5 / 3 + 0.5 * 0.2, 0.5 * 0.3, 0.5 * 0.1]
    assert 10 ** toy.distribution([A]) == pytest.approx(after_a, rel=1e-6)
    # At the start of a sentence: a three times; 1.5 of 3 are taken.
    assert 10 ** toy.distribution([START])[A] == pytest.approx(1.5 / 3 + 0.5 * 0.2, rel=1e-6)


def test_the_discounts_of_kneser_ney_by_hand():
    # n1 = 4, n2 = 3, n3 = 2, n4 = 1: Y = 0.4, D = 0.4, 1.2, 2.2.
    count = np.array([1, 1, 1, 1, 2, 2, 2, 3, 3, 4])
    context = np.array([0, 1, 0, 0, 0, 1, 0, 0, 0, 0])
    D = kneser_ney_discounts(counts_of_counts(count))
    share, leftover = discounted(count, context, 3, D)
    taken = np.array([0.4, 0.4, 0.4, 0.4, 1.2, 1.2, 1.2, 2.2, 2.2, 2.2])
    assert share == pytest.approx((count - taken) / np.array([17, 3])[context])
    assert leftover == pytest.approx([(3 * 0.4 + 2 * 1.2 + 3 * 2.2) / 17, 1.6 / 3, 1])


def test_the_other_shares_by_hand():
    # Nothing follows context 1; the last n-gram is only the context of others.
    count, context = np.array([2, 1, 3, 0]), np.array([0, 0, 2, 2])
    length = Length(2, NGramConfig(4, 2, k=0.5), counts_of_counts(count))
    for function, share, leftover in [
        (maximum_likelihood, [2 / 3, 1 / 3, 1, 0], [0, 1, 0]),
        (witten_bell, [2 / 5, 1 / 5, 3 / 4, 0], [2 / 5, 1, 1 / 4]),
    ]:
        results = function(count, context, 3, length)
        assert results[0] == pytest.approx(share)
        assert results[1] == pytest.approx(leftover)
    D = absolute_discounts(counts_of_counts(count))  # n1 = 1, n2 = 1: D = 1 / 3
    share, leftover = discounted(count, context, 3, D)
    assert share == pytest.approx([5 / 9, 2 / 9, 8 / 9, 0])
    assert leftover == pytest.approx([2 / 9, 1, 1 / 9])
    share, leftover = add_k(count, context, 3, length)
    assert share == pytest.approx([2 / 5, 1 / 5, 3 / 5, 0])
    assert leftover == pytest.approx([2 / 5, 1, 2 / 5])


def test_add_k_is_the_textbook_formula():
    toy = model(TOY, replace(TOY_CONFIG, smoothing="add-k", k=0.5))
    expected = (np.array([0, 2, 1, 0, 0]) + 0.5) / (3 + 0.5 * 5)
    assert 10 ** toy.distribution([A]) == pytest.approx(expected, rel=1e-6)
    assert 10 ** toy.distribution([UNKNOWN]) == pytest.approx([0.2] * 5, rel=1e-6)


def test_a_pruned_ngram_leaves_its_share_to_the_shorter_context():
    toy = model(TOY, replace(TOY_CONFIG, prune=(1,)))
    assert toy.config.sizes == (6, 3)  # (<s>, a), (a, b), (b, end) occur more than once
    # (a, c) is pruned: b keeps its 1 / 3, the unigrams divide the other 2 / 3.
    after_a = np.array([0.2, 0.2, 0.2, 0.3, 0.1]) * 2 / 3 + [0, 1 / 3, 0, 0, 0]
    assert 10 ** toy.distribution([A]) == pytest.approx(after_a, rel=1e-6)


@given(
    generators(),
    st.integers(1, 6),
    st.sampled_from(list(SMOOTHINGS)),
    st.sampled_from([(), (1,), (0, 1), (0, 1, 2)]),
)
def test_probabilities_sum_to_one(kernels, rng, order, smoothing, prune):
    text = random_text(rng, T=200)
    with use_kernels(kernels):
        some = model(text, NGramConfig(5, order, smoothing, k=0.1, prune=prune))
        for _ in range(10):
            at, length = rng.integers(0, len(text)), rng.integers(0, order + 1)
            seen = text[at : at + length].tolist()
            for context in (seen, rng.integers(0, 5, length).tolist()):
                p = 10 ** some.distribution(context)
                assert p.sum() == pytest.approx(1, abs=1e-6)


@given(generators(), st.integers(1, 5), st.sampled_from(list(SMOOTHINGS)))
def test_a_score_is_the_sum_over_distributions(kernels, rng, order, smoothing):
    some = model(random_text(rng), NGramConfig(5, order, smoothing, k=0.1, unknown=4))
    text = random_text(rng, T=30)
    text[rng.random(30) < 0.1] = 4
    places = [t for t in range(30) if text[t] != 5]
    expected = np.array([some.distribution(text[:t].tolist())[text[t]] for t in places])
    is_unknown = text[places] == 4
    with use_kernels(kernels):
        log_p = some.probabilities(text)
        score = some.score(random_cuts(rng, text))
    assert log_p[places] == pytest.approx(expected, rel=1e-9)
    assert (score.tokens, score.unknown) == (sum(~is_unknown), sum(is_unknown))
    assert score.log10 == pytest.approx(expected[~is_unknown].sum(), rel=1e-9)
    assert score.unknown_log10 == pytest.approx(expected[is_unknown].sum(), rel=1e-9)


# --- as a whole ----------------------------------------------------------------


def test_a_sentence_that_ends_is_forgotten():
    toy = model(TOY, replace(TOY_CONFIG, smoothing="mle"))
    ids = list(write(toy, Continuation([END], 30, Sampling(temperature=1.0, seed=0))))
    assert {tuple(ids[k : k + 3]) for k in range(0, 30, 3)} == {(A, B, END), (A, C, END)}


# --- arrays that are damaged, and lengths without n-grams -----------------------------------------


def small_model(order=3):
    ids = np.array([4, 0, 1, 2, 3, 4, 0, 2, 3], np.int32)
    return estimate(count_ngrams(ids, order, 4), NGramConfig(4, order, line_end=3))


@pytest.mark.parametrize(
    ("name", "at", "value", "complaint"),
    [
        ("first.2", 2, 2**31 - 1, "first.2: expected offsets that ascend from 0 to 5"),
        ("first.2", 2, -(2**31), "first.2: expected offsets"),
        ("first.2", 0, 1, "first.2: expected offsets"),
        ("first.2", -1, 4, "first.2: expected offsets"),
        ("first.3", 1, 2**30, "first.3: expected offsets"),
        ("word.2", 0, 5, r"word.2: expected ids from 0 to 4"),
        ("word.3", 0, -1, "word.3: expected ids"),
        ("word.2", 1, 0, "word.2: expected the words of each context, ascending"),
        ("word.1", 1, 0, "word.1: expected the words of each context, ascending"),
    ],
)
def test_arrays_that_look_ups_would_leave_are_refused(name, at, value, complaint):
    model = small_model()
    params = {key: array.copy() for key, array in model.params.items()}
    check_params(model.config, params)
    params[name][at] = value
    with pytest.raises(ValueError, match=complaint):
        check_params(model.config, params)
    with pytest.raises(ValueError, match=complaint):
        NGram(model.config, params)


def test_arrays_of_other_shapes_and_dtypes_are_refused():
    model = small_model()
    for name, other in (
        ("first.2", model.params["first.2"][:-1]),
        ("word.2", model.params["word.2"].astype(np.int64)),
        ("log_p.3", model.params["log_p.3"][:, None]),
        ("backoff.1", model.params["backoff.1"].astype(np.float64)),
    ):
        with pytest.raises(ValueError, match=f"{name}: expected "):
            NGram(model.config, model.params | {name: other})


@pytest.mark.usefixtures("both_twins")
@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("prune", [(), (1000,), (0, 1000)])
def test_a_length_may_have_no_ngrams(smoothing, prune):
    ids = np.array([2, 0, 1], np.int32)  # one sentence, shorter than the order
    config = NGramConfig(2, 6, smoothing, k=0.1, prune=prune, line_end=1)
    model = estimate(count_ngrams(ids, 6, 2), config)
    assert model.config.sizes[-1] == 0
    assert np.isfinite(model.probabilities(ids)).all()
    for context in ([], [2], [2, 0], [0, 1], [2, 0, 1, 1]):
        assert (10 ** model.distribution(context)).sum() == pytest.approx(1)


def test_a_sum_of_shares_that_is_rounded_to_above_one_is_one():
    """An ARPA file with a log10 above 0 would be refused."""
    assert log10_of(np.array([1 + 2**-52, 1, 0])).tolist() == [0, 0, IMPOSSIBLE]


# --- a smoothing that only this file knows -----------------------------------------


def test_a_new_smoothing_is_one_function(monkeypatch):
    """Config, estimation in memory and scoring accept it by its name."""

    def halves(count, context, C, length):
        """Give half of the relative frequency, and leave half."""
        total = np.bincount(context, count, C)
        return count / total[context] / 2, np.where(total > 0, 0.5, 1.0)

    monkeypatch.setitem(SMOOTHINGS, "halves", halves)
    toy = model(TOY, replace(TOY_CONFIG, smoothing="halves"))
    unigrams = 0.5 * np.array([3, 2, 1, 3, 0]) / 9 + 0.5 / 5
    after_a = 0.5 * np.array([0, 2, 1, 0, 0]) / 3 + 0.5 * unigrams
    assert 10 ** toy.distribution([]) == pytest.approx(unigrams, rel=1e-6)
    assert 10 ** toy.distribution([A]) == pytest.approx(after_a, rel=1e-6)
    assert toy.score([TOY]).tokens == 9


@pytest.mark.usefixtures("both_twins")
def test_ids_of_any_integer_dtype_are_read():
    toy = model(TOY, TOY_CONFIG)
    for dtype in (np.int64, np.uint8, np.uint64, ">i4"):
        ids = TOY.astype(dtype)
        assert toy.probabilities(ids).tolist() == toy.probabilities(TOY).tolist()
        assert toy.score([ids]) == toy.score([TOY])
        for name, array in model(ids, TOY_CONFIG).params.items():
            assert np.array_equal(array, toy.params[name])
        logits, _ = toy.read(ids[None], toy.zero_state(1))
        assert np.array_equal(logits, toy.read(TOY[None], toy.zero_state(1))[0])
    assert toy.distribution(np.array([START, A])).tolist() == toy.distribution([START, A]).tolist()


CALLS = {
    "count_ngrams: text": lambda toy, ids: count_ngrams(ids, 2, START),
    "probabilities: ids": lambda toy, ids: toy.probabilities(ids),
    "score: chunks": lambda toy, ids: toy.score([TOY, ids]),
    "distribution: context": lambda toy, ids: toy.distribution(ids),
    "read: ids": lambda toy, ids: toy.read(ids[None], toy.zero_state(1)),
}
IDS = [
    (np.array([A, -1, B]), ValueError, "expected 0..5, found"),
    (np.array([A, START + 1, B]), ValueError, "expected 0..5, found"),
    (np.array([A, 2**32 + B, B]), ValueError, "expected 0..5, found"),
    (np.array([A, 2**64 - 1, B], np.uint64), ValueError, "expected 0..5, found"),
    (TOY / 2, TypeError, "expected integers, found float64"),
]


@pytest.mark.usefixtures("both_twins")
@pytest.mark.parametrize(("ids", "error", "message"), IDS)
@pytest.mark.parametrize("name", CALLS)
def test_ids_that_the_model_has_not_are_named(name, ids, error, message):
    with pytest.raises(error, match=f"^{name}: {message}"):
        CALLS[name](model(TOY, TOY_CONFIG), ids)


def test_ids_of_another_shape_are_named():
    toy = model(TOY, TOY_CONFIG)
    for call, message in (
        (lambda: toy.probabilities(TOY[None]), r"ids: expected shape \(12,\), found \(1, 12\)"),
        (lambda: toy.probabilities([1, 2]), "ids: expected a NumPy array, found list"),
        (lambda: toy.read(TOY[None], toy.zero_state(2)), r"ids: expected shape \(2, 12\)"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            call()


@pytest.mark.usefixtures("both_twins")
@pytest.mark.parametrize("value", [-(2**31), 7, 2**31 - 1])
@pytest.mark.parametrize("name", ["first.2", "word.2", "first.3"])
def test_a_model_whose_arrays_are_changed_crashes_nothing(name, value):
    """The answers are wrong; an array is read within its bounds."""
    changed = model(TOY, NGramConfig(vocabulary=5, order=3, line_end=END))
    for place in range(len(changed.params[name])):
        before = changed.params[name][place]
        changed.params[name][place] = value
        with suppress(IndexError):  # of the NumPy twin
            changed.probabilities(TOY)
        changed.params[name][place] = before
    changed.params[name] = changed.params[name][:1].copy()
    with suppress(IndexError):
        changed.probabilities(TOY)
