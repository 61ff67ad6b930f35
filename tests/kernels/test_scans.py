"""The scans, at lengths of several spans and widths of several blocks."""

import inspect

import numpy as np
import pytest

from minillm import ops
from minillm.decoding.mamba_reader import _mamba_layer_step
from minillm.ops.gradient_cases import CASES

SIZES = {
    "linear_recurrence": ({"B": 3, "T": 70, "D": 300}, {"B": 1, "T": 9, "D": 4100}),
    "selective_scan": ({"B": 2, "T": 70, "D": 70, "N": 5}, {"B": 1, "T": 32, "D": 64, "N": 16}),
    "gated_delta_rule": (
        {"B": 2, "N": 2, "T": 70, "K": 9, "V": 35},
        {"B": 1, "N": 3, "T": 64, "K": 32, "V": 32},
    ),
}
CASE_SIZES = [(name, sizes) for name, several in SIZES.items() for sizes in several]
ARGUMENTS = {  # of the twins, in the order of the case
    "linear_recurrence": ("a", "b", "h0", "lengths"),
    "selective_scan": ("x", "delta", "A", "b", "c", "skip", "h0"),
    "gated_delta_rule": ("q", "k", "v", "alpha", "beta", "S0"),
}


def drawn(name, sizes, dtype=np.float64):
    args = [
        a.astype(dtype if a.dtype.kind == "f" else np.int64)
        for a in CASES[name](np.random.default_rng(0), **sizes)[1]
    ]
    return dict(zip(ARGUMENTS[name], args, strict=True))


def both(kernels, name, given):
    """The outputs and the gradients."""
    outputs = getattr(kernels, f"{name}_forward")(**given)
    rng = np.random.default_rng(1)
    dy, dlast = (rng.standard_normal(y.shape).astype(y.dtype) for y in outputs)
    backward = getattr(kernels, f"{name}_backward")
    if name == "linear_recurrence":
        kept = {n: given[n] for n in ("a", "h0", "lengths")}
        return *outputs, *backward(dy, dlast, hs=outputs[0], **kept)
    return *outputs, *backward(dy, dlast, **given)


@pytest.mark.parametrize(("name", "sizes"), CASE_SIZES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-11), (np.float32, 2e-4)])
def test_the_twin_is_the_original(twin, original, name, sizes, dtype, tolerance):
    given = drawn(name, sizes, dtype)
    results = both(twin, name, given), both(original, name, given)
    for one, other in zip(*results, strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype == dtype
        largest = max(1.0, np.abs(other).max())
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * largest)


@pytest.mark.parametrize(("name", "sizes"), CASE_SIZES)
def test_the_bits_do_not_depend_on_the_threads(twin, same_bits, name, sizes):
    given = drawn(name, sizes, np.float32)
    same_bits(lambda: both(twin, name, given))


@pytest.mark.parametrize("name", SIZES)
def test_a_text_may_be_cut_anywhere(twin, name):
    """The last state of a part is the first state of the next, bit for bit."""
    given = drawn(name, SIZES[name][0])
    forward, axis = getattr(twin, f"{name}_forward"), 2 if name == "gated_delta_rule" else 1
    constant = {n: a for n, a in given.items() if n in ("A", "skip")}
    first_state = given[ARGUMENTS[name][2 if name == "linear_recurrence" else -1]]
    names = [n for n in given if n not in (*constant, "h0", "S0", "lengths")]
    if name == "linear_recurrence":
        constant["lengths"] = None

    def read(begin, end, state):
        part = {n: np.ascontiguousarray(given[n].take(range(begin, end), axis)) for n in names}
        if "lengths" in constant:
            constant["lengths"] = np.full(len(state), end - begin)
        return forward(**part, **constant, **{"S0" if "S0" in given else "h0": state})

    whole, last = read(0, 70, first_state)
    begin, state, parts = 0, first_state, []
    for end in (1, 32, 33, 70):
        y, state = read(begin, end, state)
        parts.append(y)
        begin = end
    np.testing.assert_array_equal(np.concatenate(parts, axis=axis), whole)
    np.testing.assert_array_equal(state, last)


@pytest.mark.usefixtures("both_twins")
def test_decays_that_vanish_are_no_division():
    """After 1,000 steps the product of the decays is 0 in float32; the states are not."""
    rng = np.random.default_rng(0)
    a, b = np.full((1, 1000, 4), 0.5, np.float32), rng.standard_normal((1, 1000, 4))
    (hs, _), backward = ops.linear_recurrence(a, b.astype(np.float32), np.ones((1, 4), np.float32))
    expected = sum(0.5**k * b[0, 999 - k] for k in range(60))
    np.testing.assert_allclose(hs[0, 999], expected, rtol=1e-5)
    assert all(np.isfinite(gradient).all() for gradient in backward(np.ones_like(hs)))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_decays_at_their_ends(twin, original, dtype):
    """Exponents without bounds, and a NaN, in columns of their own."""
    given = drawn("selective_scan", {"B": 1, "T": 3, "D": 8, "N": 1}, dtype)
    ends = [0.0, -1e4, 1e4, np.nan, -np.inf, np.inf, -20.0, 20.0]
    given |= {"A": np.array(ends, dtype)[:, None], "delta": np.ones((1, 3, 8), dtype)}
    with np.errstate(all="ignore"):
        results = [kernels.selective_scan_forward(**given) for kernels in (twin, original)]
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


# --- one step of a layer --------------------------------------------------------------------


def of_step(rng, B, D, E, N, K, R, dtype):
    """The arguments of mamba_layer_step."""
    shapes = [(B, D), (B, K - 1, E), (B, E, N), (D,), (D, 2 * E), (K, E), (E,), (E, R + 2 * N)]
    shapes += [(R, E), (E,), (E, N), (E,), (E, D)]
    x, *others = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
    return [x, 1e-5, *others]


@pytest.mark.parametrize(
    "sizes",
    [
        {"B": 1, "D": 128, "E": 256, "N": 16, "K": 4, "R": 8},
        {"B": 3, "D": 7, "E": 13, "N": 5, "K": 2, "R": 1},
        {"B": 2, "D": 900, "E": 600, "N": 1, "K": 3, "R": 2},
    ],
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-11), (np.float32, 2e-4)])
def test_a_step_is_the_step_of_its_original(twin, same_bits, sizes, dtype, tolerance):
    given = of_step(np.random.default_rng(0), **sizes, dtype=dtype)
    expected = inspect.unwrap(_mamba_layer_step)(*given)
    for one, other in zip(twin.mamba_layer_step(*given), expected, strict=True):
        assert one.dtype == dtype
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance * np.abs(other).max())
    same_bits(lambda: twin.mamba_layer_step(*given))


def test_a_step_takes_nothing_that_does_not_fit(twin):
    sizes = {"B": 2, "D": 7, "E": 13, "N": 5, "K": 2, "R": 1}
    for name in sizes:
        longer = of_step(np.random.default_rng(0), **sizes | {name: sizes[name] + 1}, dtype=float)
        given = of_step(np.random.default_rng(0), **sizes, dtype=float)
        for place, array in enumerate(longer):
            if np.shape(array) != np.shape(given[place]):
                wrong = [*given[:place], array, *given[place + 1 :]]
                with pytest.raises(ValueError, match="do not fit"):
                    twin.mamba_layer_step(*wrong)
    for place, array in enumerate(given):
        if place == 1:
            continue
        for wrong_array in (array.astype(np.float32), array[:0], array[None], None):
            with pytest.raises((ValueError, TypeError)):
                twin.mamba_layer_step(*given[:place], wrong_array, *given[place + 1 :])
