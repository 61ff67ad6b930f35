"""The parts of the Transformer's layers that no model's gradient check can tell apart."""

import numpy as np
import pytest

from minillm.layers.transformer import _side_by_side, join_heads


@pytest.mark.parametrize("parts_of_one", [False, True])
def test_gradients_side_by_side(parts_of_one):
    """The same numbers either way, and no copy of what lies side by side already."""
    whole = np.random.default_rng(0).normal(size=(2, 5, 3, 4, 6))  # (B, T, 3, N, D/N)
    parts = [whole[:, :, part].transpose(0, 2, 1, 3) for part in range(3)]
    if not parts_of_one:
        parts = [part.copy() for part in parts]
    joined = _side_by_side(*parts)
    np.testing.assert_array_equal(joined, np.concatenate([join_heads(x) for x in parts], axis=-1))
    assert np.shares_memory(joined, whole) == parts_of_one
