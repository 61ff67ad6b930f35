"""Padding, and batches of about one length."""

import math
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from minillm.data import Minibatches, Sequences
from minillm.data.sequences import batches_in_order

ROWS = st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=9), min_size=1, max_size=40)


def seen(batches):
    """The rows of batches of (ids, lengths, number), by number."""
    return {
        int(number): row[:length].tolist()
        for ids, lengths, numbers in batches
        for row, length, number in zip(ids, lengths, numbers, strict=True)
    }


@given(rows=ROWS)
def test_padded_rows_are_the_rows_then_zeros(rows):
    sequences = Sequences(rows)
    assert sequences.lengths.tolist() == [len(row) for row in rows]
    assert [sequences[k].tolist() for k in range(len(sequences))] == rows
    chosen = np.arange(len(rows))[::-1]
    ids, lengths = sequences.padded(chosen)
    assert ids.shape == (len(rows), max(map(len, rows)))
    for k, row in enumerate(rows[::-1]):
        assert ids[k, : lengths[k]].tolist() == row
        assert not ids[k, lengths[k] :].any()


@given(rows=ROWS, batch=st.integers(1, 7), seed=st.integers(0, 3))
def test_an_epoch_has_every_row_once_and_so_has_an_evaluation(rows, batch, seed):
    batches = Minibatches((Sequences(rows), np.arange(len(rows))), batch, seed)
    expected = dict(enumerate(rows))
    count = -(-len(rows) // batch)
    for _ in range(2):
        epoch = [batches.next() for _ in range(count)]
        assert sum(len(b[0]) for b in epoch) == len(rows)
        assert seen(epoch) == expected
    before = batches.position
    assert seen(batches.once()) == expected
    assert batches.position == before
    other = Minibatches((Sequences(rows), np.arange(len(rows))), batch, seed)
    other.position = before - 1  # in the second epoch
    other.next()
    for _ in range(count + 1):
        for a, b in zip(batches.next(), other.next(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_batches_hold_rows_of_about_one_length_in_an_order_that_changes():
    rng = np.random.default_rng(0)
    rows = [[1] * n for n in rng.integers(1, 50, 1000)]
    batches = Minibatches((Sequences(rows), np.arange(1000)), 20, seed=0)
    epochs = [[batches.next() for _ in range(50)] for _ in range(2)]
    for epoch in epochs:
        padding = sum(ids.size - lengths.sum() for ids, lengths, _ in epoch)
        assert padding < 0.05 * sum(map(len, rows))
        widths = [ids.shape[1] for ids, _, _ in epoch]
        assert widths != sorted(widths)
    assert not np.array_equal(*[np.concatenate([b[2] for b in epoch]) for epoch in epochs])


def test_batches_of_much_longer_sources_are_sorted_by_the_sources():
    rng = np.random.default_rng(0)
    sources = Sequences(np.ones(n, int) for n in rng.integers(1, 100, 400))
    targets = Sequences(np.ones(n, int) for n in rng.integers(1, 10, 400))

    def padding(columns):
        batches = list(Minibatches(columns, 8, 0).once())
        return sum(b[0].size - b[1].sum() for b in batches) / sum(b[1].sum() for b in batches)

    assert padding((sources, targets)) < 0.1


LIMITS = st.one_of(st.just(math.inf), st.integers(1, 40))


@given(
    st.lists(st.integers(0, 20), max_size=30).map(np.array),
    st.sampled_from([1, -1]),
    LIMITS,
    LIMITS,
    st.one_of(st.just(math.inf), st.integers(0, 40)),
)
def test_batches_are_as_large_as_the_limits_allow(lengths, direction, rows, tokens, padding):
    order = np.argsort(direction * lengths, kind="stable").astype(int)
    limits = {"rows": rows, "tokens": tokens, "padding": padding}
    batches = [batch.tolist() for batch in batches_in_order(order, lengths, **limits)]
    assert [row for batch in batches for row in batch] == order.tolist()

    def fits(batch):
        size = max(lengths[batch]) * len(batch)
        within = size <= tokens and size - sum(lengths[batch]) <= padding
        return len(batch) == 1 or (len(batch) <= rows and within)

    assert all(map(fits, batches))
    for batch, following in pairwise(batches):
        assert not fits([*batch, following[0]])
