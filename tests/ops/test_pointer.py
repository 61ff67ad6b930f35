"""Copying, its mixture with a vocabulary, and coverage, against their definitions."""

from itertools import product

import numpy as np
import pytest

from minillm import ops
from minillm.testing import strategies

SIZES = strategies.sizes(B=(1, 4), T=(1, 5), S=(1, 6), V=(1, 5))
pytestmark = pytest.mark.usefixtures("both_twins")


def softmax(x):
    return np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)


def test_a_word_is_copied_from_each_of_its_positions():
    weights = np.array([[[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1]]])
    source, targets = np.array([[5, 2, 5, 9]]), np.array([[5, 3]])
    m, backward = ops.copied_probability(weights, source, targets)
    np.testing.assert_allclose(m, [[0.4, 0]])
    dweights = backward(np.array([[2.0, 3.0]]))
    np.testing.assert_array_equal(dweights, [[[2, 0, 2, 0], [0, 0, 0, 0]]])


def test_a_weight_that_is_not_copied_may_be_nan():
    weights = np.array([[[0.25, np.nan, np.inf]]])
    m, backward = ops.copied_probability(weights, np.array([[7, 2, 3]]), np.array([[7]]))
    assert m[0, 0] == 0.25
    np.testing.assert_array_equal(backward(np.array([[np.nan]])), [[[np.nan, 0, 0]]])


def test_padding_of_the_source_is_not_copied():
    """Its ids are ids of real words, but its weights are 0."""
    q, keys = np.ones((1, 1, 2)), np.random.default_rng(0).standard_normal((1, 4, 2))
    (_, weights), attend_backward = ops.multiplicative_attention(q, keys, keys, None, np.array([2]))
    m, backward = ops.copied_probability(weights, np.array([[1, 0, 0, 0]]), np.array([[0]]))
    assert m[0, 0] == weights[0, 0, 1] < 1
    _, dkeys, dvalues = attend_backward(None, backward(np.ones((1, 1))))
    assert not dkeys[:, 2:].any()
    assert not dvalues.any()


def only(gate, m=0.3, target=1, logits=(0.5, 1.0, -2.0), dtype=np.float64):
    """The loss of one target and its gradients."""
    loss, backward = ops.pointer_cross_entropy(
        np.array([logits], dtype), np.array([gate], dtype), np.array([m], dtype), np.array([target])
    )
    dlogits, dgates, dm = backward()
    assert loss.dtype == dlogits.dtype == dgates.dtype == dm.dtype == dtype
    return loss, dlogits[0], dgates[0], dm[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gates_far_out(dtype):
    """The gate determines its loss, although exp(-100) is 0 in float32."""
    expected, backward = ops.cross_entropy(np.array([[0.5, 1.0, -2.0]], dtype), np.array([1]))
    written, copied = backward()[0], -np.log(0.3)
    for gate, m, target, loss, dlogits, dgate, dm in (
        (100.0, 0.3, 1, expected, written, 0, 0),  # open: the cross-entropy alone
        (-100.0, 0.3, 1, copied, 0, 0, -1 / 0.3),  # closed: it copies
        (-60.0, 0.0, 1, 60 + expected, written, -1, None),  # what cannot be copied opens it
        (60.0, 0.3, 3, 60 + copied, 0, 1, -1 / 0.3),  # what can only be copied closes it
    ):
        ours = only(gate, m, target, dtype=dtype)
        assert ours[0] == pytest.approx(loss, rel=1e-6)
        np.testing.assert_allclose(ours[1], dlogits, rtol=1e-4, atol=1e-40)
        assert ours[2] == pytest.approx(dgate, rel=1e-4, abs=1e-7)
        assert dm is None or ours[3] == pytest.approx(dm, rel=1e-6, abs=1e-40)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("gate", [-100.0, 0.0, 100.0])
def test_a_word_without_any_probability_has_a_finite_loss_and_no_gradient(gate, dtype):
    loss, dlogits, dgate, dm = only(gate, m=0.0, target=7, dtype=dtype)
    assert loss == pytest.approx(-np.log(np.finfo(dtype).tiny), rel=1e-6)
    assert not dlogits.any()
    assert dgate == dm == 0


def test_a_word_without_any_probability_counts_in_the_mean_alone():
    rng = np.random.default_rng(0)
    logits, gates, m = rng.standard_normal((3, 4)), rng.standard_normal(3), np.array([0.2, 0, 0.5])
    loss, backward = ops.pointer_cross_entropy(logits, gates, m, np.array([1, 9, 4]))
    others = [0, 2]
    alone, alone_backward = ops.pointer_cross_entropy(
        logits[others], gates[others], m[others], np.array([1, 4])
    )
    assert 3 * loss == pytest.approx(2 * alone - np.log(np.finfo(float).tiny))
    for one, other in zip(backward(3.0), alone_backward(2.0), strict=True):
        np.testing.assert_allclose(one[others], other)
        assert not one[1].any()


def test_extremes_of_float32_are_finite():
    """Without a warning, which would be an error here."""
    gates, copied, targets = (-1e4, -100.0, 0.0, 100.0, 1e4), (0.0, 1e-45, 1e-30, 1.0), range(4)
    for gate, m, target, top in product(gates, copied, targets, (0.0, 100.0, 1e4)):
        loss, *gradients = only(gate, m, target, (top, 0.0, -top), np.float32)
        assert 0 <= loss <= -np.log(np.finfo(np.float32).tiny)
        assert all(np.isfinite(gradient).all() for gradient in gradients)


# --- coverage -----------------------------------------------------------------------------


def test_coverage_of_new_words_of_the_same_word_and_by_hand():
    new = np.eye(3)[None]  # each step attends to a word of its own
    assert ops.coverage(new)[0] == 0
    same = np.tile([[[1.0, 0, 0]]], (1, 3, 1))
    assert ops.coverage(same)[0] == pytest.approx(2 / 3)
    loss, backward = ops.coverage(np.array([[[0.6, 0.4, 0.0], [0.1, 0.2, 0.7]]]))
    assert loss == pytest.approx((0.1 + 0.2 + 0.0) / 2)
    np.testing.assert_array_equal(backward(2.0), [[[0, 0, 1], [1, 1, 0]]])
    np.testing.assert_array_equal(2 * backward(), backward(2.0))


def test_the_coverage_of_a_batch_counts_its_steps():
    weights = softmax(np.random.default_rng(0).standard_normal((2, 4, 3)))
    _, backward = ops.coverage(weights, np.array([4, 2]))
    _, alone = ops.coverage(weights[1:, :2])
    np.testing.assert_allclose(6 * backward()[1:, :2], 2 * alone())
