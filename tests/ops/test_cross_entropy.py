"""Masked places and class weights; label smoothing, PyTorch's vectors test."""

import numpy as np
import pytest

from minillm import ops, use_kernels


def test_cross_entropy_of_a_sure_prediction_and_of_a_uniform_one(kernels):
    logits = np.array([[1000.0, 0.0, 0.0]])
    with use_kernels(kernels):
        assert ops.cross_entropy(logits, np.array([0]))[0] == 0
        assert ops.cross_entropy(logits, np.array([1]))[0] == 1000
        assert ops.cross_entropy(np.zeros((2, 8)), np.array([3, 5]))[0] == pytest.approx(np.log(8))


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_masked_place_is_never_looked_at(kernels, poison, smoothing):
    rng = np.random.default_rng(0)
    logits, targets = rng.standard_normal((3, 4, 5)), rng.integers(0, 5, (3, 4))
    mask = rng.random((3, 4)) < 0.6
    dirty = np.where(mask[..., None], logits, poison)
    with use_kernels(kernels):
        loss, backward = ops.cross_entropy(logits, targets, mask, smoothing)
        dirty_loss, dirty_backward = ops.cross_entropy(dirty, targets, mask, smoothing)
        dlogits, dirty_dlogits = backward(), dirty_backward()
        alone, alone_backward = ops.cross_entropy(
            logits[mask], targets[mask], label_smoothing=smoothing
        )
        dalone = alone_backward()
    assert dirty_loss == loss == alone
    np.testing.assert_array_equal(dirty_dlogits, dlogits)
    np.testing.assert_array_equal(dlogits[mask], dalone)
    assert not dlogits[~mask].any()


def test_a_class_weight_counts_a_place_as_often(kernels):
    rng = np.random.default_rng(3)
    logits, targets = rng.standard_normal((4, 3)), np.array([0, 2, 2, 1])
    weights = np.array([1.0, 3.0, 2.0])
    repeated = [0, 1, 1, 2, 2, 3, 3, 3]
    with use_kernels(kernels):
        loss, backward = ops.cross_entropy(logits, targets, class_weights=weights)
        dlogits = backward()
        plain, plain_backward = ops.cross_entropy(logits[repeated], targets[repeated])
        dplain = plain_backward()
    assert loss == pytest.approx(plain * 8 / 4)
    expected = np.zeros_like(logits)
    np.add.at(expected, repeated, dplain * 8 / 4)
    np.testing.assert_allclose(dlogits, expected, atol=1e-12)
