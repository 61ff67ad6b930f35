"""The message of a wrong gradient: slopes first, and the class of error that fits."""

import re

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from minillm.testing import GradientError, check_gradients
from minillm.testing.strategies import generators, sizes

# Each class is one line of the page, so that a few shapes and seeds show it.
few = settings(max_examples=max(4, settings.default.max_examples // 5))


def spoiled(op, spoil):
    """The op with gradients that ``spoil(gradients, args, upstream)`` has changed."""

    def wrong(*args):
        y, backward = op(*args)

        def wrong_backward(*upstream):
            gradients = backward(*upstream)
            gradients = gradients if isinstance(gradients, tuple) else (gradients,)
            gradients = spoil([g.copy() for g in gradients], args, upstream)
            return tuple(gradients) if len(gradients) > 1 else gradients[0]

        wrong_backward.__wrapped__ = backward  # its parameters are named in the message
        return y, wrong_backward

    wrong.__wrapped__ = op
    return wrong


def linear(x, W, b):
    y = x @ W + b
    return y, lambda dy: (dy @ W.T, x.T @ dy, dy.sum(axis=0))


def two_matrices(x, h, A, B):
    y = np.tanh(x @ A) + np.sin(h @ B)

    def backward(dy):
        da, db = dy * (1 - np.tanh(x @ A) ** 2), dy * np.cos(h @ B)
        return da @ A.T, db @ B.T, x.T @ da, h.T @ db

    return y, backward


def cubes(x):
    return x**3 + x, lambda dy: (3 * x**2 + 1) * dy


def rnn(x, h0, W):
    """h_t = tanh(x_t + h_{t-1} W), x (T, H) -> hs (T, H), h_T (H,)."""
    hs = [h0]
    for x_t in x:
        hs.append(np.tanh(x_t + hs[-1] @ W))

    def backward(dhs, dh_last=None):
        dh = np.zeros_like(h0) if dh_last is None else dh_last
        dx, dW = np.zeros_like(x), np.zeros_like(W)
        for t in reversed(range(len(x))):
            da = (dh + (0 if dhs is None else dhs[t])) * (1 - hs[t + 1] ** 2)
            dx[t], dW = da, dW + np.outer(hs[t], da)
            dh = da @ W.T
        return dx, dh, dW

    return (np.array(hs[1:]), hs[-1]), backward


def told(op, *args, rng):
    with pytest.raises(GradientError) as caught:
        check_gradients(op, *args, rng=rng)
    return str(caught.value)


def linear_arguments(rng, B, I, O):
    return rng.standard_normal((B, I)), rng.standard_normal((I, O)), rng.standard_normal(O)


SIZES = sizes(B=(3, 5), I=(3, 5), O=(3, 5))


# --- slopes before conventions --------------------------------------------------------------


@few
@given(rng=generators())
def test_a_wrong_slope_is_told_before_every_breach_of_the_convention(rng):
    def op(x, h):
        calls = []

        def backward(dy, dz):
            calls.append(1)
            wrong = 2.0 * dy.astype(np.float32) + dz * len(calls)
            dy += 1  # changes the upstream gradient, and takes no None
            x[0] = 7
            return wrong, dz * 1

        return (x**3, x + h), backward

    x, h = rng.standard_normal((2, 4))
    message = told(op, x, h, rng=rng)
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

    message = told(spoiled(linear, spoil), *linear_arguments(rng, **shapes), rng=rng)
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

    message = told(spoiled(linear, spoil), *linear_arguments(rng, **shapes), rng=rng)
    text = text.format(B=shapes["B"], BO=shapes["B"] * shapes["O"])
    assert re.search(f"this fits ({text})", message)


@few
@given(rng=generators(), scale=st.floats(1.5, 9))
def test_a_number_among_the_arguments_is_named(rng, scale):
    def op(x, scale):
        return scale * np.sin(x), lambda dy: np.cos(x) * dy

    assume(abs(scale - 2) > 0.01 and abs(scale**2 - round(scale**2)) > 0.01)
    message = told(op, rng.standard_normal((2, 3)), scale, rng=rng)
    assert "this fits a missing factor" in message
    assert "(the argument scale)" in message


ARRAYS = {
    "gain": (
        lambda x, gain: (x * gain, lambda dy: (dy, (dy * x).sum(axis=0))),
        "a missing factor gain in the gradient with respect to x",
    ),
    "mask": (
        lambda x, keep: (x * keep, lambda dy: dy),
        "a missing factor keep in the gradient with respect to x",
    ),
    "sigmoid": (
        lambda x: ((y := 1 / (1 + np.exp(-x))), lambda dy: y * dy),
        "a missing factor 1 - the output in the gradient with respect to x",
    ),
    "tanh": (
        lambda x: (np.tanh(x), lambda dy: dy),
        r"a missing factor 1 - the output\*\*2 in the gradient with respect to x",
    ),
    "no upstream": (
        lambda x: (x**2, lambda dy: 2 * x),
        "a missing factor dy in the gradient with respect to x",
    ),
    "too many": (
        lambda x: (x**2, lambda dy: 2 * x * dy**2),
        "a factor dy too many in the gradient with respect to x",
    ),
    "residual": (
        lambda x: (x + np.sin(x), lambda dy: dy * np.cos(x)),
        "a missing term dy in the gradient with respect to x",
    ),
}


@few
@given(rng=generators(), B=st.integers(3, 5), D=st.integers(2, 4))
@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_as_a_factor_or_a_term_is_named(name, rng, B, D):
    op, text = ARRAYS[name]
    args = [rng.standard_normal((B, D))]
    if name == "gain":
        args.append(0.5 + rng.random(D))
    if name == "mask":
        args.append(np.arange(B * D).reshape(B, D) % 2 == 0)
        assume(B * D >= 6)
    assert re.search(f"this fits {text}", told(op, *args, rng=rng))


# --- shapes and orders ----------------------------------------------------------------------


@few
@given(rng=generators(), n=st.integers(2, 4), B=st.integers(3, 5))
def test_a_transposed_gradient(rng, n, B):
    op = spoiled(linear, lambda gradients, *_: (gradients[0], gradients[1].T, gradients[2]))
    args = linear_arguments(rng, B, n, n)
    assert "this fits a transposed gradient with respect to W" in told(op, *args, rng=rng)
    message = told(op, *linear_arguments(rng, B, n, n + 1), rng=rng)
    found = f"the gradient with respect to W has shape {(n + 1, n)}, expected {(n, n + 1)}"
    assert found in message
    assert "this fits a transposed gradient: it is right with its axes in the order" in message


@few
@given(rng=generators(), shapes=SIZES)
def test_a_missing_sum(rng, shapes):
    args = linear_arguments(rng, **shapes)
    wrong = spoiled(linear, lambda gradients, _, dy: [*gradients[:2], dy[0]])
    message = told(wrong, *args, rng=rng)
    assert (
        f"respect to b has shape {(shapes['B'], shapes['O'])}, expected {(shapes['O'],)}" in message
    )
    assert "this fits a missing sum over axis 0" in message
    wrong = spoiled(linear, lambda gradients, _, dy: [*gradients[:2], dy[0][-1]])
    message = told(wrong, *args, rng=rng)
    assert "the gradient with respect to b is wrong at" in message
    assert "this fits a missing sum over axis 0 of dy: only index" in message


def test_a_right_gradient_in_a_wrong_shape():
    rng = np.random.default_rng(0)
    message = told(lambda x: (x**2, lambda dy: (2 * x * dy).ravel()), np.ones((2, 3)), rng=rng)
    assert message == (
        "the gradient with respect to x has shape (6,), expected (2, 3): "
        "this fits a right gradient in a wrong shape: reshape it"
    )


@few
@given(rng=generators(), shapes=SIZES, order=st.permutations(range(3)))
def test_right_gradients_in_another_order(rng, shapes, order):
    assume(order != [0, 1, 2])
    args = linear_arguments(rng, **shapes)
    message = told(spoiled(linear, lambda g, *_: [g[k] for k in order]), *args, rng=rng)
    for place, k in enumerate(order):
        if place != k:
            given = f"the gradient with respect to {'xWb'[k]} is returned for {'xWb'[place]}"
            assert given in message


@few
@given(rng=generators(), n=st.integers(2, 4))
def test_two_gradients_that_are_exchanged(rng, n):
    args = [rng.standard_normal((n, n)) for _ in range(4)]
    message = told(spoiled(two_matrices, lambda g, *_: (g[0], g[1], g[3], g[2])), *args, rng=rng)
    assert message.startswith("the gradient with respect to")
    assert "this fits gradients in another order: the gradient with respect to" in message
    assert "the gradient with respect to B is returned for A" in message
    assert "the gradient with respect to A is returned for B" in message


# --- upstream gradients ---------------------------------------------------------------------


def recurrent_arguments(rng, T, H):
    return rng.standard_normal((T, H)), rng.standard_normal(H), rng.standard_normal((H, H)) / H


@few
@given(rng=generators(), T=st.integers(3, 5), H=st.integers(2, 4))
def test_an_upstream_gradient_that_is_not_used(rng, T, H):
    def op(x, h0, W):
        outputs, backward = rnn(x, h0, W)
        return outputs, lambda dhs, dh_last: backward(dhs)

    message = told(op, *recurrent_arguments(rng, T, H), rng=rng)
    assert "this fits an upstream gradient that is not used: dh_last" in message


@few
@given(rng=generators(), n=st.integers(3, 5))
def test_upstream_gradients_in_another_order(rng, n):
    def op(x):
        return (x**2, np.sin(x)), lambda da, db: 2 * x * db + np.cos(x) * da

    message = told(op, rng.standard_normal(n), rng=rng)
    assert "this fits upstream gradients in another order: da and db" in message


@few
@given(rng=generators(), shapes=SIZES)
def test_a_backward_without_its_upstream_gradient(rng, shapes):
    op = spoiled(linear, lambda g, args, dy: [*g[:2], np.full_like(g[2], len(args[0]))])
    message = told(op, *linear_arguments(rng, **shapes), rng=rng)
    assert "this fits a backward that does not use its upstream gradient dy" in message


# --- parts of an array ----------------------------------------------------------------------


PARTS = {
    "t > 0": (
        lambda x: np.arange(len(x)) > 0,
        r"at index > 0 of axis 0 \(t > 0, if it is time\) only",
    ),
    "t = 0": (
        lambda x: np.arange(len(x)) == 0,
        r"at index 0 of axis 0 \(t = 0, if it is time\) only",
    ),
    "last": (
        lambda x: np.arange(len(x)) == len(x) - 1,
        r"at the last index of axis 0 \(t = T - 1, if it is time\) only",
    ),
    "earlier": (
        lambda x: np.arange(len(x)) < len(x) - 1,
        r"before the last index of axis 0 \(t < T - 1, if it is time\) only",
    ),
    "negative": (lambda x: x < 0, "where x is negative only"),
    "positive": (lambda x: x > 0, "where x is positive only"),
}


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
    message = told(spoiled(cubes, spoil), x, rng=rng)
    there = {"noise": "", "factor": "; there it is 1.001 times", "zero": "; there it is 0 times"}
    guess = f"this fits an error in the gradient with respect to x {text}{there[change]}"
    assert re.search(guess, message)


@few
@given(rng=generators(), T=st.integers(3, 6))
def test_an_error_at_one_coordinate(rng, T):
    def spoil(gradients, args, upstream):
        gradients[0][1, 1] *= 1.0001
        return gradients

    message = told(spoiled(cubes, spoil), rng.standard_normal((T, 3)), rng=rng)
    assert "this fits an error in the gradient with respect to x at one coordinate only" in message


def sums_to_length(x, lengths):
    """Running sums within the length of each row, x (B, T)."""
    within = np.arange(x.shape[1]) < lengths[:, None]
    y = np.where(within, np.cumsum(x**2, axis=1), 0)

    def backward(dy):
        return 2 * x * np.cumsum(np.where(within, dy, 0)[:, ::-1], axis=1)[:, ::-1]

    return y, backward


@few
@given(rng=generators(), B=st.integers(3, 4), T=st.integers(5, 6))
def test_errors_where_lengths_differ(rng, B, T):
    lengths = rng.integers(2, T - 1, B)
    lengths[1] = T
    x = 0.5 + rng.random((B, T))

    def short_rows(gradients, args, upstream):
        gradients[0][lengths < T] *= 1.5
        return gradients

    def padding(gradients, args, upstream):
        return (np.where(gradients[0] == 0, 1, gradients[0]),)

    message = told(spoiled(sums_to_length, short_rows), x, lengths, rng=rng)
    assert "in rows that lengths says are shorter than the longest only; there it is 1.5" in message
    message = told(spoiled(sums_to_length, padding), x, lengths, rng=rng)
    assert "beyond lengths along axis 1 only" in message


@few
@given(rng=generators(), D=st.integers(3, 4))
def test_repeated_ids_whose_gradients_are_not_added(rng, D):
    ids = np.array([0, 3, 3, 5, 0, 2])

    def op(E, ids):
        def backward(dy):
            dE = np.zeros_like(E)
            dE[ids] += dy
            return dE

        return E[ids], backward

    message = told(op, 0.5 + rng.random((6, D)), ids, rng=rng)
    assert "in rows that ids names more than once (a sum over repeated ids) only" in message


def test_a_gradient_that_is_never_computed():
    rng = np.random.default_rng(0)
    op = spoiled(linear, lambda g, *_: [g[0], g[1], 0 * g[2]])
    message = told(op, *linear_arguments(rng, 3, 4, 5), rng=rng)
    guess = "a gradient that is never computed: the gradient with respect to b is zero everywhere"
    assert guess in message


# --- no guess -------------------------------------------------------------------------------


@few
@given(rng=generators(), shapes=SIZES, which=st.integers(0, 2), scale=st.sampled_from([1e-4, 1.0]))
def test_no_guess_is_made_of_noise(rng, shapes, which, scale):
    noise = [scale * rng.uniform(1, 2, a.shape) for a in linear_arguments(rng, **shapes)]

    def spoil(gradients, args, upstream):
        gradients[which] += noise[which] * np.abs(upstream[0]).sum()
        return gradients

    message = told(spoiled(linear, spoil), *linear_arguments(rng, **shapes), rng=rng)
    assert "is wrong" in message
    assert "this fits" not in message


@few
@given(rng=generators(), n=st.integers(1, 2))
def test_no_guess_is_made_of_one_or_two_coordinates(rng, n):
    x = rng.standard_normal(n)
    message = told(spoiled(cubes, lambda g, *_: [-g[0]]), x, rng=rng)
    assert "is wrong" in message
    assert "this fits" not in message


def test_no_guess_is_made_at_a_kink():
    rng = np.random.default_rng(0)
    x = np.zeros((3, 3))
    message = told(lambda x: (np.abs(x), lambda dy: np.sign(x) * dy + dy), x, rng=rng)
    assert "lies on a kink" in message
    assert "this fits" not in message


# --- what is no backward --------------------------------------------------------------------


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


def draws(x):
    return x * np.random.default_rng().standard_normal(x.shape), lambda dy: dy


def reuses_a_buffer(x):
    buffer = np.empty_like(x)

    def backward(dy):
        np.multiply(2 * x, dy, out=buffer)
        return buffer

    return x**2, backward


def fails_when_called_again(x):
    kept = [x]
    return x**2, lambda dy: 2 * kept.pop() * dy


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (lambda x: x**2, r"the op: expected \(output, backward\), found an array of float64"),
        (lambda x: (x, x, lambda dy: dy), "found a tuple of 3"),
        (lambda x: (None, lambda dy: dy), "output 0: expected an array of floats, found NoneType"),
        (lambda x: (x.astype(np.float32), lambda dy: dy), "output 0 is float32: expected float64"),
        (lambda x: (x * 1, lambda dy: None), "with respect to x is no array: NoneType"),
        (lambda x: (x * 1, lambda dy: [dy]), "right, but the backward returned them in a list"),
        (
            lambda x: ((x * 1, x * 2), lambda dy: 3 * dy),
            r"the backward takes \(dy\), expected a parameter for the gradient of each output: 2",
        ),
        (draws, "a second call of the op gave another output 0"),
        (reuses_a_buffer, "right, but a later call of the backward changed them"),
        (fails_when_called_again, "right, but a second call raised IndexError"),
    ],
)
def test_what_is_no_op_with_a_backward_is_told_in_words(op, message):
    with pytest.raises(GradientError, match=message):
        check_gradients(op, np.array([1.0, 2.0, 3.0]), rng=np.random.default_rng(4))
