"""The types of numbers in GGUF files: frozen blocks, error bounds, the package gguf; and planes."""

from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from quantised_cases import planes_of

from minillm.quantised import Quantised, quantise, quantised_linear
from minillm.quantised.blocks import FLOATS, TYPES, WRITTEN, coded, decode, encode
from minillm.quantised.panels import pack
from minillm.quantised.planes import PLANES, from_planes

from .make_frozen_blocks import computed, frozen, random_blocks

BLOCKS = [type for type in TYPES if type not in FLOATS]
ROWS = hnp.arrays(
    np.float32,
    (2, 256),
    elements=st.floats(-1000, 1000, width=32),
    fill=st.sampled_from([np.float32(0), np.float32(0.37), np.float32(-2)]),
)

# Of the errors of normal weights of variance 1; the package gguf encodes the types without a K.
RMS = {"Q6_K": 0.0187, "Q5_K": 0.0382, "Q4_K": 0.0782}


@pytest.mark.parametrize("type", [*BLOCKS, "F16", "BF16"])
def test_the_package_gguf_has_the_same_bits(type):
    """Now, or when it was asked.  It decodes all types, and encodes those without a K."""
    if find_spec("gguf"):
        rng = np.random.default_rng(1)
        x = (rng.normal(size=(40, 512)) * 10.0 ** rng.integers(-4, 3, (40, 1))).astype(np.float32)
        x[0], x[1, :40], x[2] = 0, -3, np.abs(x[2])
        x[3, ::2] = 1 + 3 / 256  # halfway between two of BF16
        x[4], x[4, ::32] = 0.5, 127  # and of Q8_0
        rows, numbers, encoded = computed(rng, type, x, 40)
    else:
        x, rows, numbers, encoded = frozen(type)
    assert decode(rows, type).tobytes() == numbers.tobytes()
    if encoded is not None and type in WRITTEN:
        np.testing.assert_array_equal(encode(x, type), encoded)


def largest_of_256(parts):
    """The largest of the parts of a block of 256 weights, for each of them."""
    largest = parts.reshape(*parts.shape[:-1], -1, parts.shape[-1]).max(axis=-1)
    return np.repeat(largest, parts.shape[-1], axis=-1)


def bound(type, x):
    """The largest error of each weight, and what float16 adds to it."""
    K = 16 if type == "Q6_K" else 32
    parts, half = x.reshape(2, -1, K), 2.0**-10
    low, high = parts.min(axis=-1), parts.max(axis=-1)
    size = np.maximum(high, -low)
    if type == "Q6_K":  # scales are rounded to a 127th; the largest code is less than 32 above zero
        error = size / 32 + largest_of_256(size) / 127 * (1 + 2 * 127 * half)
    else:  # scales and offsets are rounded to a 63rd of the largest
        steps = 31 if type == "Q5_K" else 15
        span, below = np.maximum(high, 0) - np.minimum(low, 0), -np.minimum(low, 0)
        widest, deepest = (largest_of_256(a) for a in (span, below))
        error = span / (2 * steps) + 0.6 / 63 * widest + 1.1 / 63 * deepest
        error += 4 * half * size
    return np.repeat(error, K, axis=-1) + 3e-5  # the smallest float16 are 6e-8 apart, times 255


@pytest.mark.parametrize("type", RMS)
@given(x=ROWS)
def test_the_error_of_each_weight_has_a_bound(type, x):
    rows = encode(x, type)
    assert rows.dtype == np.uint8
    assert rows.shape == (2, TYPES[type].row_bytes(256))
    error = np.abs(decode(rows, type).astype(np.float64) - x)
    assert (error <= bound(type, x)).all()


@pytest.mark.parametrize(
    ("type", "most", "codes"),
    [("Q6_K", 127, (-32, 31)), ("Q5_K", 63, (0, 31)), ("Q4_K", 63, (0, 15))],
)
def test_weights_that_need_all_scales_and_codes_are_exact(type, most, codes):
    rng = np.random.default_rng(0)
    K = 16 if type == "Q6_K" else 32
    s, m = (rng.integers(5, most + 1, (4, 256 // K, 1)) for _ in range(2))
    q = rng.integers(*codes, (4, 256 // K, K), endpoint=True)
    s[:, 0], m[:, 1], q[..., :2] = most, most, codes
    x = (s * q - m * (type != "Q6_K")).reshape(4, 256).astype(np.float32)
    np.testing.assert_array_equal(decode(encode(x, type), type), x)


@pytest.mark.parametrize("type", WRITTEN)
def test_zeros_and_tiny_numbers(type):
    assert (decode(encode(np.zeros((1, 256), np.float32), type), type) == 0).all()
    tiny = np.full((1, 256), 1e-40, np.float32)  # 1 / scale is infinite
    assert np.abs(decode(encode(tiny, type), type)).max() < 1e-6


@pytest.mark.parametrize("type", WRITTEN)
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 3e38])
def test_numbers_that_a_type_cannot_hold_are_refused(type, number):
    x = np.zeros((2, 256), np.float32)
    x[1, 77] = number
    if number == 3e38 and type in ("F32", "BF16"):
        assert decode(encode(x, type), type)[1, 77] > 2.9e38
        return
    with pytest.raises(ValueError, match=f"expected finite numbers that {type} can hold"):
        encode(x, type)


def test_types_and_rows_that_are_refused():
    for type in TYPES:
        if type in FLOATS:
            with pytest.raises(ValueError, match=f"expected a type of blocks, found {type}"):
                quantise(np.zeros((32, 2), np.float32), type)
        elif type in WRITTEN:
            with pytest.raises(ValueError, match=f"multiple of {TYPES[type].weights}, found 300"):
                encode(np.zeros((1, 300), np.float32), type)
        else:  # it is only read
            with pytest.raises(ValueError, match=rf"expected a type of F32, .*, found {type}"):
                encode(np.zeros((1, 256), np.float32), type)


@pytest.mark.parametrize("type", [type for type in WRITTEN if type not in FLOATS])
def test_a_matrix_has_the_same_weights(type):
    W = np.random.default_rng(0).normal(size=(512, 20)).astype(np.float32)
    np.testing.assert_array_equal(quantise(W, type).dense().T, decode(encode(W.T, type), type))


@pytest.mark.parametrize("type", BLOCKS)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_random_blocks_in_a_product_have_their_weights(type, seed, M):
    """The product of unit vectors, in the kernel that runs, is a row of the decoded numbers."""
    rng = np.random.default_rng(seed)
    row = random_blocks(rng, type, 5)
    W = Quantised((pack(5, [coded(row, type)]),))
    expected = decode(row, type)
    np.testing.assert_array_equal(W.T.rows(np.arange(5)), expected)
    inputs = rng.integers(0, expected.shape[1], M)
    x = np.zeros((M, expected.shape[1]), np.float32)
    x[np.arange(M), inputs] = 127
    y, _ = quantised_linear(x, W)
    np.testing.assert_allclose(y, 127 * expected[:, inputs].T, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("type", "expected"), RMS.items())
def test_the_error_on_weights_of_a_normal_distribution(type, expected):
    x = np.random.default_rng(0).normal(size=(64, 1024)).astype(np.float32)
    error = decode(encode(x, type), type) - x
    assert np.sqrt(np.mean(error**2)) == pytest.approx(expected, rel=0.02)


# --- codes as planes of bits ----------------------------------------------------------------------


@pytest.mark.parametrize("bits", PLANES)
@given(hnp.arrays(np.uint8, (2, 3, 32), elements=st.integers(0, 255)))
def test_planes_there_and_back(bits, numbers):
    codes = numbers & (1 << bits) - 1
    lines = planes_of(codes, bits)
    assert lines.shape == (2, 3, 4 * bits)
    np.testing.assert_array_equal(from_planes(lines), codes)


@pytest.mark.parametrize("bits", PLANES)
def test_each_bit_of_a_plane_is_where_the_definition_says(bits):
    """Code i of word w has its p bits of a plane in byte i of line w mod p."""
    codes = np.random.default_rng(bits).integers(0, 1 << bits, 32).astype(np.uint8)
    lines, first = planes_of(codes, bits).reshape(bits, 4), 0
    for p in PLANES[bits]:
        for w in range(8):
            for i in range(4):
                found = lines[first + w % p, i] >> p * (w // p) & (1 << p) - 1
                assert found == codes[4 * w + i] >> first & (1 << p) - 1
        first += p
