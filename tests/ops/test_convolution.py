"""Convolutions: values by hand, and what a window reaches.  There is no Cython twin."""

import numpy as np
import pytest

from minillm import ops


def test_values_by_hand():
    x = np.array([[[1.0], [2.0], [4.0], [9.0]]])  # the 9 is padding
    W, b = np.array([[[1.0]], [[10.0]], [[100.0]]]), np.array([0.5])
    y, backward = ops.convolution(x, W, b, np.array([3]))
    np.testing.assert_array_equal(y[0, :, 0], [210.5, 421.5, 42.5, 0.0])
    dx, dW, db = backward(np.array([[[1.0], [2.0], [4.0], [8.0]]]))
    np.testing.assert_array_equal(dx[0, :, 0], [10 + 2, 100 + 20 + 4, 200 + 40, 0])
    np.testing.assert_array_equal(dW[:, 0, 0], [2 + 8, 1 + 4 + 16, 2 + 8])
    np.testing.assert_array_equal(db, [7.0])


@pytest.mark.parametrize("K", [1, 2, 3, 4])
def test_a_window_reaches_so_many_steps_and_no_further(K):
    rng = np.random.default_rng(0)
    x, W, b = (rng.standard_normal(shape) for shape in ((1, 9, 2), (K, 2, 3), 3))
    before, _ = ops.convolution(x, W, b)
    x[0, 4] += 1
    changed = np.flatnonzero(np.any(ops.convolution(x, W, b)[0] != before, axis=(0, 2)))
    c = (K - 1) // 2
    assert changed.tolist() == list(range(4 - (K - 1 - c), 4 + c + 1))


def test_a_row_is_the_same_alone_and_with_padding():
    rng = np.random.default_rng(1)
    x, W, b = (rng.standard_normal(shape) for shape in ((3, 6, 2), (3, 2, 4), 4))
    lengths = np.array([6, 1, 3])
    y, _ = ops.convolution(x, W, b, lengths)
    for row, length in enumerate(lengths):
        alone, _ = ops.convolution(x[row : row + 1, :length], W, b)
        np.testing.assert_allclose(y[row, :length], alone[0], rtol=1e-12)
        assert not y[row, length:].any()


def test_the_dtype_stays():
    x, W, b = np.ones((2, 3, 4), np.float32), np.ones((2, 4, 5), np.float32), np.ones(5, np.float32)
    y, backward = ops.convolution(x, W, b)
    assert {a.dtype for a in (y, *backward(y))} == {np.dtype(np.float32)}
