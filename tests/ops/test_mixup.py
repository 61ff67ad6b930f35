"""Mixtures: values by hand, and texts of unequal length.  There is no Cython twin."""

import numpy as np

from minillm import ops


def test_values_by_hand():
    x = np.array([[[1.0], [9.0]], [[2.0], [4.0]], [[3.0], [5.0]]])  # the 9 is padding
    y, backward = ops.mixup(x, np.array([1, 1, 0]), 0.75, np.array([1, 2, 2]))
    np.testing.assert_array_equal(y[:, :, 0], [[1.25, 1.0], [2.0, 4.0], [2.5, 3.75]])
    dx = backward(np.array([[[1.0], [2.0]], [[3.0], [4.0]], [[5.0], [6.0]]]))
    # row 0: 0.75 of its own, 0.25 of row 2's; row 1: all of its own, 0.25 of row 0's
    np.testing.assert_array_equal(dx[:, :, 0], [[2.0, 0.0], [3.25, 4.5], [3.75, 4.5]])


def test_one_half_of_a_pair_is_the_same_for_both_and_all_of_it_is_the_row():
    x = np.random.default_rng(0).standard_normal((2, 3, 4))
    swapped = np.array([1, 0])
    half, _ = ops.mixup(x, swapped, 0.5)
    np.testing.assert_array_equal(half[0], half[1])
    np.testing.assert_array_equal(ops.mixup(x, swapped, 1.0)[0], x)
    np.testing.assert_array_equal(ops.mixup(x, swapped, 0.0)[0], x[::-1])


def test_the_dtype_stays():
    x = np.ones((2, 3, 4), np.float32)
    y, backward = ops.mixup(x, np.array([1, 0]), 0.3)
    assert y.dtype == backward(y).dtype == np.float32
