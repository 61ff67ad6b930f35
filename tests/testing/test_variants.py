"""Checks with other arrays: layouts, empty ones, formats.  tests/ops tries all ops with them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm import ops, use_kernels, use_precision
from minillm.ops.gradient_cases import CASES
from minillm.testing import GradientError, arrays, check_float32, check_gradients, check_layouts
from minillm.testing.precision import check_precision
from minillm.testing.strategies import generators, sizes

from .faulty import linear, linear_arguments, rnn, softmax, writes_to_upstream


@given(rng=generators(), shapes=sizes(B=(0, 3), I=(0, 3), O=(0, 3)))
def test_a_right_op_passes_in_any_layout(rng, shapes):
    args = linear_arguments(rng, **shapes)
    check_layouts(linear, *args, rng=rng)
    check_layouts(linear, *(a.astype(np.float32) for a in args), rng=rng)


def in_memory_order(x):
    return x.ravel(order="K").reshape(x.shape) * 2, lambda dy: 2 * dy


def of_bytes(x):
    return x.view(np.uint8).view(np.float64) * 2, lambda dy: 2 * dy


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
    assert check_float32(linear, x, x.T.copy(), np.zeros(3), rng=rng) < 8


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


# --- float16 and bfloat16 -----------------------------------------------------------------


def normalised(x, gain):
    """With one feature its gradient is zero, with two a small difference of large terms."""
    eps, centred = x.dtype.type(1e-5), x - x.mean(axis=-1, keepdims=True)
    r = 1 / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps)
    y = centred * r

    def backward(dy):
        g = dy * gain
        means = g.mean(axis=-1, keepdims=True), (g * y).mean(axis=-1, keepdims=True)
        return (g - means[0] - y * means[1]) * r, (dy * y).sum(axis=0)

    return y * gain, backward


@pytest.mark.parametrize(
    ("op", "legend"),
    [(normalised, "T D, D"), (softmax, "T D"), (linear, "T I, I O, O"), (rnn, "T H, H, H H")],
)
@given(seed=st.integers(0, 2**32 - 1))
def test_float16_where_it_is_right(op, legend, seed):
    case = arrays(legend, seed=seed)
    check_precision(op, case, case.rng, "float16")


def only_in_float16(wrong, right):
    return lambda *args: (wrong if args[0].itemsize == 2 else right)(*args)


def product(x, *more, rows=None, k=None, times=1):
    """x W without some columns of x, and a gradient without some rows."""
    y, W = x[:, :k] @ more[0][:k] * x.dtype.type(times), more[0]
    return y, lambda dy: (dy @ W.T, x[:rows].T @ dy[:rows])


def mean_one_by_one(x):
    y = np.cumsum(np.repeat(x, 600), dtype=x.dtype)[-1] * x.dtype.type(1 / x.size / 600)
    return y, lambda dy: dy * np.full_like(x, 1 / x.size)


def square(x, slope=2):
    return x * x, lambda dy: slope * x * dy


def coarse(x):
    """It keeps four digits of dy."""
    return x * x, lambda dy: 2 * x * np.ldexp(np.rint(16 * np.frexp(dy)[0]) / 16, np.frexp(dy)[1])


X = np.random.default_rng(0).uniform(0.5, 1.5, (3, 5))


@pytest.mark.parametrize(
    ("op", "args", "message"),
    [
        (lambda x: square(x, 1), [X], "x is wrong at .*numeric"),  # in float64, too
        (lambda x: square(x, -2), [X], "x is wrong at .*numeric"),
        (lambda x, W: product(x, W, rows=-1), [X, X.T], "W is wrong at .*numeric"),
        (only_in_float16(lambda x: square(x, 1), square), [X], "in float16 is wrong by"),
        (only_in_float16(lambda x: square(x, -2), square), [X], "in float16 is wrong by"),
        (only_in_float16(lambda *a: product(*a, k=-1), product), [X, X.T], "output 0 in float16"),
        (only_in_float16(lambda *a: product(*a, rows=1), product), [X, X.T],
         "gradient .* in float16 is wrong by"),
        (only_in_float16(coarse, square), [X], "in float16 is wrong by"),
        (careless_softmax, [[[0.0, 12.0]]], "nan, in float64 0.99.*does a step exceed 65504"),
        (careless_variance, [X + 99], "output 0 in float16 is wrong by"),
        (mean_one_by_one, [X], "output 0 in float16 is wrong by"),
        (lambda x: (1e4 * (x * x), lambda dy: 2e4 * x * dy), [X / 1e4],
         ": 0, .*a step fall below 6e-"),
        (lambda x: square(x, np.float64(2)), [X], "respect to x is float64, expected float16"),
        (lambda x: (x * 1e-9, lambda dy: dy * 1e-9), [X], "output 0 in float16 is wrong by inf"),
    ],
)  # fmt: skip
def test_float16_where_it_is_wrong(op, args, message):
    args = [np.array(a) for a in args]
    with pytest.raises(GradientError, match=message):
        check_gradients(op, *args, rng=np.random.default_rng(0), dtype="float16")


def test_dtypes_that_cannot_be_checked():
    for dtype in ("float8", np.float64):
        with pytest.raises(ValueError, match="dtype: expected float32, float16, bfloat16, f"):
            check_gradients(square, X, rng=np.random.default_rng(0), dtype=dtype)
    with pytest.raises(ValueError, match="x: expected numbers up to 65504 in float16"):
        check_gradients(square, 1e5 * X, rng=np.random.default_rng(0), dtype=np.float16)


@pytest.mark.parametrize("kernels", ["numpy", "auto"])
@pytest.mark.parametrize("name", ["linear", "gru", "lstm", "min_gru", "min_lstm", "rnn"])
def test_our_products_in_bfloat16(name, kernels):
    """They are no further off than their operands; float32 itself is hardly off in these units."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        op, args = CASES[name](rng)
        with use_kernels(kernels), use_precision("bfloat16"):
            assert 0.02 < check_precision(op, args, rng, "bfloat16") < 1
        assert check_precision(op, args, rng, "bfloat16") < 0.02


def test_a_wrong_product_in_bfloat16_is_found():
    def without_the_last(x, W, b):
        k = -1 if x.dtype == np.float32 else None
        y, backward = ops.linear(x[:, :k].copy(), W[:k].copy(), b)
        return y, lambda dy: backward(dy) if k is None else ops.linear(x, W, b)[1](dy)

    args = arrays("T I, I O, O", T=4, I=5, O=3)
    with use_precision("bfloat16"), pytest.raises(GradientError, match="output 0 in bfloat16 is"):
        check_gradients(without_the_last, *args, rng=args.rng, dtype="bfloat16")
