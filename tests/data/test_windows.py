import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.data import Windows, windows_once
from minillm.errors import InputError


@given(st.integers(2, 60), st.integers(1, 9), st.integers(1, 20), st.integers(1, 12))
def test_each_stream_reads_on_round_the_ring(n, batch, window, count):
    window = min(window, n - 1)
    ids = np.arange(n, dtype=np.int32)
    windows = Windows(ids, batch, window)
    streams = [windows.next() for _ in range(count)]
    inputs = np.concatenate([x for x, _ in streams], axis=1)
    targets = np.concatenate([y for _, y in streams], axis=1)
    starts = np.arange(batch)[:, None] * n // batch
    assert inputs.dtype == np.int64
    assert np.array_equal(inputs, (starts + np.arange(window * count)) % n)
    assert np.array_equal(targets, (inputs + 1) % n)


def test_the_position_is_all_the_state():
    ids = np.random.default_rng(0).integers(0, 9, 50)
    windows = Windows(ids, 3, 7)
    for _ in range(5):
        windows.next()
    again = Windows(ids, 3, 7, windows.position)
    for one, other in zip(windows.next(), again.next(), strict=True):
        assert np.array_equal(one, other)


def test_a_text_of_one_window_is_too_short():
    with pytest.raises(InputError, match="10 tokens: expected more than one window of 10"):
        Windows(np.zeros(10, int), 2, 10)
    Windows(np.zeros(11, int), 2, 10)


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


def test_one_token_predicts_nothing():
    with pytest.raises(InputError, match="1 tokens"):
        list(windows_once(np.zeros(1, int), 4, 8))
