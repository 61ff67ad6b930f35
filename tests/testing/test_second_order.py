"""Second derivatives: the symmetry of a backward's own derivative, Hessian-vector products."""

import numpy as np
import pytest
from hypothesis import given

from benchmarks.bugs import arguments, bugs, by_hand, right_op
from benchmarks.bugs.right import RIGHT
from minillm import use_kernels
from minillm.ops.gradient_cases import CASES
from minillm.testing import GradientError, check_hvp, check_symmetry
from minillm.testing.strategies import generators, sizes

from .faulty import function, linear, linear_arguments, refusal, softmax, spoiled


@pytest.mark.deep
@pytest.mark.parametrize("name", CASES)
def test_the_derivatives_of_our_backwards_are_symmetric(name):
    rng = np.random.default_rng(0)
    op, args = CASES[name](rng)
    with use_kernels("numpy"):
        assert check_symmetry(op, *args, rng=rng) < 1e-6


def scores(rng):
    return (rng.standard_normal((3, 3)),)


def square(rng):
    return linear_arguments(rng, 3, 3, 3)


def first_entry(gradients, args, upstream):
    gradients[0].flat[0] *= 1 + 1e-4
    return gradients


CHANGES = {  # and whether they spoil the symmetry; more that do are in the frozen set
    "one coordinate by 1e-4": (softmax, first_entry, scores, True),
    "a factor of all gradients": (linear, lambda g, *_: [2 * part for part in g], square, False),
    "a term that does not change": (linear, lambda g, *_: (g[0] + 1, *g[1:]), square, False),
    "any error of an activation": (
        function(np.tanh, np.ones_like),
        lambda g, args, dy: (dy[0] * np.cos(args[0]),),
        scores,
        False,
    ),
    "zeros": (linear, lambda g, *_: [0 * part for part in g], square, False),
}


@pytest.mark.parametrize("name", CHANGES)
def test_an_error_that_spoils_the_symmetry_is_found_and_no_other(name):
    op, change, draw, found = CHANGES[name]
    for seed in range(4):
        args = draw(np.random.default_rng(seed))
        message = refusal(spoiled(op, change), *args, seed=seed, check=check_symmetry)
        assert ("second derivatives with respect to" in message) == found
        assert found or message == ""


def test_the_forward_is_not_measured():
    def of_zeros(*args):
        return np.zeros((3, 3)), linear(*args)[1]

    assert refusal(of_zeros, *square(np.random.default_rng(0)), check=check_symmetry) == ""


# Without it, the gradients are those of a number that ignores the last cell.
UNSEEN = {"lstm": ["lstm, line 345: dc_last is forgotten"]}


@pytest.mark.parametrize("op", ["softmax", "layer_norm", "lstm", "scaled_attention"])
def test_wrong_backwards_of_the_frozen_set(op):
    """The bugs by hand that exchange or leave out a part of one gradient of several."""

    def message(function):
        return refusal(function, *arguments(op, 0), seed=1, check=check_symmetry)

    assert message(right_op(op)) == ""
    kinds = by_hand.ORDER, by_hand.TERM, by_hand.KEPT
    chosen = [bug for bug in bugs() if bug.op == op and bug.kind in kinds]
    assert len(chosen) > 0
    assert [str(bug) for bug in chosen if not message(bug.wrong_op())] == UNSEEN.get(op, [])


@pytest.mark.parametrize(
    ("what", "seeds"),
    [
        ("softmax of scores up to 100", range(40)),
        ("a sigmoid at 10 to 30", range(40)),
        ("a sum that is always 1", range(10)),
        ("layer norm, inputs of 1e-6", (49, 71, 79)),
    ],
)
def test_gradients_that_are_hard_to_measure_draw_no_false_alarm(what, seeds):
    for seed in seeds:
        op, args = RIGHT[what](np.random.default_rng(seed))
        assert refusal(op, *args, seed=(seed, 1), check=check_symmetry) == ""


def test_a_gradient_that_jumps_has_no_second_derivative():
    absolute = function(np.abs, np.sign)
    assert "no two steps agree" in refusal(absolute, np.zeros(1), check=check_symmetry)
    assert refusal(absolute, np.zeros(1), check=check_symmetry, kinks="between") == ""
    assert refusal(absolute, np.array([1e-4, -1e-4]), check=check_symmetry) == ""


@pytest.mark.parametrize(("factor", "expected"), [(2, ""), (3, "with respect to g and x are not")])
def test_coordinates_on_a_kink_stay_where_they_are(factor, expected):
    def op(x, g):
        return g**2 * np.abs(x), lambda dy: (dy * g**2 * np.sign(x), dy * factor * g * np.abs(x))

    x, g = np.random.default_rng(0).standard_normal((2, 3, 4))
    x[0, 1] = x[2, 2] = 0
    assert expected in refusal(op, x, g, check=check_symmetry, kinks="between")
    assert "kink" in refusal(op, x, g, check=check_symmetry)


# --- Hessian-vector products ----------------------------------------------------------------


def weighted_squares(x, g):
    """y = x^2 g"""
    return x**2 * g, lambda dy: (2 * x * g * dy, x**2 * dy)


def hvp(args, upstream, tangents, fault=0.0):
    (x, g), (dy,), (vx, vg) = args, upstream, tangents
    return 2 * g * dy * vx + (2 + fault) * x * dy * vg, 2 * x * dy * vx


@given(rng=generators(), shapes=sizes(B=(1, 3), I=(1, 4)))
def test_a_hessian_vector_product(rng, shapes):
    args = rng.standard_normal((2, *shapes.values()))
    assert check_hvp(weighted_squares, hvp, *args, rng=rng) < 1e-6
    with pytest.raises(GradientError, match="along g, the Hessian-vector product of x is"):
        check_hvp(weighted_squares, lambda *a: hvp(*a, fault=1e-4), *args, rng=rng)


def test_a_hessian_vector_product_gets_none_for_what_is_no_float_array():
    def rows(E, ids):
        def backward(dy):
            dE = np.zeros_like(E)
            np.add.at(dE, ids, 3 * E[ids] ** 2 * dy)
            return dE

        return E[ids] ** 3, backward

    def product(args, upstream, tangents):
        (E, ids), (dy,), (v, none) = args, upstream, tangents
        assert none is None
        H = np.zeros_like(E)
        np.add.at(H, ids, 6 * E[ids] * dy)
        return H * v

    rng = np.random.default_rng(0)
    E, ids = rng.standard_normal((4, 2)), np.array([1, 3, 1])
    assert check_hvp(rows, product, E, ids, rng=rng) < 1e-6
    with pytest.raises(GradientError, match=r"expected arrays of shapes \[\(4, 2\)\], found"):
        check_hvp(rows, lambda *_: np.zeros(3), E, ids, rng=rng)


def test_a_hessian_vector_product_leaves_what_it_is_given():
    def careless(args, upstream, tangents):
        products = hvp(args, upstream, tangents)
        args[0][...] = 0
        return products

    rng = np.random.default_rng(0)
    with pytest.raises(GradientError, match="product changed its args"):
        check_hvp(weighted_squares, careless, *rng.standard_normal((2, 3)), rng=rng)
