"""Rounding to bfloat16, and the precision that is in force."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from minillm import ops, use_kernels, use_precision
from minillm.errors import InputError
from minillm.ops.bfloat16 import round_to_bfloat16
from minillm.ops.linear import product

HALF = 0x8000  # of the last place that stays
# Bits of any float32, and of those half-way between two bfloat16.
BITS = st.one_of(st.integers(0, 2**32 - 1), st.integers(0, 2**16 - 1).map(lambda x: x << 16 | HALF))


def value(bits):
    """The number of a bfloat16 without its sign; behind the largest follows 2^128."""
    return np.where(bits == 0x7F800000, 2.0**128, bits.view(np.float32).astype(float))


@given(arrays(np.uint32, 20, elements=BITS))
def test_the_nearest_of_two_or_the_even_one(bits):
    x = bits.view(np.float32)
    y = round_to_bfloat16(x)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(x))
    finite = np.isfinite(x)
    np.testing.assert_array_equal(y[np.isinf(x)], x[np.isinf(x)])
    np.testing.assert_array_equal(np.signbit(y), np.signbit(x))
    below = bits[finite] & 0x7FFF0000
    to_below = np.abs(x[finite]).astype(float) - value(below)
    to_above = value(below + 0x10000) - np.abs(x[finite]).astype(float)
    even = below >> 16 & 1 == 0
    is_below = (to_below < to_above) | ((to_below == to_above) & even)
    expected = np.where(is_below, below, below + 0x10000)
    np.testing.assert_array_equal(y[finite].view(np.uint32) & 0x7FFFFFFF, expected)


def test_rounding_of_any_layout():
    x = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
    np.testing.assert_array_equal(
        round_to_bfloat16(x.T[::2, ::-1]), round_to_bfloat16(x).T[::2, ::-1]
    )
    assert round_to_bfloat16(x[:0]).shape == (0, 8)


@pytest.mark.parametrize("kernels", ["numpy", "auto"])
def test_forward_and_backward_of_linear_round_what_they_multiply(kernels):
    """Only that: the bias and its gradient stay as they are."""
    rng = np.random.default_rng(0)
    x, W, b, dy = (rng.normal(size=s).astype(np.float32) for s in ((4, 5, 6), (6, 7), 7, (4, 5, 7)))
    with use_kernels(kernels), use_precision("bfloat16"):
        y, backward = ops.linear(x, W, b)
        dx, dW, db = backward(dy)
    x, W, rounded = round_to_bfloat16(x), round_to_bfloat16(W), round_to_bfloat16(dy)
    np.testing.assert_allclose(y, x @ W + b, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(dx, rounded @ W.T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(dW, np.einsum("bti,bto->io", x, rounded), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(db, dy.sum(axis=(0, 1)), rtol=1e-5, atol=1e-5)


def test_a_precision_is_in_force_in_its_block_and_thread_alone():
    a = np.full((1, 1), 1 + 2**-9, np.float32)

    def rounds():
        return product(a, np.ones_like(a))[0, 0] == 1

    found = []
    with use_precision("bfloat16"):
        assert rounds()
        thread = threading.Thread(target=lambda: found.append(rounds()))
        thread.start()
        thread.join()
        with use_precision("float32"):
            assert not rounds()
        with (
            pytest.raises(InputError, match="one of float32, bfloat16; found 'half'"),
            use_precision("half"),
        ):
            pass
        assert rounds()
        assert product(a.astype(float), a.astype(float))[0, 0] > 1  # float64
    assert not rounds()
    assert found == [False]
