"""The types of numbers in GGUF files: frozen blocks, error bounds, and the package gguf."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minillm.quantised import Quantised, quantise, quantised_linear
from minillm.quantised.blocks import FLOATS, TYPES, WRITTEN, coded, decode, encode
from minillm.quantised.panels import pack

BLOCKS = [type for type in TYPES if type not in FLOATS]
ROWS = hnp.arrays(
    np.float32,
    (2, 256),
    elements=st.floats(-1000, 1000, width=32),
    fill=st.sampled_from([np.float32(0), np.float32(0.37), np.float32(-2)]),
)

HALVES = {  # the places of the float16 of a block
    "Q8_0": [0], "Q5_1": [0, 2], "Q5_0": [0], "Q4_1": [0, 2], "Q4_0": [0], "IQ4_NL": [0],
    "Q6_K": [208], "Q5_K": [0, 2], "Q4_K": [0, 2], "IQ4_XS": [0], "Q3_K": [108], "Q2_K": [80, 82],
}  # fmt: skip
RMS = {  # of the errors of normal weights of variance 1
    "Q8_0": 0.0053, "Q6_K": 0.0187, "Q5_K": 0.0382, "Q5_0": 0.0429,
    "Q4_K": 0.0782, "Q4_1": 0.0785, "Q4_0": 0.0859,
}  # fmt: skip

# A block of each type, whose bytes count up from 3 in steps of 7 and whose float16 are 0.5 and -2;
# and some numbers of it, computed by hand from the format's page.
FROZEN = {
    "Q8_0": {0: 0.5 * 3, 1: 0.5 * 10, 18: 0.5 * (129 - 256), 31: 0.5 * (220 - 256)},
    "Q4_0": {0: 0.5 * (3 - 8), 1: 0.5 * (10 - 8), 16: 0.5 * (0 - 8), 18: 0.5 * (1 - 8)},
    "Q4_1": {0: 0.5 * 3 - 2, 2: 0.5 * 1 - 2, 16: 0.5 * 0 - 2, 31: 0.5 * 6 - 2},
}


def counting(size, floats):
    data = (3 + 7 * np.arange(size)) % 256
    halves = np.array(floats, "<f2").view(np.uint8)
    return np.concatenate([halves, data]).astype(np.uint8)[None]


@pytest.mark.parametrize("type", FROZEN)
def test_a_frozen_block(type):
    floats = [0.5, -2] if type == "Q4_1" else [0.5]
    row = counting(TYPES[type].bytes - 2 * len(floats), floats)
    found = decode(row, type)[0]
    for place, value in FROZEN[type].items():
        assert found[place] == value, place


def test_a_frozen_block_of_q4_k():
    """The scales s and m of the eight parts are in three places; the codes are all 9, then 4."""
    s, m = [1, 2, 63, 4, 5, 33, 7, 48], [10, 0, 20, 61, 3, 47, 60, 16]
    low_s = [s[j] | s[j + 4] >> 4 << 6 for j in range(4)]
    low_m = [m[j] | m[j + 4] >> 4 << 6 for j in range(4)]
    high = [s[j] & 15 | (m[j] & 15) << 4 for j in range(4, 8)]
    floats = np.array([0.5, 0.25], "<f2").view(np.uint8)
    row = np.array([*floats, *low_s, *low_m, *high, *[0x49] * 128], np.uint8)[None]
    expected = [
        0.5 * a * (4 if j % 2 else 9) - 0.25 * b for j, (a, b) in enumerate(zip(s, m, strict=True))
    ]
    np.testing.assert_array_equal(decode(row, "Q4_K")[0], np.repeat(expected, 32))


def test_a_frozen_block_of_q6_k():
    """Weight 128 h + 32 j + l has four bits in one of 64 bytes, and two more in one of 32."""
    q = np.random.default_rng(0).integers(0, 64, 256)
    low, high = np.zeros(128, np.uint8), np.zeros(64, np.uint8)
    for n, code in enumerate(q.tolist()):
        h, j, l = n // 128, n % 128 // 32, n % 32
        low[64 * h + 32 * (j % 2) + l] |= (code & 15) << 4 * (j // 2)
        high[32 * h + l] |= (code >> 4) << 2 * j
    s = np.arange(-8, 8)
    row = np.concatenate([low, high, s.astype(np.int8).view(np.uint8), counting(0, [0.5])[0]])
    expected = 0.5 * np.repeat(s, 16) * (q - 32)
    np.testing.assert_array_equal(decode(row[None], "Q6_K")[0], expected)


def largest_of_256(parts):
    """The largest of the parts of a block of 256 weights, for each of them."""
    largest = parts.reshape(*parts.shape[:-1], -1, parts.shape[-1]).max(axis=-1)
    return np.repeat(largest, parts.shape[-1], axis=-1)


def bound(type, x):
    """The largest error of each weight, and what float16 adds to it."""
    K = {"Q4_K": 32, "Q5_K": 32, "Q6_K": 16}.get(type, TYPES[type].weights)
    parts, half = x.reshape(2, -1, K), 2.0**-10
    low, high = parts.min(axis=-1), parts.max(axis=-1)
    size = np.maximum(high, -low)
    match type:
        case "F32":
            error = 0 * size
        case "F16":
            error = half * size / 2
        case "BF16":
            error = size / 256
        case "Q8_0":
            error = size / 127 * (0.5 + 127 * half)
        case "Q4_0" | "Q5_0":  # the largest code is less than `steps` above the middle
            steps = 8 if type == "Q4_0" else 16
            error = size / steps * (1 + steps * half)
        case "Q4_1":
            error = (high - low) / 15 * (0.5 + 15 * half) + half * np.abs(low)
        case "Q5_K" | "Q4_K":  # scales and offsets are rounded to a 63rd of the largest
            steps = 31 if type == "Q5_K" else 15
            span, below = np.maximum(high, 0) - np.minimum(low, 0), -np.minimum(low, 0)
            widest, deepest = (largest_of_256(a) for a in (span, below))
            error = span / (2 * steps) + 0.6 / 63 * widest + 1.1 / 63 * deepest
            error += 4 * half * size
        case "Q6_K":  # and these to a 127th; the largest code is less than 32 above zero
            error = size / 32 + largest_of_256(size) / 127 * (1 + 2 * 127 * half)
    return np.repeat(error, K, axis=-1) + 3e-5  # the smallest float16 are 6e-8 apart, times 255


@pytest.mark.parametrize("type", WRITTEN)
@given(x=ROWS)
def test_the_error_of_each_weight_has_a_bound(type, x):
    rows = encode(x, type)
    assert rows.dtype == np.uint8
    assert rows.shape == (2, TYPES[type].row_bytes(256))
    error = np.abs(decode(rows, type).astype(np.float64) - x)
    assert (error <= bound(type, x)).all()


@pytest.mark.parametrize("type", ["F32", "F16", "BF16", "Q8_0", "Q4_1"])
@given(x=ROWS)
def test_the_order_of_the_weights_of_a_block_stays(type, x):
    found = decode(encode(x, type), type).reshape(-1, TYPES[type].weights)
    order = np.argsort(x.reshape(found.shape), axis=-1)
    assert (np.diff(np.take_along_axis(found, order, axis=-1), axis=-1) >= 0).all()


@pytest.mark.parametrize("type", ["F32", "F16", "BF16", "Q8_0", "Q5_0", "Q4_0"])
@given(seed=st.integers(0, 99))
def test_what_was_quantised_is_quantised_to_itself(type, seed):
    x = np.random.default_rng(seed).normal(size=(2, 256)).astype(np.float32)
    once = decode(encode(x, type), type)
    np.testing.assert_allclose(decode(encode(once, type), type), once, rtol=1e-3)


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


@pytest.mark.parametrize("type", FLOATS)
def test_floats_are_no_quantised_matrix(type):
    with pytest.raises(ValueError, match=f"expected a type of blocks, found {type}"):
        quantise(np.zeros((32, 2), np.float32), type)


@pytest.mark.parametrize("type", [type for type in WRITTEN if type not in FLOATS])
def test_a_row_of_parts_of_blocks_is_refused(type):
    with pytest.raises(ValueError, match=f"a multiple of {TYPES[type].weights}, found 300"):
        encode(np.zeros((1, 300), np.float32), type)


@pytest.mark.parametrize("type", [type for type in BLOCKS if type not in WRITTEN])
def test_a_type_that_is_only_read(type):
    with pytest.raises(ValueError, match=rf"expected a type of F32, .*, found {type}"):
        encode(np.zeros((1, 256), np.float32), type)


@pytest.mark.parametrize("type", [type for type in WRITTEN if type not in FLOATS])
def test_a_matrix_has_the_same_weights(type):
    W = np.random.default_rng(0).normal(size=(512, 20)).astype(np.float32)
    np.testing.assert_array_equal(quantise(W, type).dense().T, decode(encode(W.T, type), type))


def random_blocks(rng, type, count):
    """Blocks of any bytes, but whose float16 are finite, one in each row."""
    known = TYPES[type]
    if not known.codes:
        return rng.normal(size=(count, known.bytes // 2)).astype("<f2").view(np.uint8)
    rows = rng.integers(0, 256, (count, known.bytes)).astype(np.uint8)
    for at in HALVES[type]:
        rows[:, at : at + 2] = rng.normal(size=(count, 1)).astype("<f2").view(np.uint8)
    return rows


@pytest.mark.parametrize("type", BLOCKS)
def test_random_blocks_of_the_reference(type):
    """Blocks that the package gguf has decoded: make_frozen_blocks.py."""
    with np.load(Path(__file__).parent / "frozen_blocks.npz") as frozen:
        rows, numbers = frozen[f"{type}.rows"], frozen[f"{type}.numbers"]
        x, encoded = frozen["x"], frozen.get(f"{type}.encoded")
    assert decode(rows, type).tobytes() == numbers.tobytes()
    if encoded is not None and type in WRITTEN:
        np.testing.assert_array_equal(encode(x, type), encoded)


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


def test_the_package_gguf_has_the_same_bits():
    quants = pytest.importorskip("gguf.quants")
    numbers = pytest.importorskip("gguf").GGMLQuantizationType
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(40, 512)) * 10.0 ** rng.integers(-4, 3, (40, 1))).astype(np.float32)
    x[0], x[1, :40], x[2] = 0, -3, np.abs(x[2])
    for type in TYPES:
        rows = [encode(x, type)] if type in WRITTEN else []
        for data in (*rows, random_blocks(rng, type, 40)):
            theirs = np.ascontiguousarray(quants.dequantize(data, numbers[type]))
            assert decode(data, type).tobytes() == theirs.tobytes(), type
        if rows and not type.endswith("_K"):  # it only reads these
            again = np.ascontiguousarray(quants.quantize(x, numbers[type]))
            assert rows[0].tobytes() == again.tobytes(), type
