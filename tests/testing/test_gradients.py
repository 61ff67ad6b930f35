"""The checker's verdicts.  Whether it finds a wrong gradient at all, the frozen set judges
(tests/test_checkers.py); here are the messages, and right ops that are hard to measure."""

import numpy as np
import pytest
from hypothesis import given

from minillm import ops
from minillm.testing import (
    GradientError,
    check_float32,
    check_gradients,
    check_layouts,
    check_projections,
    strategies,
)
from minillm.testing.calls import normals_like

from .faulty import (
    function,
    linear,
    linear_arguments,
    off,
    refusal,
    relu,
    rnn,
    rnn_arguments,
    softmax,
    spoiled,
    writes_to_upstream,
)


@given(rng=strategies.generators())
def test_right_gradients_pass(rng):
    assert check_gradients(linear, *linear_arguments(rng), rng=rng) < 1e-7
    # Where the curve is steep, the h^4 of the widest step comes near to the tolerance.
    assert check_gradients(rnn, *rnn_arguments(rng), rng=rng) <= 1e-6


# --- faults, each with its message --------------------------------------------------------


def mutates_argument(x):
    x += 1
    return x * 1, lambda dy: dy


def mutates_output(x):
    y = 2 * x

    def backward(dy):
        y.fill(0)
        return 2 * dy

    return y, backward


def accumulates(x):
    total = np.zeros_like(x)

    def backward(dy):
        nonlocal total
        total = total + dy
        return total

    return x * 1, backward


def two_outputs_none_is_one(x):
    def backward(da, db):
        return (0 if da is None else da) + (1 if db is None else db)

    return (x * 1, x * 1), backward


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


def wrong_from_the_third_call(x):
    calls = []

    def backward(dy):
        calls.append(dy)
        return (2 if len(calls) < 3 else 3) * x * dy

    return x**2, backward


def has_another_shape_from_the_third_call(x):
    calls = []

    def backward(dy):
        calls.append(dy)
        return 2 * x * dy if len(calls) < 3 else (2 * x * dy)[None]

    return x**2, backward


@pytest.mark.parametrize(
    ("op", "message"),
    [
        # what is no op with a backward
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
        (lambda x: (x * 1, lambda dy: (dy, dy)), "returned 2 gradients, expected 1: x"),
        (lambda x: (x * 1, lambda dy: dy.sum()), r"has shape \(\), expected \(3,\)"),
        (lambda x: (x * 1, lambda dy: dy[:, None]), r"has shape \(3, 1\), expected \(3,\)"),
        # breaches of the convention
        (mutates_argument, "changed its argument x"),
        (writes_to_upstream, "right, but the backward changed its upstream gradient dy"),
        (mutates_output, "changed output 0"),
        (accumulates, "second call of the backward gave other gradients"),
        (lambda x: ((x * 1, x * 1), lambda da, db: da + db), "does not take None"),
        (two_outputs_none_is_one, "None in place of a zero gradient of output 1"),
        (lambda x: (x * 1, lambda dy: dy.astype("f")), "but the gradient with respect to x is fl"),
        (draws, "a second call of the op gave another output 0"),
        (reuses_a_buffer, "right, but a later call of the backward changed them"),
        (fails_when_called_again, "right, but a second call raised IndexError"),
        # a backward is linear
        (wrong_from_the_third_call, "every gradient is right, but for -dy"),
        (has_another_shape_from_the_third_call, "."),
    ],
)
def test_a_fault_is_told_in_words(op, message):
    with pytest.raises(GradientError, match=message):
        check_gradients(op, np.array([1.0, 2.0, 3.0]), rng=np.random.default_rng(4))


@pytest.mark.parametrize(
    "op",
    [
        lambda x: (x**2, lambda dy: (2 if dy.flat[0] > 0 else 3) * x * dy),
        lambda x: (x**2, lambda dy: (2 if dy.flat[0] < 0 else 3) * x * dy),
        # x and dy are drawn by generators of the same seed
        lambda x: (x**2, lambda dy: 2 * x * x),
        lambda x: (x**2, lambda dy: 2 * dy * dy),
        lambda x: (np.tanh(x), lambda dy: dy * (1 - np.tanh(dy) ** 2)),
    ],
)
def test_a_backward_that_is_right_for_some_upstream_gradients(op):
    for seed in range(4):
        assert refusal(op, np.random.default_rng(seed).standard_normal((3, 4)), seed=seed)


def test_the_message_names_the_worst_coordinate():
    def spoil(gradients, args, upstream):
        gradients[1][0, 0] *= 1 + 1e-4
        return gradients

    message = refusal(spoiled(linear, spoil), *linear_arguments(np.random.default_rng(0)))
    assert message.startswith("the gradient with respect to W is wrong at [0, 0]")
    assert "1 of 8 of its coord" in message


@pytest.mark.parametrize("weights", [[np.ones(2)], {"W": np.ones(2)}, (1, {"W": [np.ones(2)]})])
def test_float_arrays_inside_of_lists_are_refused(weights):
    def op(x, *others):
        return x * 1, lambda dy: dy

    with pytest.raises(TypeError, match="weights: expected each float array as an argument of its"):
        check_gradients(
            lambda x, weights: op(x), np.ones(2), weights, rng=np.random.default_rng(12)
        )
    check_gradients(op, np.ones(2), [3, 0.5], (np.arange(3),), rng=np.random.default_rng(12))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (
            np.ones(2, np.float32),
            "x: expected float64, in which gradients are checked, found float32",
        ),
        (
            np.ones(2, complex),
            "x: expected float64, in which gradients are checked, found complex128",
        ),
        (np.ones(2, int), "no gradient to check"),
    ],
)
def test_what_is_not_float64_is_refused(x, message):
    with pytest.raises(TypeError, match=message):
        check_gradients(lambda x: (x * 1, lambda dy: dy), x, rng=np.random.default_rng(5))


@pytest.mark.parametrize("tolerance", [0.0, -1e-6, 1.0, np.inf, np.nan])
def test_a_tolerance_that_accepts_anything_is_refused(tolerance):
    rng, params = np.random.default_rng(7), {"w": np.ones(2)}
    with pytest.raises(ValueError, match="tolerance: expected a number above 0 and below 1, found"):
        check_gradients(lambda x: (x**2, lambda dy: dy), np.ones(2), rng=rng, tolerance=tolerance)
    with pytest.raises(ValueError, match="tolerance: expected"):
        check_projections(lambda: (0.0, dict), params, rng=rng, tolerance=tolerance)


def test_the_step_of_the_caller():
    def log(x):
        if np.any(x <= 0):
            raise ValueError("not positive")
        return np.log(x), lambda dy: dy / x

    rng, x = np.random.default_rng(14), 1e-5 * np.arange(1, 4)
    with pytest.raises(ValueError, match="not positive"):
        check_gradients(log, x, rng=rng)
    check_gradients(log, x, rng=rng, step=1e-8)
    assert refusal(off(log, 1.01), x, step=1e-8)
    params = {"x": x}

    def loss():
        y, backward = log(params["x"])
        return y.sum(), lambda: {"x": backward(np.ones(3))}

    check_projections(loss, params, rng=rng, step=1e-8)
    for step in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="step: expected a finite number above 0, found"):
            check_gradients(log, x, rng=rng, step=step)
    with pytest.raises(ValueError, match="step: expected one that moves x, found 1e-30"):
        check_gradients(log, x, rng=rng, step=1e-30)


def test_every_draw_of_the_checker_has_a_stream_of_its_own():
    """The other checks, with arguments from a generator of the same seed."""
    seen = []

    def square(x):
        def backward(dy):
            seen.append(dy.astype(x.dtype))
            return 2 * x * dy

        return x**2, backward

    x = np.random.default_rng(0).standard_normal((3, 4))
    for check in (check_layouts, check_float32):
        check(square, x, rng=np.random.default_rng(0))
    assert len(seen) > 10
    params, at = {"w": x.copy()}, []

    def loss():
        at.append(params["w"].copy())
        return np.sum(params["w"] ** 2), lambda: {"w": 2 * params["w"]}

    check_projections(loss, params, rng=np.random.default_rng(0))
    moves = [w - x for w in at if not np.array_equal(w, x)]
    assert len(moves) >= 4
    for drawn in seen + moves:
        if drawn.shape == x.shape:
            cosine = np.sum(drawn * x) / np.linalg.norm(drawn) / np.linalg.norm(x)
            assert abs(cosine) < 0.9
    rng = np.random.default_rng(0)
    once, again = (normals_like([np.zeros(3)], rng)[0] for _ in range(2))
    assert not np.array_equal(once, again)
    assert rng.standard_normal() == np.random.default_rng(0).standard_normal()


# --- right passes, 1 % off at the largest coordinate fails --------------------------------


def unit(x):
    size = np.sqrt(np.sum(x * x, axis=-1, keepdims=True))
    y = x / size
    return y, lambda dy: (dy - y * np.sum(dy * y, axis=-1, keepdims=True)) / size


def norm(x):
    y = np.sqrt((x * x).sum(axis=-1, keepdims=True))
    return y, lambda dy: dy * x / y


def largest(x):
    where = x == x.max(axis=-1, keepdims=True)
    return x.max(axis=-1), lambda dy: np.where(where, dy[..., None], 0)


def shifted(size):
    return function(lambda x: np.tanh(x) + size, lambda x: 1 - np.tanh(x) ** 2)


def masked_softmax(mask):
    """A softmax whose last entry is masked; it returns the masked logits, too."""

    def op(x):
        keep = np.arange(x.shape[-1]) < x.shape[-1] - 1
        scores = np.where(keep, x, mask)
        y, softmax_backward = ops.softmax(scores)

        def backward(dscores, dy):
            dscores = np.zeros_like(x) if dscores is None else dscores
            dy = np.zeros_like(x) if dy is None else dy
            return np.where(keep, dscores + softmax_backward(dy), 0)

        return (scores, y), backward

    return op


def normal(scale, *shape):
    return lambda rng: (scale * rng.standard_normal(shape or (2, 3)),)


def positive(scale):
    return lambda rng: (scale * (0.1 + rng.random((2, 3))),)


LOG, SINE = function(np.log, lambda x: 1 / x), function(np.sin, np.cos)
OF_ANY_SCALE = {
    "log": (LOG, positive),
    "square root": (function(np.sqrt, lambda x: 0.5 / np.sqrt(x)), positive),
    "reciprocal": (function(lambda x: 1 / x, lambda x: -1 / x**2), normal),
    "cube": (function(lambda x: x**3, lambda x: 3 * x**2), normal),
    "sine": (SINE, normal),
    "relu": (relu, normal),
    "absolute": (function(np.abs, np.sign), normal),
    "norm": (norm, normal),
    "unit": (unit, normal),
    "maximum": (largest, normal),
    "gelu": (ops.gelu, normal),
}
MEASURED = {
    f"{name} of {scale:g}": (op, draw(scale))
    for name, (op, draw) in OF_ANY_SCALE.items()
    for scale in (1e-5, 1e4)
}
for size in (1e6, 1e9, 1e12, 1e15):
    factors = np.array([size, 1, 1])
    MEASURED[f"an output of {size:g}"] = (
        lambda x, factors=factors: (factors * x, lambda dy: factors * dy),
        normal(1, 3),
    )
for size in (1e3, 1e6, 1e9):
    MEASURED[f"plus {size:g}"] = shifted(size), normal(1, 4)
for mask in (-1e9, -1e15, -np.inf):
    MEASURED[f"a softmax masked by {mask}"] = masked_softmax(mask), normal(1, 2, 4)


@pytest.mark.parametrize("name", MEASURED)
def test_right_passes_and_one_percent_off_fails(name):
    op, draw = MEASURED[name]
    for seed in range(2):
        args = draw(np.random.default_rng(seed))
        assert refusal(op, *args, seed=seed) == ""
        slopes = op(*args)[1]
        if "relu" in name and not slopes(np.ones_like(args[0])).any():
            continue  # of negative numbers only
        for largest_only in (False, True):
            wrong = off(op, 1.01, largest_only=largest_only)
            if name.startswith("an output of") and largest_only:
                wrong = spoiled(op, lambda g, args, dy: [g[0] * [1, 1.01, 1]])
            assert refusal(wrong, *args, seed=seed)
        if "masked" in name:
            ones = spoiled(op, lambda g, *_: [np.ones_like(g[0])])
            assert refusal(ones, *args, seed=seed)


@pytest.mark.parametrize("factor", [1, 1.01, 0])
def test_what_rounding_hides_cannot_be_decided(factor):
    message = refusal(off(shifted(1e12), factor), np.random.default_rng(4).standard_normal(4))
    assert "respect to x cannot be decided at " in message
    assert "rounding" in message


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_small_and_large_gradients_are_held_to_the_same_relative_tolerance(scale):
    op, x = function(lambda x: scale * x**2, lambda x: 2 * scale * x), np.linspace(-2, 1, 5)
    assert refusal(op, x) == ""
    assert "wrong" in refusal(off(op, 1 + 5e-6), x)


@pytest.mark.parametrize(
    ("op", "x"),
    [
        (function(lambda x: x**2, lambda x: 2 * x), [1, 1e6, -1e6]),
        (function(np.exp, np.exp), [0.5, 20, 25]),
        (function(lambda x: x**3, lambda x: 3 * x**2), [1e-3, 1e3]),
    ],
)
def test_outputs_that_stand_still_hide_nothing(op, x):
    x = np.array(x, float)
    for seed in range(3):
        assert refusal(op, x, seed=seed) == ""
        for part in (3e-6, 9e-4, 2e-3, 0.1):
            wrong = spoiled(op, lambda g, *_, p=part: [g[0] * (1 + p * (np.arange(len(x)) == 0))])
            assert "respect to x is wrong at [0]" in refusal(wrong, x, seed=seed)


def test_a_gradient_that_should_be_zero():
    x = np.random.default_rng(2).standard_normal(3)
    assert refusal(lambda x: (np.ones(2), lambda dy: np.zeros(3)), x) == ""
    assert "wrong" in refusal(lambda x: (np.ones(2), lambda dy: np.full(3, 1e-12)), x)


def test_nan_in_the_padding_of_an_argument():
    def first_row(x, where=0):
        def backward(dy):
            dx = np.zeros_like(x)
            dx[where] = 2 * x[0] * dy
            return dx

        return x[0] ** 2, backward

    x = np.array([[1.0, 2.0], [np.nan, np.inf]])
    assert refusal(first_row, x) == ""
    assert "respect to x is wrong at [1, " in refusal(lambda x: first_row(x, slice(None)), x)
    assert "output 0 is NaN at [1, 0]" in refusal(lambda x: (x * 1, lambda dy: dy), x)


# --- right gradients that are hard to measure ---------------------------------------------


def large_terms(x):
    large = 1e7 * x[0]
    y = np.array([large, np.sin(x[1]) + large - large])
    return y, lambda dy: np.array([1e7 * dy[0], np.cos(x[1]) * dy[1]])


def along_the_upstream(x):
    """The slope of x / |x| along x is zero."""
    y, backward = unit(x)
    dy = np.random.default_rng(3).standard_normal(x.shape)
    return np.sum(dy * y, axis=-1), lambda d: backward(d[:, None] * dy)


FAST = function(lambda x: np.sin(1e4 * x), lambda x: 1e4 * np.cos(1e4 * x))
LOGISTIC = function(lambda x: 0.5 * np.tanh(0.5 * x) + 0.5, lambda x: 0.25 / np.cosh(0.5 * x) ** 2)
HARD = {
    "a view": (lambda x: (x.T, lambda dy: dy.T), normal(1)),
    "a fast sine": (FAST, normal(1, 4)),
    "whole periods in a step": (FAST,
        lambda rng: (np.array([12.573022114, 2 * np.pi * rng.integers(1, 9)]),)),
    "logs of all scales": (LOG, lambda rng: (10.0 ** rng.uniform(-12, 3, 4),)),
    "saturated sigmoids": (ops.sigmoid, lambda rng: (np.array([*rng.uniform(-30, 30, 3), 0.5]),)),
    "small sums of terms of 1": (LOGISTIC, lambda rng: (rng.uniform(-30, -10, 8),)),
    "softmaxes with slopes near the last bit": (ops.softmax,
        lambda rng: (np.stack([np.zeros(3), -rng.uniform(26, 29, 3)], axis=1),)),
    "softmaxes with few digits left": (  # not taken for float32
        softmax,
        lambda rng: (np.stack([np.zeros(3), -rng.uniform(15, 45, 3)], axis=1),),
    ),
    "silu of large numbers": (ops.silu,
        lambda rng: (np.array([*(5 * rng.standard_normal(5)), 5.0]),)),
    "terms as large as an output that stands still": (large_terms, normal(1, 2)),
    "an upstream gradient along x": (along_the_upstream, normal(1e-4, 4, 3)),
    "nothing but rounding": (unit, normal(1e-6, 4, 1)),
    # numbers that are those of float32 by right
    "nothing but zeros": (lambda x: (np.zeros(2), lambda dy: np.zeros_like(x)), normal(1, 5)),
    "the upstream gradient": (lambda x: (x * 1, lambda dy: dy), lambda rng: (np.arange(1.0, 4),)),
    "signs": (lambda x: (np.sign(x), lambda dy: 0 * dy), normal(1, 5)),
    "differences of equals": (
        lambda x: (x / np.abs(x), lambda dy: (dy - dy * x * x / x**2) / np.abs(x)),
        lambda rng: (np.array([1.0, 2.0, -3.0]),),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HARD)
def test_right_gradients_that_are_hard_to_measure(name):
    op, draw = HARD[name]
    for seed in range(10):
        assert refusal(op, *draw(np.random.default_rng(seed)), seed=seed) == ""


def test_sums_that_begin_with_rounding_are_linear_enough():
    def op(x):
        return x**2, lambda dy: 2 * x * dy + 2.0**27 - 2.0**27

    x = 1 + np.random.default_rng(1).standard_normal(4) ** 2
    y, backward = op(x)
    assert np.any(backward(y) != -backward(-y))
    assert refusal(op, x) == ""


# --- float32 in the middle ----------------------------------------------------------------


def single(x):
    return x.astype(np.float32).astype(np.float64)


@pytest.mark.parametrize(
    "op",
    [
        lambda x, cast: (x**2, lambda dy: cast(2 * x * dy)),
        lambda x, cast: (x.sum(axis=0), lambda dy: cast(np.broadcast_to(dy, x.shape))),
        lambda x, cast: (np.maximum(x, 0), lambda dy: cast(dy) * (x > 0)),
        lambda x, cast: (3 * x, lambda dy: cast(3 * dy)),
        lambda x, cast: (softmax(x)[0], lambda dy: cast(softmax(x)[1](dy))),
    ],
)
def test_a_backward_in_float32_is_found(op):
    for seed in range(3):
        x = np.random.default_rng(seed).standard_normal((4, 3))
        x += 0.05 * np.sign(x)
        assert refusal(op, x, np.asarray, seed=seed) == ""
        assert "with respect to x are rounded to float32" in refusal(op, x, single, seed=seed)


def test_one_gradient_of_several_in_float32_is_found():
    wrong = spoiled(linear, lambda g, *_: [g[0], single(g[1]), g[2]])
    message = refusal(wrong, *linear_arguments(np.random.default_rng(0)))
    assert "with respect to W are rounded to float32" in message


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda dy: dy, ""),
        (single, "the same if dy is rounded to float32"),
        (lambda dy: np.clip(dy, -4, 4), "for 2**40 dy"),
        (lambda dy: dy * min(1, 10 / np.linalg.norm(dy)), "for 2**40 dy"),
        (lambda dy: np.where(np.abs(dy) > 4, 0, dy), "for 2**40 dy"),
        (lambda dy: dy.ravel("K").reshape(dy.shape), "dy that is not contiguous"),
    ],
)
def test_what_a_backward_does_to_some_upstream_gradients_alone(spoil, message):
    """The random dy is of size 1, contiguous, and in float64: as few in a training are."""

    def op(x, y):
        return x * y, lambda dy: (spoil(dy) * y, spoil(dy) * x)

    for seed in range(3):
        x, y = np.random.default_rng(seed).standard_normal((2, 3, 3))
        found = refusal(op, x, y, seed=seed)
        assert message in found
        assert bool(message) == bool(found)


def test_an_upstream_gradient_that_is_not_contiguous_may_be_refused():
    def backward(dy):
        if not dy.flags.c_contiguous:
            raise ValueError("expected a contiguous array")
        return 2 * dy

    assert refusal(lambda x: (2 * x, backward), np.ones((2, 3))) == ""


def test_a_forward_in_float32_is_told():
    def op(x):
        return single(np.tanh(x)), lambda dy: dy * (1 - np.tanh(x) ** 2)

    assert "fits a forward that rounds to float32" in refusal(op, np.linspace(-1, 2, 3) / 3)
    # Whole numbers are numbers of float32, too.
    message = refusal(lambda x: (2 * x, lambda dy: 2.01 * dy), np.arange(3.0))
    assert "is wrong" in message
    assert "float32" not in message


# --- arrays without axes ------------------------------------------------------------------


def scaled(x, W):
    return x * W, lambda dy: (np.sum(dy * W), dy * x)


def test_numbers_that_numpy_makes_of_arrays_without_axes():
    def op(x, off=0.0):
        return x * 2, lambda dy: dy * (2 + off)

    x = np.array(2.0)
    assert isinstance(op(x)[0], np.float64)
    assert refusal(op, x) == ""
    assert refusal(op, x, 0.1)
    assert refusal(scaled, x, np.linspace(-1, 1, 3)) == ""
    for check in (check_layouts, check_float32):
        check(op, x, rng=np.random.default_rng(0))
    for wrong, x, message in (
        (lambda x: (x * 2, lambda dy: np.float32(dy * 2)), x, "with respect to x is float32"),
        (lambda x: (x * 2, lambda dy: float(dy * 2)), x, "respect to x is no array: float"),
        (lambda x: (x * 2, lambda dy: (dy * 2)[0]), np.ones(1), "has shape (), expected (1,)"),
    ):
        assert message in refusal(wrong, x)
