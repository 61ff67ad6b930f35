"""Corrupted texts: what is hidden, what remains, and that each epoch draws again."""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.data import denoising
from minillm.data.denoising import (
    HIDDEN,
    MEAN,
    DenoisingBatches,
    corrupted,
    infill,
    passages,
    span_lengths,
)

MASK = 0
SEEDS = st.integers(0, 2**32)


def infilled(T, seed):
    """The ids 1 to T, infilled."""
    return infill(np.arange(1, T + 1), MASK, np.random.default_rng(seed))


@given(T=st.integers(0, 300), seed=SEEDS)
def test_tokens_remain_in_order_and_a_mask_stands_for_each_gap(T, seed):
    place, following = 0, 1  # without a mask, the next token is the next number
    for token in [*infilled(T, seed), T + 1]:
        if token == MASK:
            following = None
        else:
            assert following in (None, token)
            assert token > place
            place, following = token, token + 1


@given(T=st.integers(20, 300), seed=SEEDS)
def test_three_tenths_are_hidden_whatever_is_drawn(T, seed):
    source = infilled(T, seed)
    assert T - np.count_nonzero(source) == round(HIDDEN * T)


@given(T=st.integers(0, 300), seed=SEEDS)
def test_no_two_masks_are_neighbours(T, seed):
    masks = infilled(T, seed) == MASK
    assert not (masks[1:] & masks[:-1]).any()


@given(total=st.integers(0, 1000), seed=SEEDS)
def test_lengths_add_up(total, seed):
    lengths = span_lengths(total, np.random.default_rng(seed))
    assert sum(lengths) == total
    assert min(lengths, default=0) >= 0
    assert not lengths or lengths[-1] > 0


@pytest.mark.parametrize("T", [60, 200])
def test_the_number_of_spans_is_the_one_derived(T):
    """m / 3 + 1 / 2, and of them e^-3 hide nothing, within four standard errors."""
    rng, m, draws = np.random.default_rng(1), round(HIDDEN * T), 2000
    drawn = [span_lengths(m, rng) for _ in range(draws)]
    counts = np.array([len(lengths) for lengths in drawn])
    assert counts.mean() == pytest.approx(m / MEAN + 0.5, abs=4 * counts.std() / draws**0.5)
    empty = np.array([lengths.count(0) for lengths in drawn])
    expected = np.exp(-MEAN) * (m / MEAN + 0.5)
    assert empty.mean() == pytest.approx(expected, abs=4 * empty.std() / draws**0.5)


def test_every_place_is_as_likely():
    """Of 10 tokens, 3 are hidden.  A mask comes first and last as often as anywhere else."""
    rng, draws = np.random.default_rng(0), 4000
    before = np.zeros(8)  # by the number of remaining tokens before a mask
    spans = 0
    for _ in range(draws):
        source = infill(np.arange(1, 11), MASK, rng)
        if np.count_nonzero(source) == 7:
            places = np.cumsum(source != MASK)[source == MASK]
            before[places] += 1
            spans += len(places)
    expected = spans / 8
    assert ((before - expected) ** 2 / expected).sum() < 25  # chi-squared, 7 degrees


@pytest.mark.parametrize(("T", "hidden"), [(0, 0), (1, 0), (2, 1), (3, 1)])
def test_short_texts(T, hidden):
    sources = [infilled(T, seed) for seed in range(200)]
    counts = {T - np.count_nonzero(source) for source in sources}
    assert max(counts) == hidden
    assert hidden or all(len(source) == T for source in sources)


# --- sentences, passages -----------------------------------------------------------------------

WORDS = {}


def encode(texts):
    """A number from 1 up for each word."""
    return [np.array([WORDS.setdefault(w, len(WORDS) + 1) for w in t.split()], int) for t in texts]


@given(sentences=st.lists(st.integers(1, 30), min_size=1, max_size=12), most=st.integers(1, 12))
def test_passages_keep_the_text(sentences, most):
    numbers = iter(range(1000))
    texts = [" ".join(str(next(numbers)) for _ in range(length)) for length in sentences]
    cut = passages(texts, encode, most)
    assert " ".join(part for passage in cut for part in passage) == " ".join(texts)
    sizes = [sum(len(part.split()) for part in passage) for passage in cut]
    assert all(1 <= size <= most for size in sizes)
    for size, following in zip(sizes[:-1], cut[1:], strict=True):
        assert size + len(following[0].split()) > most  # each is as full as it can be
    whole = {text for text in texts if len(text.split()) <= most}
    assert whole <= {part for passage in cut for part in passage}


def test_a_word_longer_than_a_passage_is_left_out():
    def letters(texts):
        return [np.arange(len(text.replace(" ", ""))) for text in texts]

    assert passages(["ab", "abcdefgh xy", "cd"], letters, 4) == [["ab", "xy"], ["cd"]]
    assert passages([], letters, 4) == []


def test_all_orders_of_the_sentences_are_equally_likely(monkeypatch):
    monkeypatch.setattr(denoising, "HIDDEN", 0)
    rng = np.random.default_rng(0)
    texts = ["a b", "c", "d"]
    drawn = Counter(tuple(corrupted(texts, encode, MASK, rng)) for _ in range(1200))
    orders = [" ".join(order) for order in permutations(texts)]
    counts = np.array([drawn[tuple(encode([order])[0])] for order in orders])
    assert counts.sum() == 1200
    assert ((counts - 200) ** 2 / 200).sum() < 21  # chi-squared, 5 degrees


# --- batches -----------------------------------------------------------------------------------

EOS = 99


@pytest.fixture
def texts():
    words = "abcdefghijklmnopqrstuvwxyz"
    rng = np.random.default_rng(0)
    drawn = (rng.choice(list(words), rng.integers(2, 9)) for _ in range(60))
    sentences = [" ".join(row) + " ." for row in drawn]
    return passages(sentences, encode, 20)


def batches(texts, seed=0):
    return DenoisingBatches(texts, encode, MASK, EOS, batch=4, seed=seed)


def rows(batch):
    source, source_lengths, target, target_lengths = batch
    for b in range(len(source)):
        yield source[b, : source_lengths[b]], target[b, : target_lengths[b]]


def test_a_target_is_the_passage_and_its_source_is_corrupted(texts):
    series, expected = batches(texts), {tuple(encode([" ".join(t)])[0]) for t in texts}
    for _ in range(series.batches_per_epoch):
        for source, target in rows(series.next()):
            assert tuple(target[:-1]) in expected
            assert target[-1] == EOS
            assert MASK in source
            assert set(source) - {MASK} <= set(target)


def epoch(series):
    return [batch for _ in range(series.batches_per_epoch) for batch in [series.next()]]


def test_each_epoch_draws_again(texts):
    series = batches(texts)
    first, second = (
        {tuple(target): tuple(source) for batch in epoch(series) for source, target in rows(batch)}
        for _ in range(2)
    )
    assert first.keys() == second.keys()
    assert sum(first[text] == second[text] for text in first) <= len(first) // 5


def test_resumed_batches_equal_uninterrupted_ones(texts):
    whole, begun = batches(texts), batches(texts)
    every = [whole.next() for _ in range(2 * whole.batches_per_epoch + 1)]
    for number in range(len(every)):
        resumed = batches(texts)
        resumed.restore(begun.state())
        for column, expected in zip(resumed.next(), every[number], strict=True):
            np.testing.assert_array_equal(column, expected)
        begun.next()
    other = batches(texts, seed=1).next()
    assert any(a.shape != b.shape or (a != b).any() for a, b in zip(other, every[0], strict=True))


def test_an_evaluation_has_the_same_masks_each_time_and_takes_no_place(texts):
    series = batches(texts)
    before = series.state()
    first, second = list(series.once()), list(series.once())
    assert series.state() == before
    assert sum(len(batch[0]) for batch in first) == len(texts)
    for one, other in zip(first, second, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
