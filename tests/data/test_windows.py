import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.data import RandomWindows, Windows, overlapping_windows, windows_once
from minillm.errors import InputError


@given(st.integers(2, 60), st.integers(1, 9), st.integers(1, 20), st.integers(1, 12))
def test_each_stream_reads_on_round_the_ring(n, batch, window, count):
    window = min(window, n - 1)
    ids = np.arange(n, dtype=np.int32)
    windows = Windows(ids, batch, window)
    streams = []
    for _ in range(count):
        windows = Windows(ids, batch, window, windows.position)  # which is all of its state
        streams.append(windows.next())
    inputs = np.concatenate([x for x, _ in streams], axis=1)
    targets = np.concatenate([y for _, y in streams], axis=1)
    starts = np.arange(batch)[:, None] * n // batch
    assert inputs.dtype == np.int64
    assert np.array_equal(inputs, (starts + np.arange(window * count)) % n)
    assert np.array_equal(targets, (inputs + 1) % n)


@pytest.mark.parametrize("kind", [Windows, RandomWindows])
def test_a_text_of_one_window_is_too_short(kind):
    with pytest.raises(InputError, match="more than one window of 10 tokens, found 10"):
        kind(np.zeros(10, int), 2, 10)
    kind(np.zeros(11, int), 2, 10).next()


@given(st.integers(2, 400), st.integers(1, 9), st.integers(1, 12))
def test_reading_once_covers_the_text(n, batch, window):
    ids = np.arange(n)
    inputs, targets = [], []
    for x, y in windows_once(ids, batch, window):
        assert x.shape == y.shape
        assert x.shape[0] <= batch
        assert x.shape[1] <= window
        inputs.append(x)
        targets.append(y)
    inputs = np.concatenate(inputs, axis=1)
    targets = np.concatenate(targets, axis=1)
    assert np.array_equal(targets, inputs + 1)
    assert np.array_equal(inputs.ravel(), np.arange(inputs.size))
    assert n - 1 - inputs.size < len(inputs)


@pytest.mark.parametrize("once", [windows_once, overlapping_windows])
def test_one_token_predicts_nothing(once):
    with pytest.raises(InputError, match="found 1"):
        list(once(np.zeros(1, int), 4, 8))


@given(st.integers(2, 60), st.integers(1, 9), st.integers(1, 20), st.integers(0, 2**63))
def test_random_windows_are_pieces_of_the_text(n, batch, window, seed):
    window = min(window, n - 1)
    ids = np.arange(100, 100 + n)
    windows = RandomWindows(ids, batch, window, seed)
    for position in range(5):
        inputs, targets = windows.next()
        again = RandomWindows(ids, batch, window, seed, position)  # which is all of its state
        assert np.array_equal(again.next()[0], inputs)
        assert inputs.dtype == np.int64
        assert inputs.shape == targets.shape == (batch, window)
        assert np.array_equal(targets, inputs + 1)
        assert np.array_equal(inputs - inputs[:, :1], np.tile(np.arange(window), (batch, 1)))
        assert inputs.min() >= 100
        assert targets.max() < 100 + n


def test_random_windows_reach_every_place_equally_often():
    windows = RandomWindows(np.arange(9), 500, 3)
    starts = np.concatenate([windows.next()[0][:, 0] for _ in range(20)])
    other = RandomWindows(np.arange(9), 500, 3, seed=1).next()[0][:, 0]
    assert not np.array_equal(other, starts[:500])
    assert not np.array_equal(starts[500:1000], starts[:500])
    counts = np.bincount(starts, minlength=9)
    assert not counts[6:].any()
    assert (abs(counts[:6] / len(starts) - 1 / 6) < 0.02).all()


@given(st.integers(2, 200), st.integers(1, 5), st.integers(2, 13))
def test_overlapping_windows_count_each_token_once_after_half_a_window(n, batch, window):
    ids, seen = np.arange(n), []
    for inputs, targets, mask in overlapping_windows(ids, batch, window):
        assert inputs.shape == targets.shape == mask.shape
        assert inputs.shape[0] <= batch
        assert inputs.shape[1] <= window
        assert mask.any(axis=1).all()
        for row, column in np.argwhere(mask):
            token = targets[row, column]
            context = inputs[row, : column + 1]
            assert np.array_equal(context, np.arange(token - len(context), token))
            assert context[0] == 0 or len(context) > window // 2
            seen.append(token)
    assert seen == list(range(1, n))
