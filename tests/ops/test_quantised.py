"""Quantised matrices: their weights, their products, and the gradient of what they multiply."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quantised_cases import BLOCKS, FORMATS, OUTPUTS, drawn, packed

from minillm import use_kernels
from minillm.ops import Quantised, quantised, quantised_linear
from minillm.ops.quantised import beside, pack, pack_pieces, quantise, round_activations
from minillm.testing import strategies

ROWS = st.one_of(st.integers(1, 5), st.integers(6, 40))


@pytest.mark.parametrize("format", FORMATS)
@given(BLOCKS, OUTPUTS, strategies.generators())
def test_dense_and_rows_are_the_weights_that_were_packed(format, B, O, rng):
    codes, scale, offset, zero, bits = drawn(rng, format, 32 * B, O)
    W = pack(codes, scale, offset, zero=zero, bits=bits)
    block = 32 * B // scale.shape[1]
    expected = np.repeat(scale.astype(np.float32), block, axis=1) * (
        codes.astype(np.float32) - zero
    )
    if offset is not None:
        expected += np.repeat(offset.astype(np.float32), block, axis=1)
    assert W.shape == (32 * B, O)
    assert W.T.shape == (O, 32 * B)
    np.testing.assert_array_equal(W.dense(), expected.T)
    np.testing.assert_array_equal(W.T.dense(), expected)
    ids = rng.integers(0, O, (2, 3))
    np.testing.assert_array_equal(W.T.rows(ids), expected[ids])
    np.testing.assert_array_equal(W.parts[0].rows(np.arange(O))[0], codes)
    if bits == 4:  # in pairs, as in files
        halves = codes.reshape(O, B, 2, 16)
        pairs = (halves[:, :, 0] | halves[:, :, 1] << 4).reshape(O, 16 * B)
        again = pack(pairs, scale, offset, zero=zero, bits=4)
        np.testing.assert_array_equal(again.parts[0].codes, W.parts[0].codes)


@pytest.mark.parametrize("format", FORMATS)
@given(BLOCKS, OUTPUTS, st.integers(1, 3), strategies.generators())
def test_outputs_may_come_in_pieces(format, B, O, panels, rng):
    codes, scale, offset, zero, bits = drawn(rng, format, 32 * B, O)
    whole = pack(codes, scale, offset, zero=zero, bits=bits).parts[0]
    pieces = (
        (codes[some], scale[some], None if offset is None else offset[some], zero, bits)
        for some in (slice(first, first + 16 * panels) for first in range(0, O, 16 * panels))
    )
    part = pack_pieces(O, pieces).parts[0]
    assert (part.outputs, part.zero, part.bits) == (O, zero, whole.bits)
    np.testing.assert_array_equal(part.codes, whole.codes)
    np.testing.assert_array_equal(part.scale, whole.scale)
    np.testing.assert_array_equal(part.offset, whole.offset)


@pytest.mark.parametrize("format", FORMATS)
@given(ROWS, BLOCKS, OUTPUTS, strategies.generators())
def test_the_product_is_that_of_the_rounded_activations(format, kernels, M, B, O, rng):
    W = packed(rng, format, 32 * B, O)
    x = rng.normal(size=(M, 32 * B)).astype(np.float32)
    a, t = round_activations(x)
    rounded = (a * t[:, :, None].astype(np.float64)).reshape(x.shape)
    assert np.abs(rounded - x).max() <= t.max() / 2 * 1.0001
    with use_kernels(kernels):
        y, _ = quantised_linear(x.reshape(M, 1, -1), W)
    expected = rounded @ W.dense().astype(np.float64)
    size = np.abs(rounded) @ np.abs(W.dense())
    assert y.shape == (M, 1, O)
    assert (np.abs(y[:, 0] - expected) <= 3e-6 * size + 1e-6).all()


@given(ROWS, BLOCKS, OUTPUTS, strategies.generators())
def test_rounding_twice_gives_the_product_of_floats(kernels, M, B, O, rng):
    W = replace(packed(rng, "q4_1", 32 * B, O), twice=True)
    x = rng.normal(size=(M, 32 * B)).astype(np.float32)
    with use_kernels(kernels):
        y, _ = quantised_linear(x, W)
    size = np.abs(x) @ np.abs(W.dense())
    assert (np.abs(y - x @ W.dense()) <= 6e-5 * size + 1e-6).all()


@given(
    ROWS, st.lists(st.sampled_from(list(FORMATS)), min_size=1, max_size=3), strategies.generators()
)
def test_matrices_beside_each_other_are_multiplied_as_each_alone(kernels, M, formats, rng):
    matrices = [packed(rng, format, 64, int(rng.integers(1, 40))) for format in formats]
    W = beside(*matrices)
    x = rng.normal(size=(M, 64)).astype(np.float32)
    with use_kernels(kernels):
        y, _ = quantised_linear(x, W)
        each = [quantised_linear(x, matrix)[0] for matrix in matrices]
    np.testing.assert_array_equal(y, np.concatenate(each, axis=1))
    np.testing.assert_array_equal(W.dense(), np.concatenate([m.dense() for m in matrices], axis=1))


@given(ROWS, st.integers(1, 2000), strategies.generators())
def test_the_backward_is_that_of_the_dense_matrix(kernels, M, at_once, rng):
    W = beside(packed(rng, "q4_1", 64, 7), packed(rng, "q8_0", 64, 20))
    x, dy = (rng.normal(size=(M, n)).astype(np.float32) for n in W.shape)
    with use_kernels(kernels), pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantised, "AT_ONCE", at_once)
        _, backward = quantised_linear(x, W)
        dx = backward(dy)
    np.testing.assert_allclose(dx, dy @ W.dense().T, rtol=1e-4, atol=1e-3)
    assert dx.dtype == np.float32


@pytest.mark.parametrize("bits", [4, 8])
@given(BLOCKS, OUTPUTS, st.floats(-3, 3), strategies.generators())
def test_quantised_weights_are_within_half_a_step(bits, B, O, mean, rng):
    W = (rng.normal(size=(32 * B, O)) + mean).astype(np.float32)
    Q = quantise(W, bits)
    blocks = W.T.reshape(O, B, 32)
    span = np.ptp(blocks, axis=2) / 15 if bits == 4 else np.abs(blocks).max(axis=2) / 127
    # A float16 has 11 bits: the rounding of scale and offset may move the last code by as much.
    bound = span * (0.5 + 0.01) + np.abs(blocks).max(axis=2) * 2**-10
    error = np.abs(Q.dense().T.reshape(O, B, 32) - blocks)
    assert (error <= bound[:, :, None]).all()
    if bits == 8:
        assert (quantise(-W, 8).dense() == -Q.dense()).all()


def test_constant_blocks_are_kept(kernels):
    W = np.repeat(np.array([[0.0], [0.5]], np.float32), 32, axis=0)
    for bits in (4, 8):
        Q = quantise(W, bits)
        np.testing.assert_allclose(Q.dense(), W, atol=1e-3)
        with use_kernels(kernels):
            y, _ = quantised_linear(np.ones((1, 64), np.float32), Q)
        np.testing.assert_allclose(y, 16.0, rtol=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_makes_its_row_nan_and_no_other(kernels, value):
    rng = np.random.default_rng(0)
    W = beside(packed(rng, "q4_1", 96, 20), packed(rng, "q8_0", 96, 20))
    x = rng.normal(size=(15, 96)).astype(np.float32)
    with use_kernels(kernels):
        expected, _ = quantised_linear(x, W)
        x[3, 40] = value
        y, _ = quantised_linear(x, W)
    assert np.isnan(y[3]).all()
    np.testing.assert_array_equal(np.delete(y, 3, 0), np.delete(expected, 3, 0))


@pytest.mark.parametrize("format", ["q8_0", "q4_0", "q4_1"])
@pytest.mark.parametrize("bits", [0x7C00, 0xFC00, 0x7E00, 0x7FFF, 0xFE01])  # infinities and NaN
def test_scales_that_are_not_finite_make_their_output_so(kernels, format, bits):
    rng = np.random.default_rng(0)
    codes, scale, offset, zero, width = drawn(rng, format, 64, 17)
    largest = np.finfo(np.float16).max
    scale[1, 0], scale[2, 1] = largest, np.float16(2**-24)  # numbers with the extreme exponents
    usual = pack(codes, scale, offset, zero=zero, bits=width)
    changed = scale.copy() if offset is None else offset.copy()
    changed[[3, 16], 1] = np.uint16(bits).view(np.float16)
    codes[[3, 16]] = 0  # no weight is 0 times infinity, which would be NaN in either case
    parts = (changed, None) if offset is None else (scale, changed)
    W = pack(codes, *parts, zero=zero, bits=width)
    x = 1 + rng.random((5, 64), np.float32)
    with use_kernels("numpy"):
        expected = quantised_linear(x, W)[0]
        rows = W.rows(np.arange(17))
    with use_kernels(kernels):
        y, y_usual = quantised_linear(x, W)[0], quantised_linear(x, usual)[0]
        np.testing.assert_array_equal(W.rows(np.arange(17)), rows)
    assert not np.isfinite(y[:, [3, 16]]).any()
    np.testing.assert_array_equal(y[:, [3, 16]], expected[:, [3, 16]])
    finite = np.delete(np.arange(17), [3, 16])
    assert np.isfinite(y[:, finite]).all()
    np.testing.assert_array_equal(y[:, finite], y_usual[:, finite])
    np.testing.assert_allclose(y[:, finite], expected[:, finite], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("bits", "value"), [(8, 1e7), (8, -1e7), (4, 1e7), (4, -7e4), (8, np.nan), (4, np.inf)]
)
def test_weights_too_large_for_float16_are_refused(bits, value):
    W = np.zeros((64, 3), np.float32)
    W[40, 1] = value
    with pytest.raises(ValueError, match=r"quantise: W: expected finite numbers whose scales"):
        quantise(W, bits)
    W[40, 1] = 6e4
    assert np.isfinite(quantise(W, bits).dense()).all()


@pytest.mark.parametrize("value", [0.0, 1e-45, 1e-38, 1e-37, 1e37])
def test_extreme_activations_are_rounded(kernels, value):
    W = quantise(np.eye(32, dtype=np.float32), 8)
    x = np.full((1, 32), value, np.float32)
    with use_kernels(kernels):
        y, _ = quantised_linear(x, W)
    np.testing.assert_allclose(y, x, rtol=1e-3, atol=2e-36)


def test_wrong_arguments_are_refused():
    W = quantise(np.ones((32, 3), np.float32), 8)
    x = np.ones((2, 32), np.float32)
    for wrong, error in ((x.astype(int), TypeError), (x[:, :31], ValueError)):
        with pytest.raises(error, match="quantised_linear: "):
            quantised_linear(wrong, W)
    with pytest.raises(ValueError, match="W: expected shape"):
        quantised_linear(x, W.T)
    with pytest.raises(ValueError, match=r"rows: outputs: expected 0\.\.2"):
        W.T.rows(np.array([3]))
    with pytest.raises(ValueError, match="multiple of 32"):
        quantise(np.ones((31, 3), np.float32), 8)
    with pytest.raises(ValueError, match="same number of inputs"):
        beside(W, quantise(np.ones((64, 3), np.float32), 8))
    codes, scale = np.zeros((3, 32), np.uint8), np.ones((3, 1), np.float16)
    for change, error in (
        ({"codes": codes.astype(np.int8)}, TypeError),
        ({"codes": codes[:2]}, ValueError),
        ({"codes": codes + 16, "bits": 4}, ValueError),
        ({"scale": scale.astype(float)}, TypeError),
        ({"scale": scale[:, 0]}, ValueError),
        ({"offset": scale.astype(np.float32)}, TypeError),
        ({"offset": scale[:2]}, ValueError),
        ({"bits": 5}, ValueError),
        ({"zero": 256}, ValueError),
    ):
        arguments = {"codes": codes, "scale": scale, "zero": 128, "bits": 8} | change
        with pytest.raises(error, match="pack: "):
            pack(arguments.pop("codes"), arguments.pop("scale"), **arguments)


def test_arrays_cannot_be_replaced():
    W = quantise(np.ones((32, 3), np.float32), 8)
    assert isinstance(W, Quantised)
    for array in (W.parts[0].codes, W.parts[0].scale):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
