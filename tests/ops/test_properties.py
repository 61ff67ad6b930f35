"""Properties of all ops, for any values."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm import kernels_info, ops, use_kernels
from minillm.ops.gradient_cases import CASES
from minillm.ops.recurrence import CELLS
from minillm.testing import strategies

RECURRENCES = tuple(CELLS)
STATES = {name: len(cell.state) for name, cell in CELLS.items()}
SIZES = strategies.sizes(B=(1, 4), T=(3, 7), I=(1, 5), H=(1, 5))
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def tuple_of(result):
    return result if isinstance(result, tuple) else (result,)


def without(args, name, **changes):
    """The arguments of a recurrence with some replaced: x, lengths or states."""
    args = list(args)
    if "x" in changes:
        args[0] = changes["x"]
    if "lengths" in changes:
        args[-1] = changes["lengths"]
    if "states" in changes:
        args[1 : 1 + STATES[name]] = changes["states"]
    return args


def columns_first(a):
    return np.asarray(a, order="F")


def every_other(a):
    return np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim else a


def case_of(name, rng, dtype=np.float64):
    """An op and its arguments, the floats among them of this dtype."""
    op, args = CASES[name](rng)
    return op, [a.astype(dtype) if is_float(a) else a for a in args]


def is_float(a):
    return isinstance(a, np.ndarray) and a.dtype.kind == "f"


def upstream_of(outputs, rng):
    return [np.asarray(rng.standard_normal(y.shape)).astype(y.dtype) for y in tuple_of(outputs)]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(rng=strategies.generators())
def test_dtype_in_is_dtype_out_and_nothing_is_changed(name, kernels, dtype, rng):
    """Arguments may be read-only, and a second backward gives the same gradients."""
    op, args = case_of(name, rng, dtype)
    for a in args:
        if isinstance(a, np.ndarray):
            a.flags.writeable = False
    with use_kernels(kernels):
        outputs, backward = op(*args)
        assert all(y.dtype == dtype for y in tuple_of(outputs))
        upstream, before = upstream_of(outputs, rng), [y.copy() for y in tuple_of(outputs)]
        for dy in upstream:
            dy.flags.writeable = False
        gradients = tuple_of(backward(*upstream))
        again = tuple_of(backward(*upstream))
    assert [(g.dtype, g.shape) for g in gradients] == [
        (dtype, a.shape) for a in args if is_float(a)
    ]
    for one, other in zip((*gradients, *before), (*again, *tuple_of(outputs)), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_backward_of_one_twin_follows_the_forward_of_the_other(name, dtype):
    if kernels_info()["available"] == ["numpy"]:
        pytest.skip("the compiled kernels are not built")
    rng = np.random.default_rng(0)
    op, args = case_of(name, rng, dtype)
    with use_kernels("numpy"):
        outputs, backward = op(*args)
        upstream = upstream_of(outputs, rng)
        expected = tuple_of(backward(*upstream))
    with use_kernels("cython"):
        crossed = tuple_of(backward(*upstream))
        backward = op(*args)[1]
    with use_kernels("numpy"):
        back = tuple_of(backward(*upstream))
    tolerance = 1e-4 if dtype == np.float32 else 1e-12
    for gradients in (crossed, back):
        for ours, theirs in zip(gradients, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, tolerance, tolerance)


@pytest.mark.parametrize("name", CASES)
def test_arrays_of_any_strides_and_upstreams_too(name, kernels):
    """A transpose, a slice or a broadcast is a valid argument."""
    rng = np.random.default_rng(0)
    op, args = case_of(name, rng)
    strided = [every_other(a) if isinstance(a, np.ndarray) else a for a in args]
    with use_kernels(kernels):
        outputs, backward = op(*args)
        upstream = upstream_of(outputs, rng)
        other_outputs, other_backward = op(*strided)
        pairs = [(tuple_of(other_outputs), tuple_of(outputs))]
        expected = tuple_of(backward(*upstream))
        for layout in (columns_first, every_other):
            pairs.append((tuple_of(other_backward(*map(layout, upstream))), expected))
        ones = [np.ones(y.shape) for y in tuple_of(outputs)]
        broadcast = [np.broadcast_to(1.0, y.shape) for y in ones]
        pairs.append((tuple_of(backward(*broadcast)), tuple_of(backward(*ones))))
    for ours, theirs in pairs:
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one, other, **CLOSE)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_to_do(kernels, dtype):
    """No rows at all: outputs without rows, and zeros for the gradients of gain and bias."""
    x, weights = np.empty((0, 3, 4), dtype), np.ones(4, dtype)
    with use_kernels(kernels):
        y, backward = ops.layer_norm(x, weights, weights)
        dx, dgain, dbias = backward(y)
        assert y.shape == dx.shape == x.shape
        for shared in (dgain, dbias):
            np.testing.assert_array_equal(shared, np.zeros(4))
        for approximate in (True, False):
            y, backward = ops.gelu(x, approximate)
            assert y.shape == backward(y).shape == x.shape
        y, backward = ops.embedding(np.empty((2, 0), int), np.ones((5, 4), dtype))
        assert y.shape == (2, 0, 4)
        np.testing.assert_array_equal(backward(y), np.zeros((5, 4)))


@pytest.mark.parametrize("name", RECURRENCES)
@given(sizes=SIZES, rng=strategies.generators(), data=st.data())
def test_padding_changes_nothing(name, kernels, sizes, rng, data):
    op, args = CASES[name](rng, **sizes)
    lengths = data.draw(strategies.lengths(sizes["B"], sizes["T"]))
    beyond = np.arange(sizes["T"]) >= lengths[:, None]
    x = args[0]
    junk = data.draw(st.sampled_from([100.0, np.nan, np.inf]))
    other_x = np.where(beyond[..., None], junk, x)
    with use_kernels(kernels):
        outputs, backward = op(*without(args, name, lengths=lengths))
        upstream = [rng.standard_normal(y.shape) for y in outputs]
        other_dhs = np.where(beyond[..., None], junk, upstream[0])
        other_outputs, other_backward = op(*without(args, name, x=other_x, lengths=lengths))
        for y, other in zip(outputs, other_outputs, strict=True):
            np.testing.assert_array_equal(y, other)
        gradients = backward(*upstream)
        others = other_backward(other_dhs, *upstream[1:])
    for g, other in zip(gradients, others, strict=True):
        np.testing.assert_array_equal(g, other)
    assert not outputs[0][beyond].any()
    assert not gradients[0][beyond].any()


@pytest.mark.parametrize("name", RECURRENCES)
@given(sizes=SIZES, rng=strategies.generators(), data=st.data())
def test_a_batch_equals_its_rows_each_cut_to_its_length(name, kernels, sizes, rng, data):
    op, args = CASES[name](rng, **sizes)
    lengths = data.draw(strategies.lengths(sizes["B"], sizes["T"], shortest=1))
    S = STATES[name]
    with use_kernels(kernels):
        outputs, _ = op(*without(args, name, lengths=lengths))
        for row, length in enumerate(lengths):
            alone, _ = op(
                *without(
                    args,
                    name,
                    x=args[0][row : row + 1, :length],
                    states=[s[row : row + 1] for s in args[1 : 1 + S]],
                    lengths=None,
                )
            )
            np.testing.assert_allclose(outputs[0][row, :length], alone[0][0], **CLOSE)
            for last, alone_last in zip(outputs[1:], alone[1:], strict=True):
                np.testing.assert_allclose(last[row], alone_last[0], **CLOSE)


@pytest.mark.parametrize("name", RECURRENCES)
@given(sizes=SIZES, rng=strategies.generators())
def test_single_steps_equal_the_whole_sequence(name, kernels, sizes, rng):
    op, args = CASES[name](rng, **sizes)
    S = STATES[name]
    x, state, weights = args[0], args[1 : 1 + S], args[1 + S : -1]
    step = getattr(ops, f"{name}_step")
    with use_kernels(kernels):
        outputs, _ = op(*without(args, name, lengths=None))
        for t in range(x.shape[1]):
            state = tuple_of(step(x[:, t], *state, *weights))
            np.testing.assert_allclose(state[0], outputs[0][:, t], **CLOSE)
    for last, expected in zip(state, outputs[1:], strict=True):
        np.testing.assert_allclose(last, expected, **CLOSE)


@pytest.mark.parametrize("name", RECURRENCES)
@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8])
@given(sizes=SIZES, rng=strategies.generators())
def test_ids_are_one_hot_vectors(name, kernels, dtype, sizes, rng):
    op, (_x, *rest) = CASES[name](rng, **sizes)
    ids = rng.integers(0, sizes["I"], (sizes["B"], sizes["T"]))
    one_hot = np.eye(sizes["I"])[ids]
    with use_kernels(kernels):
        ours, backward = op(ids.astype(dtype), *rest)
        theirs, one_hot_backward = op(one_hot, *rest)
        upstream = [rng.standard_normal(y.shape) for y in theirs]
        gradients, (_dx, *expected) = backward(*upstream), one_hot_backward(*upstream)
        step, weights = getattr(ops, f"{name}_step"), rest[:-1]
        steps = (step(ids[:, 0].astype(dtype), *weights), step(one_hot[:, 0], *weights))
    assert len(gradients) == len(expected)
    for one, other in zip(
        (*ours, *gradients, *tuple_of(steps[0])),
        (*theirs, *expected, *tuple_of(steps[1])),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, **CLOSE)


@given(sizes=strategies.sizes(B=(1, 4), T=(1, 6), D=(1, 3)), rng=strategies.generators())
def test_reversing_twice_leaves_the_valid_steps(sizes, rng):
    B, T, D = sizes.values()
    x, lengths = rng.standard_normal((B, T, D)), rng.integers(0, T + 1, B)
    y, _ = ops.reverse(x, lengths)
    twice, _ = ops.reverse(y, lengths)
    for row, length in enumerate(lengths):
        np.testing.assert_array_equal(y[row, :length], x[row, :length][::-1])
        np.testing.assert_array_equal(twice[row, :length], x[row, :length])
        assert not y[row, length:].any()


@pytest.mark.parametrize(
    "op",
    [
        ops.tanh,
        ops.sigmoid,
        ops.softmax,
        ops.gelu,
        ops.silu,
        ops.softplus,
        partial(ops.gelu, approximate=False),
    ],
    ids=["tanh", "sigmoid", "softmax", "gelu", "silu", "softplus", "exact gelu"],
)
def test_extremes_overflow_nowhere(op, kernels):
    x = np.array([[-1e4, -88.0, 0.0, 88.0, 1e4]], np.float32)
    with use_kernels(kernels):
        y, backward = op(x)
        dx = backward(np.ones_like(y))
    assert np.isfinite(y).all()
    assert np.isfinite(dx).all()


def test_softmax_excludes_minus_infinity_exactly():
    y, backward = ops.softmax(np.array([[1.0, -np.inf, 2.0]]))
    assert y[0, 1] == 0
    assert y.sum() == pytest.approx(1)
    assert backward(np.array([[1.0, 5.0, -1.0]]))[0, 1] == 0


def test_cross_entropy_of_a_sure_prediction_and_of_a_uniform_one(kernels):
    logits = np.array([[1000.0, 0.0, 0.0]])
    with use_kernels(kernels):
        assert ops.cross_entropy(logits, np.array([0]))[0] == 0
        assert ops.cross_entropy(logits, np.array([1]))[0] == 1000
        assert ops.cross_entropy(np.zeros((2, 8)), np.array([3, 5]))[0] == pytest.approx(np.log(8))


def test_dropout_keeps_the_mean_and_drops_at_its_rate():
    x = np.ones(100_000)
    y, _ = ops.dropout(x, 0.3, np.random.default_rng(0))
    assert np.mean(y == 0) == pytest.approx(0.3, abs=0.01)
    assert y.mean() == pytest.approx(1, abs=0.01)


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


def test_rotary_by_hand():
    x = np.array([[[[1.0, 2.0, 3.0, 4.0]] * 2]])  # (1, 1, 2, 4)
    y, _ = ops.rotary(x, np.array([[0, 3]]), base=100.0)
    np.testing.assert_array_equal(y[0, 0, 0], x[0, 0, 0])
    # angles 3 and 3 * 100^(-1/2) = 0.3, of the pairs 1, 3 and 2, 4
    turned = np.array([(1 + 3j) * np.exp(3j), (2 + 4j) * np.exp(0.3j)])
    np.testing.assert_allclose(y[0, 0, 1], [*turned.real, *turned.imag], **CLOSE)


@given(rng=strategies.generators())
def test_a_normalised_row_has_the_moments_that_it_should_have(kernels, rng):
    x, ones = 5 * rng.standard_normal((3, 8)) + 2, np.ones(8)
    with use_kernels(kernels):
        y, _ = ops.layer_norm(x, ones, 0 * ones, eps=1e-12)
        z, _ = ops.rms_norm(x, ones, eps=1e-12)
    np.testing.assert_allclose(y.mean(axis=1), 0, atol=1e-9)
    np.testing.assert_allclose([y.var(axis=1), (z**2).mean(axis=1)], 1, rtol=1e-9)
    np.testing.assert_allclose(z * np.linalg.norm(x, axis=1, keepdims=True), x * 8**0.5, rtol=1e-9)


def test_arrays_mapped_from_a_file_are_arrays(kernels, tmp_path):
    E, ids = np.arange(12.0).reshape(4, 3), np.array([3, 1])
    for name, array in (("E", E), ("ids", ids)):
        np.save(tmp_path / f"{name}.npy", array)
    with use_kernels(kernels):
        mapped = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("ids", "E"))
        y, backward = ops.embedding(*mapped)
        np.testing.assert_array_equal(y, E[ids])
        np.testing.assert_array_equal(backward(y)[3], E[3])
