"""The mixture: its step raises the likelihood, and no token is predicted from itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.models import mixture
from minillm.models.mixture import BLOCK, LENGTHS, MEMORY, START, Mixture, class_of
from minillm.testing.strategies import generators


def some_text(rng, K, T, C):
    """Probabilities (K, T) of tokens, and classes (T,)."""
    return rng.dirichlet(np.ones(3), (K, T))[:, :, 0], rng.integers(0, C, T)


@given(generators(), st.integers(1, 4), st.integers(1, 3))
def test_probabilities_sum_to_one(rng, K, C):
    T, V = 700, 5
    p, classes = rng.dirichlet(np.ones(V), (K, T)), rng.integers(0, C, T)
    mixed = Mixture(K, C).read(p[:, :, 0], classes)
    assert mixed.weights.sum(axis=0) == pytest.approx(np.ones(T))
    assert (mixed.weights > 0).all()
    # The weights do not depend on the token itself: they are the same for all V.
    every = (mixed.weights[:, :, None] * p).sum(axis=0)
    assert every.sum(axis=1) == pytest.approx(np.ones(T))
    assert every[:, 0] == pytest.approx(mixed.p)


@given(generators(), st.integers(0, 999))
def test_no_token_is_predicted_from_itself(rng, t):
    p, classes = some_text(rng, 3, 1000, 2)
    changed = p.copy()
    changed[:, t] = rng.random(3)
    before, after = Mixture(3, 2).read(p, classes), Mixture(3, 2).read(changed, classes)
    assert np.array_equal(before.p[:t], after.p[:t])
    assert np.array_equal(before.weights[:, : t + 1], after.weights[:, : t + 1])
    later = t + BLOCK
    assert later >= 1000 or not np.array_equal(before.weights[:, later:], after.weights[:, later:])


def test_the_weights_after_a_block_by_hand(monkeypatch):
    monkeypatch.setattr(mixture, "BLOCK", 2)
    p = np.array([[0.6, 0.2, 0.5], [0.2, 0.6, 0.0]])  # blocks of one token and of two
    model = Mixture(2)
    assert model.weights.tolist() == [[0.5, 0.5]]
    mixed = model.read(p)
    together = np.array([0.75 + 0.5, 0.25 + 0.5]) / 2  # the first responsibilities: 3/4 and 1/4
    second = (np.array([0.75, 0.25]) + START * together) / (1 + START)
    expected = np.array([[0.5, 0.5], second, second]).T
    assert mixed.weights == pytest.approx(expected)
    joint = mixed.weights * p
    assert mixed.p == pytest.approx(joint.sum(axis=0))
    assert model.sums[0] == pytest.approx((joint / mixed.p).sum(axis=1))


def test_each_class_learns_its_own_weights_and_forgets():
    rng = np.random.default_rng(0)
    T = 160 * BLOCK
    classes = rng.integers(0, 2, T)
    p = np.where(np.array([[0], [1]]) == classes, 0.9, 0.1)  # model k is right in class k
    p[:, T // 2 :] = p[::-1, T // 2 :]  # and then the other one
    mixed = Mixture(2, 2).read(p, classes)
    right = [mixed.p[part].mean() for part in (slice(T // 4, T // 2), slice(3 * T // 4, T))]
    assert min(right) > 0.85
    model = Mixture(2, 2)
    model.read(p, classes)
    assert model.sums.sum(axis=1) == pytest.approx([MEMORY, MEMORY])
    assert (-np.log(mixed.p)).mean() < 0.5 * (-np.log(Mixture(2).read(p).p)).mean()


def test_the_weights_start_where_the_last_text_left_them():
    p = np.where(np.arange(2)[:, None] == 0, 0.9, 0.1) * np.ones((2, BLOCK))
    model = Mixture(2)
    first, second = model.read(p), model.read(p)
    assert (first.weights[:, 0] == 0.5).all()
    assert (second.weights[0] > 0.8).all()


def test_a_token_that_no_model_expects_changes_no_weight():
    p = np.array([[0.5, 0.0], [0.5, 0.0]])
    model = Mixture(2)
    assert model.read(p).p.tolist() == [0.5, 0.0]
    assert np.isfinite(model.sums).all()
    assert model.weights.tolist() == [[0.5, 0.5]]


def test_classes_of_lengths():
    lengths = [0, 3, 4, 7, 8, 19, 20, 5000]
    assert class_of(np.array(lengths)).tolist() == [0, 0, 1, 1, 2, 3, 4, 4]
    assert len(LENGTHS) == 5
