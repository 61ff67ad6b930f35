"""Pools: rows and values by hand.  No pool has a Cython twin."""

import numpy as np
import pytest

from minillm import ops


@pytest.mark.parametrize("op", [ops.mean_pool, ops.max_pool])
def test_a_batch_equals_its_rows_and_an_empty_row_is_zero(op):
    rng = np.random.default_rng(0)
    x, lengths = rng.standard_normal((4, 5, 3)), np.array([5, 2, 0, 1])
    y, backward = op(x, lengths)
    assert not y[2].any()
    assert not backward(np.ones((4, 3)))[np.arange(5) >= lengths[:, None]].any()
    for row in (0, 1, 3):
        alone, _ = op(x[row : row + 1, : lengths[row]])
        np.testing.assert_allclose(alone[0], y[row], rtol=1e-12)


def test_values_by_hand():
    x = np.array([[[1.0, 8.0], [3.0, 2.0], [2.0, 9.0]]])
    np.testing.assert_array_equal(ops.mean_pool(x, np.array([2]))[0], [[2, 5]])
    y, backward = ops.max_pool(x, np.array([2]))
    np.testing.assert_array_equal(y, [[3, 8]])
    np.testing.assert_array_equal(backward(np.array([[5.0, 7.0]])), [[[0, 7], [5, 0], [0, 0]]])
