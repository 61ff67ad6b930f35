"""The checker itself: it must accept correct gradients, and catch every kind of mistake."""

import numpy as np
import pytest
from hypothesis import given

from minillm.testing import GradientError, check_gradients, check_projections, strategies


def linear(x, W, b, mistake=None):
    y = x @ W + b

    def backward(dy):
        dx, dW, db = dy @ W.T, x.T @ dy, dy.sum(axis=0)
        if mistake == "flipped sign":
            dx = -dx
        if mistake == "wrong scale":
            dW = dW / len(x)
        if mistake == "missing bias":
            db = np.zeros_like(db)
        if mistake == "one coordinate":
            dW[0, 0] *= 1 + 1e-4
        if mistake == "upstream of ones":
            db = np.full_like(db, len(x))
        if mistake == "not a number":
            dx[0, 0] = np.nan
        return dx, dW, db

    return y, backward


def rnn(x, h0, W, mistake=None):
    """h_t = tanh(x_t + h_{t-1} W), with mistakes that are easily made in recurrences."""
    hs = []
    h = h0
    for t in range(len(x)):
        h = np.tanh(x[t] + h @ W)
        hs.append(h)

    def backward(dhs, dh_last=None):
        dh = np.zeros_like(h0) if dh_last is None or mistake == "last state" else dh_last
        dx, dW = np.zeros_like(x), np.zeros_like(W)
        for t in reversed(range(len(x))):
            stale = mistake == "stale timestep" and t > 1
            h_prev = h0 if t == 0 or (mistake == "initial state" and t < 2) else hs[t - 1 - stale]
            upstream = 0 if dhs is None else dhs[t]
            da = (dh + upstream) * (1 - hs[t] ** 2)
            dx[t] = da
            dW += np.outer(h_prev, da)
            dh = da @ W.T
            if mistake == "truncated" and t == 1:
                dh = np.zeros_like(dh)
        return dx, dh, dW

    return (np.array(hs), h), backward


def linear_arguments(rng):
    return rng.standard_normal((3, 4)), rng.standard_normal((4, 2)), rng.standard_normal(2)


def rnn_arguments(rng):
    return rng.standard_normal((4, 3)), rng.standard_normal(3), rng.standard_normal((3, 3))


@given(rng=strategies.generators())
def test_right_gradients_pass(rng):
    assert check_gradients(linear, *linear_arguments(rng), rng=rng) < 1e-7
    # Where the curve is steep, the h^4 of the widest step comes near to the tolerance.
    assert check_gradients(rnn, *rnn_arguments(rng), rng=rng) <= 1e-6


@pytest.mark.parametrize(
    ("mistake", "argument"),
    [
        ("flipped sign", "x"),
        ("wrong scale", "W"),
        ("missing bias", "b"),
        ("one coordinate", "W"),
        ("upstream of ones", "b"),
        ("not a number", "x"),
    ],
)
@given(rng=strategies.generators())
def test_a_wrong_linear_is_caught(mistake, argument, rng):
    args = (*linear_arguments(rng), mistake)
    with pytest.raises(GradientError, match=f"gradient with respect to {argument} is wrong"):
        check_gradients(linear, *args, rng=rng)


@pytest.mark.parametrize("mistake", ["stale timestep", "initial state", "last state", "truncated"])
@given(rng=strategies.generators())
def test_a_wrong_recurrence_is_caught(mistake, rng):
    with pytest.raises(GradientError, match="wrong at"):
        check_gradients(rnn, *rnn_arguments(rng), mistake, rng=rng)


def test_the_message_names_the_worst_coordinate():
    rng = np.random.default_rng(0)
    with pytest.raises(
        GradientError, match=r"respect to W is wrong at \[0, 0\].* 1 of 8 of its coord"
    ):
        check_gradients(linear, *linear_arguments(rng), "one coordinate", rng=rng)


def test_an_output_may_be_a_view_of_an_argument():
    rng = np.random.default_rng(0)
    check_gradients(lambda x: (x.T, lambda dy: dy.T), rng.standard_normal((2, 3)), rng=rng)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_small_and_large_gradients_are_held_to_the_same_relative_tolerance(scale):
    rng = np.random.default_rng(1)
    x = rng.standard_normal(5)
    check_gradients(lambda x: (scale * x**2, lambda dy: 2 * scale * x * dy), x, rng=rng)
    with pytest.raises(GradientError, match="wrong"):
        check_gradients(
            lambda x: (scale * x**2, lambda dy: (2 + 1e-5) * scale * x * dy), x, rng=rng
        )


def test_a_gradient_that_should_be_zero():
    rng = np.random.default_rng(2)
    x = rng.standard_normal(3)
    check_gradients(lambda x: (np.ones(2), lambda dy: np.zeros(3)), x, rng=rng)
    with pytest.raises(GradientError, match="wrong"):
        check_gradients(lambda x: (np.ones(2), lambda dy: np.full(3, 1e-12)), x, rng=rng)


def test_kinks():
    def relu(x):
        return np.maximum(x, 0), lambda dy: dy * (x > 0)

    rng = np.random.default_rng(3)
    check_gradients(relu, np.array([1e-3, -1e-3, 1.0]), rng=rng)  # close to the kink, but not on it
    with pytest.raises(GradientError, match=r"lies on a kink .* move it away"):
        check_gradients(relu, np.array([0.0, 1.0]), rng=rng)
    with pytest.raises(GradientError, match=r"wrong at \[1\]") as caught:
        check_gradients(lambda x: (relu(x)[0], lambda dy: dy), np.array([1.0, -1.0]), rng=rng)
    assert "kink" not in str(caught.value)


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
    function, x, (left, right) = KINKED[name]

    def check(slope, **options):
        def op(x):
            return dy * function(x), lambda upstream: np.array([slope * dy]) * upstream

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


def test_between_accepts_nothing_where_both_sides_agree():
    def check(function, slope, x):
        def op(x):
            return function(x), lambda dy: slope(x) * dy

        check_gradients(op, np.array(x), rng=np.random.default_rng(0), kinks="between")

    def identity(x):
        return np.maximum(x, 0) - np.maximum(-x, 0)

    check(identity, np.ones_like, [0.0, 1.0])
    for function, slope, x in (
        (identity, lambda x: (x != 0) * 1.0, [0.0, 1.0]),  # relu'(0) = 0 in both terms
        (np.square, lambda x: 2.001 * x, [0.5]),
        (lambda x: np.maximum(x, 0), lambda x: (x > 0) / 2, [0.0, 1.0]),
        (np.sign, np.ones_like, [0.0]),  # a jump
        (np.sqrt, np.ones_like, [0.0]),  # without a slope on either side
    ):
        with pytest.raises(GradientError, match="wrong"):
            check(function, slope, x)


def test_a_tie_is_a_kink_of_both_arguments():
    def maximum(a, b):
        def backward(dy):
            return (a > b) * dy + (a == b) * dy / 4, (b > a) * dy + (a == b) * 3 * dy / 4

        return np.maximum(a, b), backward

    a, b = np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0])
    check_gradients(maximum, a, b, rng=np.random.default_rng(0), kinks="between")
    with pytest.raises(GradientError, match="kink"):
        check_gradients(maximum, a, b, rng=np.random.default_rng(0))


def test_a_step_that_is_given_measures_kinks_as_well():
    x = np.array([0.0, 1.0])

    def relu(x):
        return np.maximum(x, 0), lambda dy: dy * (x > 0)

    rng = np.random.default_rng(0)
    assert check_gradients(relu, x, rng=rng, kinks="between", step=1e-5) < 1e-6


def test_options_of_kinks():
    x, rng = np.ones(1), np.random.default_rng(0)

    def op(x):
        return 2 * x, lambda dy: 2 * dy

    with pytest.raises(ValueError, match='expected "refuse" or "between", found 0'):
        check_gradients(op, x, rng=rng, kinks=0)


def mutates_argument(x):
    x += 1
    return x * 1, lambda dy: dy


def mutates_upstream(x):
    def backward(dy):
        dy *= 2
        return dy

    return 2 * x, backward


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


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (mutates_argument, "changed its argument x"),
        (
            mutates_upstream,
            "every gradient is right, but the backward changed its upstream gradient dy",
        ),
        (mutates_output, "changed output 0"),
        (accumulates, "second call of the backward gave other gradients"),
        (lambda x: ((x * 1, x * 1), lambda da, db: da + db), "does not take None"),
        (two_outputs_none_is_one, "None in place of a zero gradient of output 1"),
        (lambda x: (x * 1, lambda dy: (dy, dy)), "returned 2 gradients, expected 1: x"),
        (lambda x: (x * 1, lambda dy: dy.sum()), r"has shape \(\), expected \(3,\)"),
        (lambda x: (x * 1, lambda dy: dy[:, None]), r"has shape \(3, 1\), expected \(3,\)"),
        (
            lambda x: (x * 1, lambda dy: dy.astype(np.float32)),
            "right, but the gradient with respect to x is float32",
        ),
    ],
)
def test_breaches_of_the_convention_are_caught(op, message):
    rng = np.random.default_rng(4)
    with pytest.raises(GradientError, match=message):
        check_gradients(op, np.array([1.0, 2.0, 3.0]), rng=rng)


def test_float32_is_refused_and_so_is_nothing_to_check():
    rng = np.random.default_rng(5)
    with pytest.raises(TypeError, match="x is float32: gradients are checked in float64"):
        check_gradients(mutates_upstream, np.ones(2, np.float32), rng=rng)
    with pytest.raises(TypeError, match="no gradient to check"):
        check_gradients(mutates_upstream, np.ones(2, int), rng=rng)


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


def wrong_square(x):
    return x**2, lambda dy: dy


@pytest.mark.parametrize("tolerance", [0.0, -1e-6, 1.0, np.inf, np.nan])
def test_a_tolerance_that_accepts_anything_is_refused(tolerance):
    rng, params = np.random.default_rng(7), {"w": np.ones(2)}
    with pytest.raises(ValueError, match="tolerance: expected a number above 0 and below 1, found"):
        check_gradients(wrong_square, np.ones(2), rng=rng, tolerance=tolerance)
    with pytest.raises(ValueError, match="tolerance: expected"):
        check_projections(lambda: (0.0, dict), params, rng=rng, tolerance=tolerance)


@pytest.mark.parametrize("miss", [0.0, 1.0, -1e-6, np.nan])
def test_a_probability_that_no_directions_reach_is_refused(miss):
    with pytest.raises(ValueError, match="miss: expected a probability above 0 and below 1, found"):
        check_projections(lambda: (0.0, dict), {}, rng=np.random.default_rng(8), miss=miss)


def test_nan_in_the_padding_of_an_argument():
    def first_row(x):
        def backward(dy, where=0):
            dx = np.zeros_like(x)
            dx[where] = 2 * x[0] * dy
            return dx

        return x[0] ** 2, backward

    rng, x = np.random.default_rng(9), np.array([[1.0, 2.0], [np.nan, np.inf]])
    check_gradients(first_row, x, rng=rng)
    with pytest.raises(GradientError, match=r"respect to x is wrong at \[1, [01]\]"):
        check_gradients(
            lambda x: (x[0] ** 2, lambda dy: first_row(x)[1](dy, slice(None))), x, rng=rng
        )
    with pytest.raises(GradientError, match=r"output 0 is NaN at \[1, 0\]"):
        check_gradients(lambda x: (x * 1, lambda dy: dy), x, rng=rng)


def test_a_loss_that_is_not_finite_is_told():
    with pytest.raises(GradientError, match="the loss is nan"):
        check_projections(lambda: (np.nan, dict), {}, rng=np.random.default_rng(10))


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


@pytest.mark.parametrize("weights", [[np.ones(2)], {"W": np.ones(2)}, (1, {"W": [np.ones(2)]})])
def test_float_arrays_inside_of_lists_are_refused(weights):
    with pytest.raises(TypeError, match="weights: expected each float array as an argument of its"):
        check_gradients(
            lambda x, weights: (x * 1, lambda dy: dy),
            np.ones(2),
            weights,
            rng=np.random.default_rng(12),
        )
    check_gradients(
        lambda x, sizes, ids: (x * 1, lambda dy: dy),
        np.ones(2),
        [3, 0.5],
        (np.arange(3),),
        rng=np.random.default_rng(12),
    )


def test_complex_arrays_are_refused():
    with pytest.raises(TypeError, match="z is complex128: gradients are checked in float64"):
        check_gradients(
            lambda x, z: (x * 1, lambda dy: dy),
            np.ones(2),
            np.ones(2, complex),
            rng=np.random.default_rng(13),
        )


def test_the_step_of_the_caller():
    def log(x):
        if np.any(x <= 0):
            raise ValueError("not positive")
        return np.log(x), lambda dy: dy / x

    rng, x = np.random.default_rng(14), 1e-5 * np.arange(1, 4)
    with pytest.raises(ValueError, match="not positive"):
        check_gradients(log, x, rng=rng)
    check_gradients(log, x, rng=rng, step=1e-8)
    with pytest.raises(GradientError, match="wrong"):
        check_gradients(lambda x: (log(x)[0], lambda dy: 1.01 * dy / x), x, rng=rng, step=1e-8)
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


def test_a_loss_that_is_mostly_a_constant_cannot_be_decided():
    params = {"w": np.arange(1.0, 4)}

    def loss():
        return np.tanh(params["w"]).sum() + 1e13, lambda: {"w": 1 - np.tanh(params["w"]) ** 2}

    with pytest.raises(
        GradientError, match="respect to w cannot be decided along a random direction"
    ):
        check_projections(loss, params, rng=np.random.default_rng(15))
