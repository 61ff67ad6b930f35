"""Quantised matrices: their weights, their products, and the gradient of what they multiply."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantised_cases import BLOCKS, FORMATS, OUTPUTS, beside, drawn, inputs, matrix, packed
from usual import usual_kernels

from minillm import use_kernels
from minillm.quantised import Quantised, quantise, quantised_linear
from minillm.quantised import matrix as page
from minillm.quantised.codes import rest_of, round_activations, rounded_product
from minillm.quantised.panels import pack
from minillm.testing import check_gradients, strategies

SMALL = [format for format in FORMATS if inputs([format], 1) == 32]
ROWS = st.one_of(st.integers(1, 5), st.integers(6, 40))


@pytest.mark.parametrize("format", FORMATS)
@given(BLOCKS, OUTPUTS, strategies.generators())
def test_panels_have_the_same_weights_as_the_codes(format, B, O, rng):
    I = inputs([format], B)
    coded = drawn(rng, format, I, O)
    W, expected = matrix(coded), coded.dense()
    for ours, theirs in zip(W.parts[0].coded(), coded, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert W.shape == (I, O)
    assert W.T.shape == (O, I)
    np.testing.assert_array_equal(W.dense(), expected.T)
    np.testing.assert_array_equal(W.T.dense(), expected)
    ids = rng.integers(0, O, (2, 3))
    np.testing.assert_array_equal(W.T.rows(ids), expected[ids])


def test_weights_are_scales_times_codes_less_zero():
    """One block by hand: 0.5 (q - 8), and 0.5 q - 2."""
    coded = drawn(np.random.default_rng(0), "q4_0", 32, 1)
    q = np.arange(32) % 16
    stored = 17 * np.arange(16, dtype=np.uint8)  # the codes i and 16 + i in byte i
    coded = coded._replace(stored=stored[None, None], scale=np.array([[0.5]], "f2"))
    np.testing.assert_array_equal(coded.integers, [[q - 8]])
    np.testing.assert_array_equal(coded.dense(), [0.5 * (q - 8)])
    coded = coded._replace(zero=0, offset=np.array([[-2]], "f2"))
    np.testing.assert_array_equal(matrix(coded).dense()[:, 0], 0.5 * q - 2)


@pytest.mark.parametrize("format", FORMATS)
@given(BLOCKS, OUTPUTS, st.integers(1, 3), strategies.generators())
def test_outputs_may_come_in_pieces(format, B, O, panels, rng):
    coded = drawn(rng, format, inputs([format], B), O)
    whole = pack(O, [coded])
    starts = range(0, O, 16 * panels)
    slices = (slice(first, first + 16 * panels) for first in starts)
    arrays = ("stored", "scale", "offset", "d", "e")
    pieces = (
        coded._replace(**{n: a[some] for n in arrays if (a := getattr(coded, n)) is not None})
        for some in slices
    )
    part = pack(O, pieces)
    for name, array in vars(whole).items():
        np.testing.assert_array_equal(getattr(part, name), array)


@usual_kernels
@settings(max_examples=5)
@given(
    st.integers(1, 2), st.lists(st.sampled_from(SMALL), min_size=1, max_size=3), st.integers(0, 99)
)
def test_the_gradient_without_rounding(kernels, M, formats, seed):
    rng = np.random.default_rng(seed)
    W = beside(*(packed(rng, format, 32, int(rng.integers(1, 20))) for format in formats))
    with use_kernels(kernels):
        check_gradients(lambda x: quantised_linear(x, W), rng.normal(size=(M, 32)), rng=rng)


@pytest.mark.parametrize("wrong", [np.ones((2, 4)), np.ones((2, 3), np.float32), "dy"])
def test_wrong_upstream_gradients_are_refused(wrong):
    W = quantise(np.ones((32, 3)), "Q8_0")
    _, backward = quantised_linear(np.ones((2, 32)), W)
    with pytest.raises((TypeError, ValueError), match="quantised_linear: dy: expected"):
        backward(wrong)


@usual_kernels
@pytest.mark.parametrize("format", FORMATS)
@given(ROWS, BLOCKS, OUTPUTS, strategies.generators())
def test_the_product_of_the_rounded_activations(format, kernels, M, B, O, rng):
    """By its definition, and with the dense matrix in float64."""
    coded = drawn(rng, format, inputs([format], B), O)
    W, x = matrix(coded), rng.normal(size=(M, inputs([format], B))).astype(np.float32)
    rounded, rest = np.zeros(x.shape), x
    for _ in range(2):
        a, t = round_activations(rest)
        rounded += (a * t[:, :, None].astype(np.float64)).reshape(x.shape)
        assert np.abs(rest - (a * t[:, :, None]).reshape(x.shape)).max() <= t.max() / 2 * 1.0001
        rest = rest_of(x, a, t)
    with use_kernels(kernels):
        y, _ = quantised_linear(x.reshape(M, 1, -1), W)
    assert y.shape == (M, 1, O)
    size = np.abs(x) @ np.abs(coded.dense()).T
    assert (np.abs(y[:, 0] - rounded_product(x, coded)) <= 2e-6 * size + 1e-6).all()
    exact = rounded @ W.dense().astype(np.float64)
    size = np.abs(rounded) @ np.abs(W.dense())
    assert (np.abs(y[:, 0] - exact) <= 3e-6 * size + 1e-6).all()


@usual_kernels
@given(
    ROWS, st.lists(st.sampled_from(list(FORMATS)), min_size=1, max_size=3), strategies.generators()
)
def test_matrices_beside_each_other_are_multiplied_as_each_alone(kernels, M, formats, rng):
    I = inputs(formats, 2)
    matrices = [packed(rng, format, I, int(rng.integers(1, 40))) for format in formats]
    W = beside(*matrices)
    x = rng.normal(size=(M, I)).astype(np.float32)
    with use_kernels(kernels):
        y, _ = quantised_linear(x, W)
        each = [quantised_linear(x, matrix)[0] for matrix in matrices]
    np.testing.assert_array_equal(y, np.concatenate(each, axis=1))
    np.testing.assert_array_equal(W.dense(), np.concatenate([m.dense() for m in matrices], axis=1))


@usual_kernels
@given(ROWS, st.integers(1, 2000), strategies.generators())
def test_the_backward_is_that_of_the_dense_matrix(kernels, M, at_once, rng):
    W = beside(*(packed(rng, format, 256, 7) for format in ("q4_1", "q2_k", "iq4_xs", "q8_0")))
    x, dy = (rng.normal(size=(M, n)).astype(np.float32) for n in W.shape)
    with use_kernels(kernels), pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "AT_ONCE", at_once)
        _, backward = quantised_linear(x, W)
        dx = backward(dy)
    np.testing.assert_allclose(dx, dy @ W.dense().T, rtol=1e-4, atol=1e-3)
    assert dx.dtype == np.float32


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
    coded = drawn(rng, format, 64, 17)
    scale = coded.scale
    largest = np.finfo(np.float16).max
    scale[1, 0], scale[2, 1] = largest, np.float16(2**-24)  # numbers with the extreme exponents
    usual = matrix(coded)
    name = "scale" if coded.offset is None else "offset"
    changed = getattr(coded, name).copy()
    changed[[3, 16], 1] = np.uint16(bits).view(np.float16)
    coded.stored[[3, 16]] = 0  # no weight is 0 times infinity, which would be NaN in either case
    W = matrix(coded._replace(**{name: changed}))
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


@pytest.mark.parametrize("value", [0.0, 1e-45, 1e-38, 1e-37, 1e37])
def test_extreme_activations_are_rounded(kernels, value):
    W = quantise(np.eye(32, dtype=np.float32), "Q8_0")
    x = np.full((1, 32), value, np.float32)
    with use_kernels(kernels):
        y, _ = quantised_linear(x, W)
    np.testing.assert_allclose(y, x, rtol=1e-3, atol=2e-36)


def test_wrong_arguments_are_refused():
    W = quantise(np.ones((32, 3), np.float32), "Q8_0")
    x = np.ones((2, 32), np.float32)
    for wrong, error in ((x.astype(int), TypeError), (x[:, :31], ValueError)):
        with pytest.raises(error, match="quantised_linear: "):
            quantised_linear(wrong, W)
    with pytest.raises(ValueError, match="W: expected shape"):
        quantised_linear(x, W.T)
    with pytest.raises(ValueError, match=r"rows: outputs: expected 0\.\.2"):
        W.T.rows(np.array([3]))
    with pytest.raises(ValueError, match="multiple of 32"):
        quantise(np.ones((31, 3), np.float32), "Q8_0")


def test_arrays_cannot_be_replaced():
    W = quantise(np.ones((32, 3), np.float32), "Q8_0")
    assert isinstance(W, Quantised)
    for array in (W.parts[0].codes, W.parts[0].scale):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
