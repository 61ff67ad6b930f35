"""Products in bfloat16: a Cython kernel equals its NumPy original, up to the rounding of sums."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm import use_precision
from minillm._kernels import slow_bfloat16
from minillm.ops.bfloat16 import round_to_bfloat16

from .twin_cases import NAMES, TOLERANCE, WIDTHS, Draw, after_sequence, sequence

SMALLEST = 2.0**-126  # what is smaller, the instruction takes as zero


def in_bfloat16(function, *arguments):
    with use_precision("bfloat16"):
        return function(*arguments)


def operands(rng, M, K, N, transposed=(False, False)):
    a, b = rng.normal(size=(K, M) if transposed[0] else (M, K)), rng.normal(size=(K, N))
    b = np.ascontiguousarray(b.T) if transposed[1] else b
    a, b = a.astype(np.float32), b.astype(np.float32)
    return a.T if transposed[0] else a, b.T if transposed[1] else b


def assert_product(y, a, b, bias=0.0):
    """y is the product of the rounded operands.

    The products are exact.  Each of the K additions, and that of the bias, rounds a sum that is at
    most that of all magnitudes, by 2^-24 of it, or 2^-23 where the CPU rounds in its own way.
    """
    a, b = (round_to_bfloat16(x).astype(float) for x in (a, b))
    K = a.shape[1]
    bound = (K + 1) * 2.0**-23 * (np.abs(a) @ np.abs(b) + np.abs(bias))
    bound += SMALLEST * (np.abs(a).sum(axis=1)[:, None] + np.abs(b).sum(axis=0) + 2 * K)
    assert (np.abs(y - (a @ b + bias)) <= bound).all()


@given(WIDTHS, WIDTHS, WIDTHS, st.tuples(st.booleans(), st.booleans()), st.integers(0, 99))
def test_matmul(twin, M, K, N, transposed, seed):
    rng = np.random.default_rng(seed)
    a, b = operands(rng, M, K, N, transposed)
    bias = rng.normal(size=N).astype(np.float32)
    assert_product(in_bfloat16(twin.matmul, a, b), a, b)
    assert_product(in_bfloat16(twin.matmul, a, b, bias), a, b, bias)
    a, b = a[::2, ::-3], b[::-1, ::2][: len(range(0, K, 3))]
    assert_product(in_bfloat16(twin.matmul, a, b), a, b)
    assert in_bfloat16(twin.matmul, a[:, :0], b[:0]).shape == (len(a), b.shape[1])


@pytest.mark.parametrize(
    ("M", "K", "N"), [(2, 3001, 70), (300, 1301, 300), (1100, 1041, 40), (7, 3, 1900)]
)
@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True)])
def test_matmul_beyond_one_block(twin, same_bits, M, K, N, transposed):
    a, b = operands(np.random.default_rng(0), M, K, N, transposed)
    with use_precision("bfloat16"):
        assert_product(same_bits(twin.matmul, a, b), a, b)


def test_matmul_of_extreme_numbers(twin, original):
    low_nan = np.array([0x7F800001], np.uint32).view(np.float32)[0]  # its upper half is infinity's
    largest = np.finfo(np.float32).max  # the nearest bfloat16 is infinity
    ties = 1 + 2**-8, 1 + 3 * 2**-8  # the even neighbour is below one of them, above the other
    column = [np.nan, low_nan, np.inf, -np.inf, largest, 1e-40, -0.0, *ties]
    row = np.array([[1, -1, 0, 2.5, -3e-8]], np.float32)
    for K in (1, 2, 3):  # beside them, nothing that matters
        a, b = np.zeros((9, K), np.float32), np.zeros((K, 5), np.float32)
        a[:, -1], b[-1] = column, row
        with np.errstate(invalid="ignore", over="ignore"):
            ours, theirs = (in_bfloat16(kernels.matmul, a, b) for kernels in (twin, original))
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=4 * SMALLEST)
        assert np.isinf(ours[4, 0])
        assert np.isnan(ours[:2]).all()
        np.testing.assert_array_equal(ours[7:, 0], [1, 1 + 2**-6])


@given(WIDTHS, WIDTHS, WIDTHS, st.integers(0, 99))
def test_the_bits_do_not_depend_on_how_the_product_is_cut(twin, M, K, N, seed):
    a, b = operands(np.random.default_rng(seed), M, K, N)
    y = in_bfloat16(twin.matmul, a, b)
    m, n = seed % M, seed % N
    np.testing.assert_array_equal(in_bfloat16(twin.matmul, a[m : m + 1], b)[0], y[m])
    np.testing.assert_array_equal(in_bfloat16(twin.matmul, a[m:], b[:, n:]), y[m:, n:])


def test_float64_is_not_rounded(twin):
    a, b = (x.astype(float) for x in operands(np.random.default_rng(0), 9, 20, 7))
    np.testing.assert_array_equal(in_bfloat16(twin.matmul, a, b), twin.matmul(a, b))


def test_avx512_without_the_instruction():
    """A CPU without it runs the same kernels, which then make floats of pairs."""
    if slow_bfloat16():
        pytest.skip(slow_bfloat16())
    program = """if True:
        import minillm._kernels as kernels
        cpu = kernels._compiled("_cpu")
        cpu.has_bfloat16 = lambda: False
        import numpy as np
        from tests.kernels import test_bfloat16 as tests
        for sizes in (7, 131, 70), (300, 1301, 40):
            a, b = tests.operands(np.random.default_rng(0), *sizes)
            twin = kernels.select_kernels("avx512")
            tests.assert_product(tests.in_bfloat16(twin.matmul, a, b), a, b)
        assert kernels.slow_bfloat16() == "this CPU has no AVX512-BF16"
        """
    subprocess.run([sys.executable, "-c", program], check=True)


# --- recurrences ----------------------------------------------------------------------------


@pytest.mark.parametrize("cell", NAMES)
@given(st.integers(1, 20), st.integers(1, 4), WIDTHS, WIDTHS, st.booleans(), st.integers(0, 99))
def test_each_step_of_a_recurrence(twin, original, cell, B, T, I, H, ids, seed):
    """A step from the twin's own last state, so that what is rounded has the same bits."""
    arguments = sequence(Draw(np.float32, seed), cell, B, T, I, H, ids)
    x, lengths = arguments[0], arguments[-1]
    states = arguments[1 : 3 if cell == "lstm" else 2]
    weights = arguments[1 + len(states) : -1]
    hs, *_, more = outputs = in_bfloat16(getattr(twin, f"{cell}_forward"), *arguments)
    for t in range(T):
        one = x[:, t : t + 1], *states, *weights, (t < lengths).astype(np.int64)
        expected = in_bfloat16(getattr(original, f"{cell}_forward"), *one)
        np.testing.assert_allclose(hs[:, t], expected[0][:, 0], atol=TOLERANCE[np.float32], rtol=0)
        running = (t < lengths)[:, None]
        now = (hs, more) if cell == "lstm" else (hs,)
        states = [np.where(running, a[:, t], b) for a, b in zip(now, states, strict=True)]
    for last, state in zip(outputs[1:], states, strict=False):
        np.testing.assert_array_equal(last, state)


def rounded_otherwise(x):
    """How far x may be rounded from another x that differs in its last bits."""
    little = TOLERANCE[np.float32] * max(1, np.abs(x).max())
    return np.abs(round_to_bfloat16(x + little) - round_to_bfloat16(x - little))


@pytest.mark.parametrize("cell", NAMES)
@given(WIDTHS, WIDTHS, st.integers(0, 99))
def test_backward_of_one_step(twin, original, cell, I, H, seed):
    """The twins differ in the last bits of da, which then may round to neighbours."""
    draw = Draw(np.float32, seed)
    arguments = sequence(draw, cell, 1, 1, I, H, full=True)
    outputs = getattr(original, f"{cell}_forward")(*arguments)
    arguments = after_sequence(draw, cell, arguments, outputs)
    name = f"{cell}_backward"
    theirs = in_bfloat16(getattr(original, name), *arguments)
    ours = in_bfloat16(getattr(twin, name), *arguments)
    inputs = arguments[2 if cell != "lstm" else 3 :]
    x, h0, W_x, W_h = inputs[0][0], inputs[1], *inputs[3 if cell == "lstm" else 2 :][:2]
    # With one row and one step, da is the gradient of the bias.
    of_x = rounded_otherwise(theirs[4 if cell != "lstm" else 5])
    of_h = rounded_otherwise(theirs[-1])
    allowed = [of_x @ np.abs(W_x).T, of_h @ np.abs(W_h).T]
    allowed += [0] * (cell == "lstm") + [np.abs(x).T * of_x, np.abs(h0).T * of_h] + [0, 0]
    for a, b, more in zip(ours, theirs, allowed, strict=False):
        assert (np.abs(a - b) <= 1.01 * more + 1e-5 * max(1, np.abs(b).max())).all()


@pytest.mark.parametrize("cell", NAMES)
@pytest.mark.parametrize("ids", [False, True])
def test_gradients_over_many_steps(twin, original, cell, ids, same_bits):
    """A difference in one bit can be one in the rounding of a state, and of all later ones."""
    draw = Draw(np.float32)
    arguments = sequence(draw, cell, 7, 11, 33, 67, ids)
    with use_precision("bfloat16"):
        outputs = getattr(original, f"{cell}_forward")(*arguments)
        arguments = after_sequence(draw, cell, arguments, outputs)
        ours = same_bits(getattr(twin, f"{cell}_backward"), *arguments)
        theirs = getattr(original, f"{cell}_backward")(*arguments)
    for a, b in zip(ours, theirs, strict=True):
        if b is not None:
            assert np.linalg.norm(a - b) <= 0.01 * np.linalg.norm(b)


@pytest.mark.parametrize("cell", NAMES)
def test_gradients_of_biases_are_sums_that_are_not_rounded(twin, cell):
    """Where W_h is 0, nothing rounded reaches da."""
    draw = Draw(np.float32)
    arguments = sequence(draw, cell, 7, 11, 5, 67)
    arguments[4 if cell == "lstm" else 3][:] = 0
    outputs = getattr(twin, f"{cell}_forward")(*arguments)
    arguments = after_sequence(draw, cell, arguments, outputs)
    backward = getattr(twin, f"{cell}_backward")
    rounded, exact = in_bfloat16(backward, *arguments), backward(*arguments)
    for ours, theirs in zip(rounded[-2:], exact[-2:], strict=True):
        if ours.ndim == 1:
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
