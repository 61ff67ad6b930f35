"""Properties of all ops, of all recurrences, and of single ones, for any values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm import ops, use_kernels
from minillm.ops.gradient_cases import CASES
from minillm.ops.recurrence import CELLS
from minillm.testing import check_float32, check_layouts, strategies

from .cases import case_of, is_float, on_its_twins, results, tuple_of, upstream_of

SIZES = strategies.sizes(B=(1, 4), T=(3, 7), I=(1, 5), H=(1, 5))
CLOSE = {"rtol": 1e-12, "atol": 1e-12}

# --- all ops ------------------------------------------------------------------------------


@on_its_twins()
def test_arrays_of_any_layout_and_empty_ones(name, kernels):
    rng = np.random.default_rng(0)
    op, args = CASES[name](rng)
    with use_kernels(kernels):
        check_layouts(op, *args, rng=rng)


def at_an_odd_address(a):
    """The same numbers, read-only, with axes in another order in memory."""
    memory = np.empty(a.nbytes + 1, np.uint8)[1:]
    odd = memory.view(a.dtype).reshape(a.shape[::-1]).T
    odd[...] = a
    odd.flags.writeable = False
    return odd


@on_its_twins()
def test_arrays_at_odd_addresses(name, kernels):
    rng = np.random.default_rng(0)
    op, args = case_of(name, rng)
    upstream = upstream_of(op(*args)[0], rng)
    others = [at_an_odd_address(a) if is_float(a) else a for a in args]
    ours = results(kernels, op, others, [at_an_odd_address(dy) for dy in upstream])
    for one, other in zip(ours, results(kernels, op, args, upstream), strict=True):
        np.testing.assert_allclose(one, other, **CLOSE)


# The mask of a dropout is drawn in the dtype of its input; only a float32 is rounded to integers.
@on_its_twins(sorted(CASES.keys() - {"dropout"}))
def test_float32_is_as_precise_as_its_inputs(name, kernels):
    with use_kernels(kernels):
        for seed in range(3):
            rng = np.random.default_rng(seed)
            op, args = CASES[name](rng)
            check_float32(op, *args, rng=rng)


# --- recurrences --------------------------------------------------------------------------


@pytest.mark.parametrize("name", CELLS)
@given(sizes=SIZES, rng=strategies.generators())
def test_single_steps_equal_the_whole_sequence(name, kernels, sizes, rng):
    op, (x, *rest, _lengths) = CASES[name](rng, **sizes)
    states = len(CELLS[name].state)
    state, weights = rest[:states], rest[states:]
    step = getattr(ops, f"{name}_step")
    with use_kernels(kernels):
        outputs, _ = op(x, *rest)
        for t in range(x.shape[1]):
            state = tuple_of(step(x[:, t], *state, *weights))
            np.testing.assert_allclose(state[0], outputs[0][:, t], **CLOSE)
    for last, expected in zip(state, outputs[1:], strict=True):
        np.testing.assert_allclose(last, expected, **CLOSE)


@pytest.mark.parametrize("name", CELLS)
@given(sizes=SIZES, rng=strategies.generators())
def test_ids_are_one_hot_vectors(name, kernels, sizes, rng):
    op, (_x, *rest) = CASES[name](rng, **sizes)
    ids = rng.integers(0, sizes["I"], (sizes["B"], sizes["T"]))
    one_hot = np.eye(sizes["I"])[ids]
    with use_kernels(kernels):
        ours, backward = op(ids, *rest)
        theirs, one_hot_backward = op(one_hot, *rest)
        upstream = [rng.standard_normal(y.shape) for y in theirs]
        gradients, (_dx, *expected) = backward(*upstream), one_hot_backward(*upstream)
        step, weights = getattr(ops, f"{name}_step"), rest[:-1]
        steps = (step(ids[:, 0], *weights), step(one_hot[:, 0], *weights))
    of_ids = *ours, *gradients, *tuple_of(steps[0])
    for one, other in zip(of_ids, (*theirs, *expected, *tuple_of(steps[1])), strict=True):
        np.testing.assert_allclose(one, other, **CLOSE)


# --- single ops ---------------------------------------------------------------------------


FAR = np.array([-1e6, -1e4, -88, -50, 50, 88, 1e4, 1e6])
ABOVE, RAMP = (FAR > 0) * 1.0, np.maximum(FAR, 0)
FAR_OUT = {  # the value and the slope; in all others, those of a ramp
    "tanh": (np.sign(FAR), 0 * FAR),
    "sigmoid": (ABOVE, 0 * FAR),
    "softmax": ((FAR == 1e6) * 1.0, 0 * FAR),
    "swiglu": (2 * RAMP, np.concatenate([2 * ABOVE, RAMP])),  # the other half is 2
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", [*FAR_OUT, "gelu", "exact gelu", "silu", "softplus"])
def test_activations_far_out(name, dtype, kernels):
    expected = FAR_OUT.get(name, (RAMP, ABOVE))
    x = FAR if name != "swiglu" else np.concatenate([FAR, np.full(8, 2)])
    options = {"approximate": False} if name == "exact gelu" else {}
    with use_kernels(kernels):
        y, backward = getattr(ops, name.split()[-1])(x[None].astype(dtype), **options)
        found = y[0], backward(np.ones_like(y))[0]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-18)


def test_softmax_excludes_minus_infinity_exactly():
    y, backward = ops.softmax(np.array([[1.0, -np.inf, 2.0]]))
    assert y[0, 1] == 0
    assert y.sum() == pytest.approx(1)
    assert backward(np.array([[1.0, 5.0, -1.0]]))[0, 1] == 0


def test_dropout_without_an_rng_or_a_rate_returns_x_itself():
    x, dy = np.ones((2, 3)), np.full((2, 3), 2.0)
    for rate, rng in ((0.5, None), (0.0, np.random.default_rng(0))):
        y, backward = ops.dropout(x, rate, rng)
        assert y is x
        assert backward(dy) is dy


def test_dropout_keeps_the_mean_and_drops_at_its_rate():
    x = np.ones(100_000)
    y, _ = ops.dropout(x, 0.3, np.random.default_rng(0))
    assert np.mean(y == 0) == pytest.approx(0.3, abs=0.01)
    assert y.mean() == pytest.approx(1, abs=0.01)
    halves, backward = ops.dropout(x, 0.5, np.random.default_rng(0))
    assert set(np.unique(halves)) == {0.0, 2.0}
    np.testing.assert_array_equal(backward(x), halves)


@given(rng=strategies.generators(), shift=st.integers(0, 1000))
def test_rotated_products_depend_on_the_distance_alone(rng, shift):
    q, k = rng.standard_normal((2, 1, 2, 3, 8))
    positions, other_positions = rng.integers(0, 50, (2, 1, 3))
    products = []
    for offset in (0, shift):
        rotated_q, _ = ops.rotary(q, positions + offset)
        rotated_k, _ = ops.rotary(k, other_positions + offset)
        products.append(rotated_q @ rotated_k.swapaxes(2, 3))
    np.testing.assert_allclose(*products, rtol=1e-9, atol=1e-9)


def test_arrays_mapped_from_a_file_are_arrays(kernels, tmp_path):
    E, ids = np.arange(12.0).reshape(4, 3), np.array([3, 1])
    for name, array in (("E", E), ("ids", ids)):
        np.save(tmp_path / f"{name}.npy", array)
    with use_kernels(kernels):
        mapped = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("ids", "E"))
        y, backward = ops.embedding(*mapped)
        np.testing.assert_array_equal(y, E[ids])
        np.testing.assert_array_equal(backward(y)[3], E[3])
