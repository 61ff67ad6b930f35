"""The gated delta rule: what it stores."""

import numpy as np
import pytest

from minillm import ops

pytestmark = pytest.mark.usefixtures("both_twins")


def test_a_key_that_comes_again_is_answered_with_its_new_value():
    """With keys of length 1, alpha = beta = 1: S^T k is the last value that was written to k."""
    k = np.array([[1.0, 0.0], [0.6, 0.8], [1.0, 0.0]])
    v = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    ones = np.ones((1, 1, 3))
    (o, _), _ = ops.gated_delta_rule(
        k[None, None], k[None, None], v[None, None], ones, ones, np.zeros((1, 1, 2, 2))
    )
    np.testing.assert_allclose(o[0, 0], v, rtol=1e-12)
