"""Copying, its mixture with a vocabulary, and coverage, against their definitions."""

import numpy as np
import pytest
from hypothesis import given

from minillm import ops
from minillm.testing import strategies

SIZES = strategies.sizes(B=(1, 4), T=(1, 5), S=(1, 6), V=(1, 5))
pytestmark = pytest.mark.usefixtures("both_twins")


def softmax(x):
    return np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)


def mixture(weights, source, logits, gates, width):
    """P of each word, in probability space: the definition, word by word."""
    P = np.zeros((*gates.shape, width))
    for b, t in np.ndindex(gates.shape):
        g = 1 / (1 + np.exp(-gates[b, t]))
        for word, p in enumerate(softmax(logits[b, t])):
            P[b, t, word] += g * p
        for j, word in enumerate(source[b]):
            P[b, t, word] += (1 - g) * weights[b, t, j]
    return P


@given(sizes=SIZES, rng=strategies.generators())
def test_the_loss_and_its_gradients_are_those_of_the_mixture(sizes, rng):
    """The gradients with respect to logits, gates and weights, by differences of the definition."""
    B, T, S, V = sizes.values()
    width = V + 2
    weights = softmax(rng.standard_normal((B, T, S)))
    source, targets = rng.integers(0, width, (B, S)), rng.integers(0, width, (B, T))
    targets[targets >= V] = source[:, :1].repeat(T, axis=1)[targets >= V]  # none is impossible
    logits, gates = rng.standard_normal((B, T, V)), rng.standard_normal((B, T))

    def by_definition():
        P = mixture(weights, source, logits, gates, width)
        return -np.log(np.take_along_axis(P, targets[..., None], axis=-1)).mean()

    m, copied_backward = ops.copied_probability(weights, source, targets)
    loss, backward = ops.pointer_cross_entropy(logits, gates, m, targets)
    assert loss == pytest.approx(by_definition(), rel=1e-12)
    dlogits, dgates, dm = backward()
    h = 1e-6
    for array, gradient in (
        (logits, dlogits),
        (gates, dgates),
        (weights, copied_backward(dm)),
    ):
        at = tuple(rng.integers(0, n) for n in array.shape)
        kept, losses = array[at], []
        for step in (h, -h):
            array[at] = kept + step
            losses.append(by_definition())
        array[at] = kept
        assert gradient[at] == pytest.approx((losses[0] - losses[1]) / (2 * h), abs=1e-7)


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
def test_an_open_gate_is_the_cross_entropy_alone(dtype):
    loss, dlogits, dgate, dm = only(100.0, dtype=dtype)
    expected, backward = ops.cross_entropy(np.array([[0.5, 1.0, -2.0]], dtype), np.array([1]))
    assert loss == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(dlogits, backward()[0], rtol=1e-6)
    assert abs(dgate) < 1e-40 or dtype == np.float32
    assert abs(dgate) < 1e-7
    assert abs(dm) < 1e-40


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_closed_gate_copies(dtype):
    loss, dlogits, dgate, dm = only(-100.0, dtype=dtype)
    assert loss == pytest.approx(-np.log(0.3), rel=1e-6)
    assert np.abs(dlogits).max() < 1e-40
    assert abs(dgate) < 1e-40
    assert dm == pytest.approx(-1 / 0.3, rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_closed_gate_before_a_word_that_cannot_be_copied_is_opened(dtype):
    """The gate determines its loss, although exp(-100) is 0 in float32."""
    loss, dlogits, dgate, _ = only(-60.0, m=0.0, dtype=dtype)
    expected, backward = ops.cross_entropy(np.array([[0.5, 1.0, -2.0]], dtype), np.array([1]))
    assert loss == pytest.approx(60 + expected, rel=1e-6)
    np.testing.assert_allclose(dlogits, backward()[0], rtol=1e-4)
    assert dgate == pytest.approx(-1, rel=1e-4)


def test_an_open_gate_before_a_word_that_can_only_be_copied_is_closed():
    loss, dlogits, dgate, dm = only(60.0, target=3, dtype=np.float64)
    assert loss == pytest.approx(60 - np.log(0.3))
    assert not dlogits.any()
    assert dgate == pytest.approx(1)
    assert dm == pytest.approx(-1 / 0.3)


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


@pytest.mark.parametrize("gate", [-1e4, -100.0, 0.0, 100.0, 1e4])
@pytest.mark.parametrize("m", [0.0, 1e-45, 1e-30, 1.0])
@pytest.mark.parametrize("target", [0, 1, 2, 3])
@pytest.mark.parametrize("largest", [0.0, 100.0, 1e4])
def test_extremes_of_float32_are_finite(gate, m, target, largest):
    """Without a warning, which would be an error here."""
    loss, *gradients = only(gate, m, target, (largest, 0.0, -largest), np.float32)
    assert 0 <= loss <= -np.log(np.finfo(np.float32).tiny)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


# --- coverage ------------------------------------------------------------------------


@given(sizes=SIZES, rng=strategies.generators())
def test_coverage_is_its_double_loop(sizes, rng):
    B, T, S, _ = sizes.values()
    weights, lengths = softmax(2 * rng.standard_normal((B, T, S))), rng.integers(0, T + 1, B)
    lengths[0] = T
    expected = 0.0
    for b in range(B):
        covered = np.zeros(S)
        for t in range(lengths[b]):
            expected += np.minimum(weights[b, t], covered).sum()
            covered += weights[b, t]
    loss, _ = ops.coverage(weights, lengths)
    assert loss == pytest.approx(expected / lengths.sum(), abs=1e-14)
    whole, _ = ops.coverage(weights)
    again, _ = ops.coverage(weights, np.full(B, T))
    assert whole == again


def test_coverage_of_new_words_of_the_same_word_and_by_hand():
    new = np.eye(3)[None]  # each step attends to a word of its own
    assert ops.coverage(new)[0] == 0
    same = np.tile([[[1.0, 0, 0]]], (1, 3, 1))
    assert ops.coverage(same)[0] == pytest.approx(2 / 3)
    loss, backward = ops.coverage(np.array([[[0.6, 0.4, 0.0], [0.1, 0.2, 0.7]]]))
    assert loss == pytest.approx((0.1 + 0.2 + 0.0) / 2)
    np.testing.assert_array_equal(backward(2.0), [[[0, 0, 1], [1, 1, 0]]])


@pytest.mark.parametrize("poison", [np.nan, np.inf, 5.0])
def test_steps_of_padding_have_no_coverage(poison):
    weights = softmax(np.random.default_rng(0).standard_normal((2, 4, 3)))
    weights[..., 2] = 0  # as where the source is padded
    lengths = np.array([4, 2])
    dirty = weights.copy()
    dirty[1, 2:] = poison
    loss, backward = ops.coverage(weights, lengths)
    dirty_loss, dirty_backward = ops.coverage(dirty, lengths)
    assert dirty_loss == loss
    np.testing.assert_array_equal(dirty_backward(), backward())
    assert not backward()[1, 2:].any()
    _, alone = ops.coverage(weights[1:, :2])
    np.testing.assert_allclose(6 * backward()[1:, :2], 2 * alone())
