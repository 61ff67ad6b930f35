"""The message of a wrong gradient: slopes first, and the class of error that fits."""

import re

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from minillm.testing import GradientError, check_gradients
from minillm.testing.strategies import generators, sizes

from .faulty import function, linear, linear_arguments, refusal, rnn, rnn_arguments, spoiled

# Each class is one line of the page, so that a few shapes and seeds show it.
few = settings(max_examples=max(4, settings.default.max_examples // 5))
SIZES = sizes(B=(3, 5), I=(3, 5), O=(3, 5))


# --- slopes before conventions --------------------------------------------------------------


def test_a_wrong_slope_is_told_before_every_breach_of_the_convention():
    def op(x, h):
        calls = []

        def backward(dy, dz):
            calls.append(1)
            wrong = 2.0 * dy.astype(np.float32) + dz * len(calls)
            dy += 1  # changes the upstream gradient, and takes no None
            x[0] = 7
            return wrong, dz * 1

        return (x**3, x + h), backward

    for seed in range(4):
        message = refusal(op, *np.random.default_rng(seed).standard_normal((2, 4)), seed=seed)
        assert message.startswith("the gradient with respect to x is wrong at [")
        assert "4 of 4 of its coordinates are wrong" in message
        assert re.search(r"analytic -?\d.*, numeric -?\d", message)


@few
@given(rng=generators(), shapes=SIZES)
def test_the_gradient_with_the_fewest_wrong_coordinates_is_told_first(rng, shapes):
    def spoil(gradients, args, upstream):
        dx, dW, db = gradients
        dW[0, 1] += 1
        return -dx, dW, db

    message = refusal(spoiled(linear, spoil), *linear_arguments(rng, **shapes))
    assert message.startswith("the gradient with respect to W is wrong at [0, 1]")
    assert f"also wrong: x ({shapes['B'] * shapes['I']} of" in message


# --- factors --------------------------------------------------------------------------------


@few
@given(rng=generators(), shapes=SIZES, which=st.integers(0, 2))
@pytest.mark.parametrize(
    ("factor", "text"),
    [
        (lambda B, I, O: -1, "a wrong sign"),
        (lambda B, I, O: 2, "a factor 2 too many|a factor 2 "),
        (lambda B, I, O: 0.5, "a missing factor 2"),
        (lambda B, I, O: 1 / B, r"a missing factor {B} \(.*the length of axis 0 of x"),
        (lambda B, I, O: I**0.5, r"a factor .* too many|a factor 2 "),
        (lambda B, I, O: 1 / (B * O), r"a missing factor {BO} \(.*the size of the output"),
        (lambda B, I, O: 1.001, r"a wrong factor: the gradient with respect to \w is 1.001 times"),
    ],
)
def test_a_constant_factor_is_named(factor, text, rng, shapes, which):
    def spoil(gradients, args, upstream):
        gradients[which] *= factor(**shapes)
        return gradients

    message = refusal(spoiled(linear, spoil), *linear_arguments(rng, **shapes))
    text = text.format(B=shapes["B"], BO=shapes["B"] * shapes["O"])
    assert re.search(f"this fits ({text})", message)


# --- one class of error after the other -----------------------------------------------------


def cubes(x):
    return x**3 + x, lambda dy: (3 * x**2 + 1) * dy


def one_coordinate(gradients, args, upstream):
    gradients[0][1, 1] *= 1.0001
    return gradients


def without_dh_last(*args):
    outputs, backward = rnn(*args)
    return outputs, lambda dhs, dh_last: backward(dhs)


def rows_by_id(E, ids):
    def backward(dy):
        dE = np.zeros_like(E)
        dE[ids] += dy
        return dE

    return E[ids], backward


def sums_to_length(x, lengths):
    """Running sums within the length of each row, x (B, T)."""
    within = np.arange(x.shape[1]) < lengths[:, None]
    y = np.where(within, np.cumsum(x**2, axis=1), 0)

    def backward(dy):
        return 2 * x * np.cumsum(np.where(within, dy, 0)[:, ::-1], axis=1)[:, ::-1]

    return y, backward


def short_rows(gradients, args, upstream):
    gradients[0][args[1] < args[0].shape[1]] *= 1.5
    return gradients


def normal(*shape):
    return lambda rng: (rng.standard_normal(shape or (4, 3)),)


def with_lengths(rng):
    lengths = rng.integers(2, 5, 4)
    lengths[1] = 6
    return 0.5 + rng.random((4, 6)), lengths


def linear_of(spoil):
    return spoiled(linear, lambda gradients, args, upstream: spoil(*gradients, *args, *upstream))


SPOILED_W = linear_of(lambda dx, dW, db, *_: (dx, dW.T, db))
FITS = {
    # an array or a number as a factor or a term
    "the argument scale": (lambda x, scale: (scale * np.sin(x), lambda dy: np.cos(x) * dy),
        lambda rng: (rng.standard_normal((2, 3)), rng.uniform(2.1, 2.9)),
        r"a missing factor .*\(the argument scale\)"),
    "mask": (lambda x, keep: (x * keep, lambda dy: dy),
        lambda rng: (rng.standard_normal((4, 3)), np.arange(12).reshape(4, 3) % 2 == 0),
        "a missing factor keep in the gradient with respect to x"),
    "sigmoid": (lambda x: ((y := 1 / (1 + np.exp(-x))), lambda dy: y * dy), normal(),
        "a missing factor 1 - the output in the gradient with respect to x"),
    "tanh": (lambda x: (np.tanh(x), lambda dy: dy), normal(),
        r"a missing factor 1 - the output\*\*2 in the gradient with respect to x"),
    "no upstream": (lambda x: (x**2, lambda dy: 2 * x), normal(),
        "a missing factor dy in the gradient with respect to x"),
    "too many": (lambda x: (x**2, lambda dy: 2 * x * dy**2), normal(),
        "a factor dy too many in the gradient with respect to x"),
    "residual": (lambda x: (x + np.sin(x), lambda dy: dy * np.cos(x)), normal(),
        "a missing term dy in the gradient with respect to x"),
    # shapes and orders
    "transposed": (SPOILED_W, lambda rng: linear_arguments(rng, 4, 3, 3),
        "a transposed gradient with respect to W"),
    "transposed, in another shape": (SPOILED_W, lambda rng: linear_arguments(rng, 4, 2, 3),
        "a transposed gradient: it is right with its axes in the order"),
    "no sum": (linear_of(lambda dx, dW, db, x, W, b, dy: (dx, dW, dy)), linear_arguments,
        "a missing sum over axis 0"),
    "the last row for a sum": (linear_of(lambda dx, dW, db, x, W, b, dy: (dx, dW, dy[-1])),
        linear_arguments, "a missing sum over axis 0 of dy: only index"),
    "another shape": (lambda x: (x**2, lambda dy: (2 * x * dy).ravel()), normal(2, 3),
        "a right gradient in a wrong shape: reshape it"),
    # upstream gradients
    "one is not used": (without_dh_last, rnn_arguments,
        "an upstream gradient that is not used: dh_last"),
    "in another order": (lambda x: ((x**2, np.sin(x)), lambda da, db: 2 * x * db + np.cos(x) * da),
        normal(4), "upstream gradients in another order: da and db"),
    "none": (linear_of(lambda dx, dW, db, x, *_: (dx, dW, np.full_like(db, len(x)))),
        linear_arguments, "a backward that does not use its upstream gradient dy"),
    # parts of an array; see also PARTS
    "one coordinate": (spoiled(cubes, one_coordinate), normal(),
        "an error in the gradient with respect to x at one coordinate only"),
    "short rows": (spoiled(sums_to_length, short_rows), with_lengths,
        ".*in rows that lengths says are shorter than the longest only; there it is 1.5"),
    "padding": (spoiled(sums_to_length, lambda g, *_: (np.where(g[0] == 0, 1, g[0]),)),
        with_lengths, ".*beyond lengths along axis 1 only"),
    "repeated ids": (rows_by_id,
        lambda rng: (0.5 + rng.random((6, 3)), np.array([0, 3, 3, 5, 0, 2])),
        r".*in rows that ids names more than once \(a sum over repeated ids\) only"),
    "never computed": (linear_of(lambda dx, dW, db, *_: (dx, dW, 0 * db)), linear_arguments,
        "a gradient that is never computed: the gradient with respect to b is zero everywhere"),
}  # fmt: skip


@pytest.mark.parametrize("name", FITS)
def test_the_class_of_error_is_named(name):
    op, draw, text = FITS[name]
    for seed in range(4):
        message = refusal(op, *draw(np.random.default_rng(seed)), seed=seed)
        assert re.search(f"this fits {text}", message)


@few
@given(rng=generators(), shapes=SIZES, order=st.permutations(range(3)))
def test_right_gradients_in_another_order(rng, shapes, order):
    assume(order != [0, 1, 2])
    op = spoiled(linear, lambda g, *_: [g[k] for k in order])
    message = refusal(op, *linear_arguments(rng, **shapes))
    for place, k in enumerate(order):
        if place != k:
            given = f"the gradient with respect to {'xWb'[k]} is returned for {'xWb'[place]}"
            assert given in message


PARTS = {
    "t > 0": (lambda x: np.arange(len(x)) > 0,
        r"at index > 0 of axis 0 \(t > 0, if it is time\) only"),
    "t = 0": (lambda x: np.arange(len(x)) == 0,
        r"at index 0 of axis 0 \(t = 0, if it is time\) only"),
    "last": (lambda x: np.arange(len(x)) == len(x) - 1,
        r"at the last index of axis 0 \(t = T - 1, if it is time\) only"),
    "earlier": (lambda x: np.arange(len(x)) < len(x) - 1,
        r"before the last index of axis 0 \(t < T - 1, if it is time\) only"),
    "negative": (lambda x: x < 0, "where x is negative only"),
    "positive": (lambda x: x > 0, "where x is positive only"),
}  # fmt: skip


@few
@given(rng=generators(), T=st.integers(4, 6), D=st.integers(3, 4))
@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("change", ["noise", "factor", "zero"])
def test_an_error_in_a_part(name, change, rng, T, D):
    where, text = PARTS[name]

    def spoil(gradients, args, upstream):
        (g,) = gradients
        mask = where(args[0])
        mask = np.broadcast_to(mask.reshape(len(g), -1), g.shape)
        noise = np.random.default_rng(0).uniform(1, 2, g.shape)
        g[mask] = {"noise": g + noise, "factor": 1.001 * g, "zero": 0 * g}[change][mask]
        return (g,)

    x = rng.standard_normal((T, D))
    x[0] = np.abs(x[0]) * (-1) ** np.arange(D)  # both signs, in each row and column
    x[1] = -np.abs(x[1]) * (-1) ** np.arange(D)
    there = {"noise": "", "factor": "; there it is 1.001 times", "zero": "; there it is 0 times"}
    guess = f"this fits an error in the gradient with respect to x {text}{there[change]}"
    assert re.search(guess, refusal(spoiled(cubes, spoil), x))


# --- no guess -------------------------------------------------------------------------------


@few
@given(rng=generators(), shapes=SIZES, which=st.integers(0, 2), scale=st.sampled_from([1e-4, 1.0]))
def test_no_guess_is_made_of_noise(rng, shapes, which, scale):
    noise = [scale * rng.uniform(1, 2, a.shape) for a in linear_arguments(rng, **shapes)]

    def spoil(gradients, args, upstream):
        gradients[which] += noise[which] * np.abs(upstream[0]).sum()
        return gradients

    message = refusal(spoiled(linear, spoil), *linear_arguments(rng, **shapes))
    assert "is wrong" in message
    assert "this fits" not in message


@pytest.mark.parametrize(
    ("op", "x", "told"),
    [
        (spoiled(cubes, lambda g, *_: [-g[0]]), [0.3], "is wrong"),
        (spoiled(cubes, lambda g, *_: [-g[0]]), [0.3, -1.2], "is wrong"),
        (function(np.abs, lambda x: np.sign(x) + 1), np.zeros((3, 3)), "lies on a kink"),
    ],
)
def test_no_guess_is_made_of_few_coordinates_or_at_a_kink(op, x, told):
    message = refusal(op, np.array(x))
    assert told in message
    assert "this fits" not in message


# --- exceptions -----------------------------------------------------------------------------


def test_an_exception_of_the_backward_is_told_with_its_line_and_shapes():
    def op(x, W):
        def backward(dy):
            return dy @ W, x.T @ dy

        return x @ W, backward

    rng = np.random.default_rng(0)
    with pytest.raises(GradientError) as caught:
        check_gradients(op, np.ones((3, 2)), np.ones((2, 4)), rng=rng)
    message = str(caught.value)
    assert message.startswith("the backward raised ValueError: matmul")
    assert re.search(r"in test_diagnosis.py, line \d+: return dy @ W, x.T @ dy", message)
    assert "# dy (3, 4), W (2, 4), x (3, 2)" in message
    assert "it was given dy (3, 4), x (3, 2), W (2, 4)" in message
    assert isinstance(caught.value.__cause__, ValueError)
