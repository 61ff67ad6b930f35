"""Checks with other arrays: layouts, empty ones, float32.  tests/ops tries all ops with them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.testing import GradientError
from minillm.testing.strategies import generators, sizes
from minillm.testing.variants import check_float32, check_layouts

from .faulty import linear, linear_arguments, writes_to_upstream


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
