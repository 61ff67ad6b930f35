"""Gradients of whole models, along random directions."""

import numpy as np
import pytest

from minillm.testing import GradientError, check_projections

from .faulty import linear


def test_projections_of_a_model():
    rng = np.random.default_rng(6)
    params = {"W": rng.standard_normal((3, 2)), "b": rng.standard_normal(2)}
    x, dy = rng.standard_normal((4, 3)), rng.standard_normal((4, 2))

    def model(dropped=None, extra=None):
        def loss():
            y, backward_ops = linear(x, params["W"], params["b"])

            def backward():
                _dx, dW, db = backward_ops(2 * y * dy)
                gradients = {"W": dW, "b": db} | (extra or {})
                return {k: np.zeros_like(g) if k == dropped else g for k, g in gradients.items()}

            return float(np.sum(dy * y**2)), backward

        return loss

    before = {name: array.copy() for name, array in params.items()}
    assert check_projections(model(), params, rng=rng) < 1e-7
    for name in params:
        np.testing.assert_array_equal(params[name], before[name])  # put back to the bit
    with pytest.raises(GradientError, match="with respect to b is wrong along a random direction"):
        check_projections(model(dropped="b"), params, rng=rng)
    with pytest.raises(GradientError, match=r"keys differ from the parameters': \['c'\]"):
        check_projections(model(extra={"c": np.ones(1)}), params, rng=rng)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interrupted_check_puts_the_parameters_back(error):
    params = {"w": np.array([1.0, 2.0])}
    calls = 0

    def loss():
        nonlocal calls
        calls += 1
        if calls == 3:
            raise error
        return float(np.sum(params["w"] ** 2)), lambda: {"w": 2 * params["w"]}

    with pytest.raises(error):
        check_projections(loss, params, rng=np.random.default_rng(11))
    assert params["w"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("scale", [1e-5, 1.0, 1e4])
def test_projections_at_any_scale(scale):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        params = {"w": scale * (0.1 + rng.random(5)), "zero": np.zeros(3)}

        def loss(params=params, factor=1.0):
            y = np.log(params["w"]).sum() + np.sin(params["zero"]).sum()
            return y, lambda: {"w": factor / params["w"], "zero": np.cos(params["zero"])}

        check_projections(loss, params, rng=rng)
        with pytest.raises(GradientError, match="respect to w is wrong"):
            check_projections(lambda loss=loss: loss(factor=1.01), params, rng=rng)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda w: (w.sum(), lambda: [np.ones(3)]), "expected a dictionary of gradients, found"),
        (lambda w: (w.sum(), lambda: {"w": None}), "with respect to w is no array: NoneType"),
        (lambda w: (w.sum(), lambda: {"w": 1 / 0}), "the backward raised ZeroDivisionError"),
        (
            lambda w: (w.sum() * np.random.default_rng().random(), lambda: {"w": w}),
            "a second call gave another loss",
        ),
        (lambda w: (np.nan, dict), "the loss is nan"),
        (
            lambda w: (np.tanh(w).sum() + 1e13, lambda: {"w": 1 - np.tanh(w) ** 2}),
            "respect to w cannot be decided along a random direction",  # mostly a constant
        ),
    ],
)
def test_what_cannot_be_checked_is_told_in_words(loss, message):
    params = {"w": np.arange(1.0, 4)}
    with pytest.raises(GradientError, match=message):
        check_projections(lambda: loss(params["w"]), params, rng=np.random.default_rng(0))


def test_a_constant_loss_has_no_gradient():
    params, rng = {"w": np.ones(3)}, np.random.default_rng(0)
    assert check_projections(lambda: (0.0, lambda: {"w": np.zeros(3)}), params, rng=rng) == 0


# --- the probability that random directions miss --------------------------------------------


@pytest.mark.parametrize("miss", [0.0, 1.0, -1e-6, np.nan])
def test_a_probability_that_no_directions_reach_is_refused(miss):
    with pytest.raises(ValueError, match="miss: expected a probability above 0 and below 1, found"):
        check_projections(lambda: (0.0, dict), {}, rng=np.random.default_rng(8), miss=miss)


@pytest.mark.parametrize("n", [2, 50])
def test_a_wrong_coordinate_is_missed_as_seldom_as_asked_for(n):
    miss, tolerance, missed, seeds = 0.3, 0.3 / n**0.5, 0, 400
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        params, g = {"w": rng.standard_normal(n)}, rng.standard_normal(n)
        wrong = g.copy()
        wrong[rng.integers(n)] += np.sqrt(np.mean(g**2))
        try:
            check_projections(
                lambda: (float(g @ params["w"]), lambda: {"w": wrong}),
                params,
                rng=rng,
                miss=miss,
                tolerance=tolerance,
            )
        except GradientError:
            continue
        missed += 1
    assert 0 < missed < miss * seeds


def test_directions_follow_until_the_probability_is_reached():
    def calls(miss):
        count, params = 0, {"w": np.linspace(1, 2, 1000)}

        def loss():
            nonlocal count
            count += 1
            return np.sum(params["w"] ** 2), lambda: {"w": 2 * params["w"]}

        check_projections(loss, params, rng=np.random.default_rng(0), miss=miss)
        return (count - 2) / 4  # calls beside the first two, four in each direction

    assert [calls(miss) for miss in (1e-2, 1e-6, 1e-9, 1e-12)] == [1, 2, 2, 3]
