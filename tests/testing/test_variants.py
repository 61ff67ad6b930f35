"""Our ops with other arrays (layouts, empty, float32), and the directions of projections."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm import use_kernels
from minillm.ops.gradient_cases import CASES
from minillm.testing import GradientError, check_projections
from minillm.testing.strategies import generators, sizes
from minillm.testing.variants import check_float32, check_layouts


def linear(x, W):
    return x @ W, lambda dy: (dy @ W.T, x.T @ dy)


# --- layouts --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_our_ops_do_not_depend_on_the_layout(name, kernels):
    rng = np.random.default_rng(0)
    op, args = CASES[name](rng)
    with use_kernels(kernels):
        check_layouts(op, *args, rng=rng)


@given(rng=generators(), shapes=sizes(B=(0, 3), I=(0, 3), O=(0, 3)))
def test_a_right_op_passes_in_any_layout(rng, shapes):
    B, I, O = shapes.values()
    args = rng.standard_normal((B, I)), rng.standard_normal((I, O))
    check_layouts(linear, *args, rng=rng)
    check_layouts(linear, *(a.astype(np.float32) for a in args), rng=rng)


def in_memory_order(x):
    return x.ravel(order="K").reshape(x.shape) * 2, lambda dy: 2 * dy


def of_bytes(x):
    return x.view(np.uint8).view(np.float64) * 2, lambda dy: 2 * dy


def writes_to_upstream(x):
    def backward(dy):
        dy *= 2
        return dy

    return 2 * x, backward


def stacks_rows(x):
    return x.sum(axis=0), lambda dy: np.stack([dy for _ in x])


def memory_of_upstream(x):
    return x * 2, lambda dy: dy.ravel(order="K").reshape(x.shape) * 2


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (in_memory_order, "x in column order: output 0 differs from the output of a plain copy"),
        (of_bytes, "x strided: the op raised ValueError"),
        (writes_to_upstream, "the gradient of output 0 read-only: the backward raised ValueError"),
        (memory_of_upstream, "the gradient of output 0 in column order: gradient 0 differs from"),
        (stacks_rows, "with axes of length 2 made empty: the backward raised ValueError"),
    ],
)
def test_an_op_that_depends_on_the_layout_is_caught(op, message):
    rng = np.random.default_rng(0)
    with pytest.raises(GradientError, match=message):
        check_layouts(op, rng.standard_normal((2, 3)), rng=rng)


# --- float32 --------------------------------------------------------------------------------


# The mask of a dropout is drawn in the dtype of its input; only a float32 is rounded to integers.
@pytest.mark.parametrize("name", sorted(CASES.keys() - {"dropout"}))
def test_our_ops_are_right_in_float32(name, kernels):
    with use_kernels(kernels):
        for seed in range(3):
            rng = np.random.default_rng(seed)
            op, args = CASES[name](rng)
            check_float32(op, *args, rng=rng)


def careless_softmax(x):
    y = np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)
    return y, lambda dy: (dy - (dy * y).sum(axis=-1, keepdims=True)) * y


def careless_variance(x):
    mean = x.mean(axis=-1, keepdims=True)
    y = (x**2).mean(axis=-1) - mean[..., 0] ** 2
    return y, lambda dy: 2 * dy[..., None] * (x - mean) / x.shape[-1]


def in_half_of_its_precision(x):
    return 2 * x.astype(f"f{x.itemsize // 2}").astype(x.dtype), lambda dy: 2 * dy


def in_double_precision(x):
    return 2.0 * x.astype(np.float64), lambda dy: 2 * dy


@given(rng=generators(), scale=st.sampled_from([1e-3, 1.0, 1e3]))
def test_float32_where_it_is_right(rng, scale):
    x = scale * rng.standard_normal((3, 4))
    assert check_float32(lambda x: (x**3, lambda dy: 3 * x**2 * dy), x, rng=rng) < 8
    assert check_float32(linear, x, x.T.copy(), rng=rng) < 8


@pytest.mark.parametrize(
    ("op", "x", "message"),
    [
        (careless_softmax, [[0.0, 100.0]], "output 0 in float32 is wrong by inf"),
        (careless_variance, 3000 + np.arange(4.0), "output 0 in float32 is wrong by"),
        (in_half_of_its_precision, np.pi * np.arange(4), "output 0 in float32 is wrong by"),
        (in_double_precision, np.ones(3), "output 0 is float64, expected float32"),
        (lambda x: (2 * x, lambda dy: dy * np.float64(2)), np.ones(3), "to x is float64"),
    ],
)
def test_float32_where_it_is_wrong(op, x, message):
    with np.errstate(all="ignore"), pytest.raises(GradientError, match=message):
        check_float32(op, np.array(x), rng=np.random.default_rng(0))


# --- the probability that random directions miss --------------------------------------------


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
    ],
)
def test_what_is_no_loss_with_a_backward_is_told_in_words(loss, message):
    params = {"w": np.ones(3)}
    with pytest.raises(GradientError, match=message):
        check_projections(lambda: loss(params["w"]), params, rng=np.random.default_rng(0))


def test_a_constant_loss_has_no_gradient():
    params = {"w": np.ones(3)}
    assert (
        check_projections(
            lambda: (0.0, lambda: {"w": np.zeros(3)}), params, rng=np.random.default_rng(0)
        )
        == 0
    )
