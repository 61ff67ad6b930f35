"""Faults that a check at one point could miss, and right ops that look like them."""

import numpy as np
import pytest

from minillm.testing import GradientError, check_gradients, check_projections
from minillm.testing.calls import normals_like
from minillm.testing.variants import check_float32, check_layouts


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def accepted(op, *args, seed=0, **options):
    try:
        check_gradients(op, *args, rng=np.random.default_rng(seed), **options)
    except GradientError:
        return False
    return True


# --- an argument from a generator of the same seed ------------------------------------------


@pytest.mark.parametrize(
    "op",
    [
        lambda x: (x**2, lambda dy: 2 * x * x),
        lambda x: (x**2, lambda dy: 2 * dy * dy),
        lambda x: (np.tanh(x), lambda dy: dy * (1 - np.tanh(dy) ** 2)),
    ],
)
def test_x_and_dy_differ_though_their_generators_have_one_seed(op):
    for seed in range(3):
        assert not accepted(op, normal(seed, 3, 4), seed=seed)


def test_every_draw_of_the_checker_has_a_stream_of_its_own():
    """The other checks, with arguments from a generator of the same seed."""
    seen = []

    def square(x):
        def backward(dy):
            seen.append(dy.astype(x.dtype))
            return 2 * x * dy

        return x**2, backward

    x = normal(0, 3, 4)
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


def test_later_draws_differ():
    rng = np.random.default_rng(0)
    once, again = (normals_like([np.zeros(3)], rng)[0] for _ in range(2))
    assert not np.array_equal(once, again)
    assert not np.array_equal(once, normal(0, 3))
    assert rng.standard_normal() == np.random.default_rng(0).standard_normal()


# --- a backward is linear -------------------------------------------------------------------


def depends_on_a_sign(x):
    return x**2, lambda dy: (2 if dy.flat[0] > 0 else 3) * x * dy


def depends_on_the_other_sign(x):
    return x**2, lambda dy: (2 if dy.flat[0] < 0 else 3) * x * dy


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
    "op",
    [
        depends_on_a_sign,
        depends_on_the_other_sign,
        wrong_from_the_third_call,
        has_another_shape_from_the_third_call,
    ],
)
def test_the_opposite_upstream_gradient_has_the_opposite_gradient(op):
    for seed in range(4):
        assert not accepted(op, normal(9, 2, 3), seed=seed)
    with pytest.raises(GradientError, match="every gradient is right, but for -dy"):
        check_gradients(wrong_from_the_third_call, normal(9, 3), rng=np.random.default_rng(0))


def test_sums_that_begin_with_rounding_are_linear_enough():
    def op(x):
        return x**2, lambda dy: 2 * x * dy + 2.0**27 - 2.0**27

    x = 1 + normal(1, 4) ** 2
    y, backward = op(x)
    assert np.any(backward(y) != -backward(-y))
    assert accepted(op, x)


# --- numbers of all sizes -------------------------------------------------------------------


ELEMENTWISE = {
    "square": (lambda x: x**2, lambda x: 2 * x, [1, 1e6, -1e6]),
    "exponential": (np.exp, np.exp, [0.5, 20, 25]),
    "cube": (lambda x: x**3, lambda x: 3 * x**2, [1e-3, 1e3]),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_outputs_that_stand_still_hide_nothing(name):
    f, slope, x = ELEMENTWISE[name]
    x = np.array(x, float)

    def op(x, off=0.0):
        factors = 1 + off * (np.arange(len(x)) == 0)
        return f(x), lambda dy: factors * slope(x) * dy

    for seed in range(5):
        assert accepted(op, x, seed=seed)
        for off in (3e-6, 9e-4, 2e-3, 0.1):
            with pytest.raises(GradientError, match=r"respect to x is wrong at \[0\]"):
                check_gradients(op, x, off, rng=np.random.default_rng(seed))


def test_terms_as_large_as_an_output_that_stands_still_are_measured():
    def op(x):
        large = 1e7 * x[0]
        y = np.array([large, np.sin(x[1]) + large - large])
        return y, lambda dy: np.array([1e7 * dy[0], np.cos(x[1]) * dy[1]])

    for seed in range(20):
        assert accepted(op, normal(seed + 1, 2), seed=seed)


# --- float32 in the middle ------------------------------------------------------------------


def single(x):
    return x.astype(np.float32).astype(np.float64)


def softmax(x, cast):
    y = np.exp(x - x.max(axis=-1, keepdims=True))
    y /= y.sum(axis=-1, keepdims=True)
    return y, lambda dy: cast(y * (dy - np.sum(dy * y, axis=-1, keepdims=True)))


@pytest.mark.parametrize(
    "op",
    [
        lambda x, cast: (x**2, lambda dy: cast(2 * x * dy)),
        lambda x, cast: (x.sum(axis=0), lambda dy: cast(np.broadcast_to(dy, x.shape))),
        lambda x, cast: (np.maximum(x, 0), lambda dy: cast(dy) * (x > 0)),
        lambda x, cast: (3 * x, lambda dy: cast(3 * dy)),
        softmax,
    ],
)
def test_a_backward_in_float32_is_found(op):
    for seed in range(5):
        x = normal(seed, 4, 3)
        x += 0.05 * np.sign(x)
        assert accepted(op, x, np.asarray, seed=seed)
        with pytest.raises(GradientError, match="with respect to x are rounded to float32"):
            check_gradients(op, x, single, rng=np.random.default_rng(seed))


def test_one_gradient_of_several_in_float32_is_found():
    def op(x, W):
        return x @ W, lambda dy: (dy @ W.T, single(x.T @ dy))

    with pytest.raises(GradientError, match="with respect to W are rounded to float32"):
        check_gradients(op, normal(0, 3, 4), normal(1, 4, 2), rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    "op",
    [
        lambda x: (np.zeros(2), lambda dy: np.zeros_like(x)),  # nothing but zeros
        lambda x: (x * 1, lambda dy: dy),
        lambda x: (np.sign(x), lambda dy: 0 * dy),
        lambda x: (x / np.abs(x), lambda dy: (dy - dy * x * x / x**2) / np.abs(x)),
    ],
)
def test_numbers_that_are_those_of_float32_by_right_are_accepted(op):
    for x in (np.array([1.0, 2.0, -3.0]), normal(5, 5)):
        for seed in range(5):
            assert accepted(op, x, seed=seed)


def test_a_saturated_softmax_is_not_taken_for_float32():
    """Its gradient is a difference of nearly equal numbers: few digits are left."""
    for seed in range(20):
        x = np.stack([np.zeros(3), -np.random.default_rng(seed).uniform(15, 45, 3)], axis=1)
        assert accepted(lambda x: softmax(x, np.asarray), x, seed=seed)


def test_a_forward_in_float32_is_told():
    def op(x):
        return single(np.tanh(x)), lambda dy: dy * (1 - np.tanh(x) ** 2)

    with pytest.raises(GradientError, match="fits a forward that rounds to float32"):
        check_gradients(op, normal(0, 3), rng=np.random.default_rng(0))
    # Whole numbers are numbers of float32, too.
    with pytest.raises(GradientError) as caught:
        check_gradients(
            lambda x: (2 * x, lambda dy: 2.01 * dy), np.arange(3.0), rng=np.random.default_rng(0)
        )
    assert "float32" not in str(caught.value)


# --- gradients of zero at small arguments ---------------------------------------------------


def unit(x, off=0.0):
    size = np.sqrt(np.sum(x * x, axis=-1, keepdims=True))
    y = x / size
    return y, lambda dy: (1 + off) * (dy - y * np.sum(dy * y, axis=-1, keepdims=True)) / size


@pytest.mark.parametrize("scale", [1e-6, 1e-4, 1e-2, 1.0, 1e4])
def test_a_gradient_of_nothing_but_rounding_at_small_arguments(scale):
    for seed in range(10):
        assert accepted(unit, scale * normal(seed + 1, 4, 1), seed=seed)
        x = scale * normal(seed + 1, 4, 3)
        assert accepted(unit, x, seed=seed)
        assert not accepted(unit, x, 1e-3, seed=seed)


def test_a_direction_with_an_upstream_gradient_along_it():
    """The slope of x / |x| along x is zero."""
    x = 1e-4 * normal(3, 4, 3)

    def op(x):
        y, backward = unit(x)
        dy = normal(3, 4, 3)
        return np.sum(dy * y, axis=-1), lambda d: backward(d[:, None] * dy)

    for seed in range(5):
        assert accepted(op, x, seed=seed)


# --- arrays without axes --------------------------------------------------------------------


def test_numbers_that_numpy_makes_of_arrays_without_axes():
    def op(x, off=0.0):
        return x * 2, lambda dy: dy * (2 + off)

    x = np.array(2.0)
    assert isinstance(op(x)[0], np.float64)
    assert accepted(op, x)
    assert not accepted(op, x, 0.1)
    assert accepted(lambda x, W: (x * W, lambda dy: (np.sum(dy * W), dy * x)), x, normal(1, 3))
    with pytest.raises(GradientError, match="the gradient with respect to x is float32"):
        check_gradients(
            lambda x: (x * 2, lambda dy: np.float32(dy * 2)), x, rng=np.random.default_rng(0)
        )
    for check in (check_layouts, check_float32):
        check(op, x, rng=np.random.default_rng(0))


def test_a_number_in_place_of_an_array_with_axes_is_refused():
    with pytest.raises(GradientError, match=r"has shape \(\), expected \(1,\)"):
        check_gradients(
            lambda x: (x * 2, lambda dy: (dy * 2)[0]), np.ones(1), rng=np.random.default_rng(0)
        )
    with pytest.raises(GradientError, match="the gradient with respect to x is no array: float"):
        check_gradients(
            lambda x: (x * 2, lambda dy: float(dy * 2)), np.array(2.0), rng=np.random.default_rng(0)
        )
