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

BUGS = {str(bug): bug for bug in bugs()}


@pytest.mark.parametrize("name", CASES)
def test_the_derivatives_of_our_backwards_are_symmetric(name):
    rng = np.random.default_rng(0)
    op, args = CASES[name](rng)
    with use_kernels("numpy"):
        assert check_symmetry(op, *args, rng=rng) < 1e-6


def linear(x, W):
    return x @ W, lambda dy: (dy @ W.T, x.T @ dy)


def softmax(x):
    y = np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)
    return y, lambda dy: y * (dy - (dy * y).sum(axis=-1, keepdims=True))


def spoiled(op, change):
    """The op with gradients that a function changes, given the arguments and dy."""

    def wrong(*args):
        y, backward = op(*args)
        return y, lambda dy: change(backward(dy), dy, *args)

    return wrong


VISIBLE = {
    "one gradient negated": (linear, lambda g, *_: (g[0], -g[1]), ["B I", "I I"]),
    "a mean for a sum": (linear, lambda g, dy, *_: (g[0], g[1] / len(dy)), ["B I", "I I"]),
    "a transposed weight": (linear, lambda g, dy, x, W: (dy @ W, g[1]), ["B I", "I I"]),
    "only the diagonal": (softmax, lambda g, dy, x: dy * (y := softmax(x)[0]) * (1 - y), ["B I"]),
    "one coordinate by 1e-4": (
        softmax,
        lambda g, *_: g * (1 + 1e-4 * (np.arange(g.size).reshape(g.shape) == 0)),
        ["B I"],
    ),
}


@given(rng=generators(), shapes=sizes(B=(2, 3), I=(2, 4)))
@pytest.mark.parametrize("name", VISIBLE)
def test_an_error_that_spoils_the_symmetry_is_found(name, rng, shapes):
    op, change, legend = VISIBLE[name]
    args = [rng.standard_normal([shapes[axis] for axis in part.split()]) for part in legend]
    assert check_symmetry(op, *args, rng=rng) < 1e-6
    with pytest.raises(GradientError, match="second derivatives with respect to"):
        check_symmetry(spoiled(op, change), *args, rng=rng)


INVISIBLE = {
    "a factor of all gradients": (linear, lambda g, *_: (2 * g[0], 2 * g[1])),
    "a term that does not change": (linear, lambda g, *_: (g[0] + 1, g[1])),
    "any error of an activation": (
        lambda x, z: (np.tanh(x) + np.tanh(z), lambda dy: (dy, dy)),
        lambda g, dy, x, z: (dy * np.cos(x), dy * z**3),
    ),
    "zeros": (linear, lambda g, *_: (0 * g[0], 0 * g[1])),
}


@pytest.mark.parametrize("name", INVISIBLE)
def test_an_error_that_leaves_the_symmetry_is_not_seen(name):
    op, change = INVISIBLE[name]
    rng = np.random.default_rng(0)
    args = rng.standard_normal((3, 3)), rng.standard_normal((3, 3))
    assert check_symmetry(spoiled(op, change), *args, rng=rng) < 1e-6


def test_the_forward_is_not_measured():
    rng = np.random.default_rng(0)
    args = rng.standard_normal((2, 3)), rng.standard_normal((3, 4))

    def of_zeros(x, W):
        return np.zeros((2, 4)), linear(x, W)[1]

    assert check_symmetry(of_zeros, *args, rng=rng) < 1e-6


# Without it, the gradients are those of a number that ignores the last cell.
UNSEEN = {"lstm": ["lstm, line 345: dc_last is forgotten"]}


@pytest.mark.parametrize("op", ["softmax", "layer_norm", "lstm", "scaled_attention"])
def test_wrong_backwards_of_the_frozen_set(op):
    """The bugs by hand that exchange or leave out a part of one gradient of several."""
    args = arguments(op, 0)

    def refused(function):
        try:
            check_symmetry(function, *args, rng=np.random.default_rng(1))
        except GradientError:
            return True
        return False

    assert not refused(right_op(op))
    kinds = by_hand.ORDER, by_hand.TERM, by_hand.KEPT
    chosen = [bug for bug in BUGS.values() if bug.op == op and bug.kind in kinds]
    assert len(chosen) > 0
    assert [str(bug) for bug in chosen if not refused(bug.wrong_op())] == UNSEEN.get(op, [])


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
        check_symmetry(op, *args, rng=np.random.default_rng((seed, 1)))


def test_a_gradient_that_jumps_has_no_second_derivative():
    def absolute(x):
        return np.abs(x), lambda dy: dy * np.sign(x)

    with pytest.raises(GradientError, match="no two steps agree"):
        check_symmetry(absolute, np.zeros(1), rng=np.random.default_rng(0))
    assert check_symmetry(absolute, np.array([1e-4, -1e-4]), rng=np.random.default_rng(0)) == 0


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
