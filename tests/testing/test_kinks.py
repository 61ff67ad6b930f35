"""Kinks: refused, unless any gradient between the two slopes is asked for."""

import numpy as np
import pytest

from minillm.testing import GradientError, check_gradients

from .faulty import function, refusal, relu


def test_close_to_a_kink_and_on_it():
    assert refusal(relu, np.array([1e-3, -1e-3, 1.0])) == ""
    with pytest.raises(GradientError, match=r"lies on a kink .* move it away"):
        check_gradients(relu, np.array([0.0, 1.0]), rng=np.random.default_rng(3))
    message = refusal(lambda x: (relu(x)[0], lambda dy: dy), np.array([1.0, -1.0]))
    assert "wrong at [1]" in message
    assert "kink" not in message


KINKED = {  # functions of x with a kink, where it is, and the slopes on both sides
    "relu": (lambda x: np.maximum(x, 0), 0.0, (0, 1)),
    "absolute value": (np.abs, 0.0, (-1, 1)),
    "a curve on both sides": (lambda x: np.exp(np.abs(x)), 0.0, (-1, 1)),
    "two rising slopes": (lambda x: np.maximum(x, 3 * x), 0.0, (1, 3)),
    "close to a pole": (lambda x: np.abs(np.log(x / 1e-4)), 1e-4, (-1e4, 1e4)),
    "far away": (lambda x: np.maximum(x, 1e6), 1e6, (0, 1)),
}


@pytest.mark.parametrize("dy", [1, -1])
@pytest.mark.parametrize("name", KINKED)
def test_between_the_slopes_of_a_kink_every_gradient_passes(name, dy):
    f, x, (left, right) = KINKED[name]

    def check(slope, **options):
        op = function(lambda x: dy * f(x), lambda x: np.array([slope * dy]))
        return check_gradients(op, np.array([x]), rng=np.random.default_rng(0), **options)

    for slope in (left, left + (right - left) / 4, (left + right) / 2, right):
        assert check(slope, kinks="between") < 1e-6
    for slope in (right + (right - left) / 2, left - (right - left) / 100, right * (1 + 1e-5)):
        with pytest.raises(GradientError, match=r"lies on a kink .* expected a value between"):
            check(slope, kinks="between")
    with pytest.raises(GradientError, match=r'lies on a kink .* or pass kinks="between"'):
        check(left)
    with pytest.raises(GradientError, match="wrong"):
        check(float("nan"), kinks="between")


def identity(x):
    return np.maximum(x, 0) - np.maximum(-x, 0)


def test_between_accepts_nothing_where_both_sides_agree():
    on_and_off = np.array([0.0, 1.0])
    assert refusal(function(identity, np.ones_like), on_and_off, kinks="between") == ""
    for f, slope, x in (
        (identity, lambda x: (x != 0) * 1.0, on_and_off),  # relu'(0) = 0 in both terms
        (np.square, lambda x: 2.001 * x, np.array([0.5])),
        (lambda x: np.maximum(x, 0), lambda x: (x > 0) / 2, on_and_off),
        (np.sign, np.ones_like, np.zeros(1)),  # a jump
        (np.sqrt, np.ones_like, np.zeros(1)),  # without a slope on either side
    ):
        assert "wrong" in refusal(function(f, slope), x, kinks="between")


def test_a_tie_is_a_kink_of_both_arguments():
    def maximum(a, b):
        def backward(dy):
            return (a > b) * dy + (a == b) * dy / 4, (b > a) * dy + (a == b) * 3 * dy / 4

        return np.maximum(a, b), backward

    a, b = np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])
    assert refusal(maximum, a, b, kinks="between") == ""
    assert "kink" in refusal(maximum, a, b)


def test_options_of_kinks():
    """A step that is given measures kinks as well."""
    x, rng = np.array([0.0, 1.0]), np.random.default_rng(0)
    assert check_gradients(relu, x, rng=rng, kinks="between", step=1e-5) < 1e-6
    with pytest.raises(ValueError, match='expected "refuse" or "between", found 0'):
        check_gradients(relu, x, rng=rng, kinks=0)
