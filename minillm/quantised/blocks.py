"""The types of numbers in a GGUF file: floats, and blocks of small integers with their scales.

A row of a matrix is cut into blocks.  A block stores a small integer, the code, for each weight,
and a few numbers that they share.  All types have the form of :mod:`minillm.quantised.codes`:

    w = scale (code - zero) + offset

    type   weights  bytes  bits   one block in the file
    Q8_0        32     34  8.5    scale (float16), 32 signed bytes
    Q4_0        32     18  4.5    scale (float16), 32 numbers from 0 to 15; zero is 8
    Q4_1        32     20  5.0    scale, offset (float16), 32 numbers from 0 to 15
    Q4_K       256    144  4.5    d, e (float16), eight pairs of 6-bit numbers s and m, 256 numbers
                                  from 0 to 15; 32 weights share scale d s and offset -e m
    Q6_K       256    210  6.6    256 numbers from 0 to 63, 16 signed bytes s, d (float16);
                                  16 weights share scale d s; zero is 32

Two numbers of four bits share a byte; the low halves contain the first half of the weights.

Encoding to Q8_0, Q4_0, Q4_1 and BF16 gives the same bytes as the package gguf, the reference
implementation in NumPy.  llama.cpp searches for the scales of Q4_K and Q6_K with the least squared
error.  Here they follow from the largest and smallest weight of a block, which is simpler.

Legend: O rows of a matrix (outputs), I numbers of a row (inputs).

Source: ggml's ``ggml-quants.c`` (Gerganov et al., from 2023 on).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minillm.errors import InputError, short
from minillm.quantised.codes import Coded, two_in_a_byte

Bytes = NDArray[np.uint8]


FLOATS = ("F32", "F16", "BF16")


@dataclass(frozen=True)
class Type:
    """A type of numbers: its numbers in a file, and how many weights are how many bytes."""

    name: str
    number: int  # of a tensor of this type
    file: int  # of a file with mostly such tensors
    weights: int  # of one block
    bytes: int
    encode: Callable[[NDArray], Bytes]  # (O, blocks, weights) -> (O, blocks, bytes)
    decode: Callable[[Bytes], Coded] | None = None  # (O, blocks, bytes) -> codes; None: floats

    def row_bytes(self, I: int) -> int:
        """The bytes of a row of I numbers."""
        return I // self.weights * self.bytes


def type_of(name: str) -> str:
    """The type of a name in any case, as in "q8_0".  InputError for another name."""
    if name.upper() not in TYPES:
        known = ", ".join(map(str.lower, TYPES))
        raise InputError(f"the type of weights: expected one of {known}, found {short(name)}")
    return name.upper()


# --- from blocks to numbers ----------------------------------------------------------------------


def decode(rows: Bytes, block_type: str) -> NDArray[np.float32]:
    """The numbers of rows of blocks, in float32: rows (O, bytes of a row) -> (O, I)."""
    if block_type == "F32":
        return rows.view("<f4").astype(np.float32, copy=False)
    if block_type == "F16":
        return rows.view("<f2").astype(np.float32)
    if block_type == "BF16":  # the upper half of a float32
        return (rows.view("<u2").astype(np.uint32) << 16).view(np.float32)
    return coded(rows, block_type).dense()


def coded(rows: Bytes, block_type: str) -> Coded:
    """The codes and scales of rows of blocks: rows (O, bytes of a row)."""
    known = TYPES[block_type]
    if known.decode is None:
        raise ValueError(f"expected a type of blocks, found {block_type}")
    return known.decode(rows.reshape(len(rows), -1, known.bytes))


def _decode_q8_0(blocks: Bytes) -> Coded:
    q = blocks[..., 2:] ^ np.uint8(128)  # from -128 .. 127 to 0 .. 255
    return Coded(q, _half(blocks, 0), None, 128, 8)


def _decode_q4_0(blocks: Bytes) -> Coded:
    return Coded(blocks[..., 2:], _half(blocks, 0), None, 8, 4)


def _decode_q4_1(blocks: Bytes) -> Coded:
    return Coded(blocks[..., 4:], _half(blocks, 0), _half(blocks, 2), 0, 4)


def _decode_q4_k(blocks: Bytes) -> Coded:
    d, e = (_half(blocks, at).astype(np.float32)[..., None] for at in (0, 2))
    packed = blocks[..., 4:16].reshape(*blocks.shape[:-1], 3, 4)
    low_s, low_m, high = packed[..., 0, :], packed[..., 1, :], packed[..., 2, :]
    # The first four pairs are whole in the low six bits; the others are in three places.
    s = np.concatenate([low_s & 63, high & 15 | low_s >> 6 << 4], axis=-1)
    m = np.concatenate([low_m & 63, high >> 4 | low_m >> 6 << 4], axis=-1)
    q = _nibbles(blocks[..., 16:].reshape(*blocks.shape[:-1], 4, 32))
    scale, offset = d * s.astype(np.float32), -e * m.astype(np.float32)
    return _side_by_side(q, scale, offset, 0, 4)


def _decode_q6_k(blocks: Bytes) -> Coded:
    low = _nibbles(blocks[..., :128].reshape(*blocks.shape[:-1], 2, 64))  # (..., 2, 128)
    pairs = blocks[..., 128:192].reshape(*blocks.shape[:-1], 2, 1, 32)
    high = pairs >> np.array([[0], [2], [4], [6]], np.uint8) & 3  # (..., 2, 4, 32)
    s = blocks[..., 192:208].view(np.int8).astype(np.float32)
    d = _half(blocks, 208).astype(np.float32)[..., None]
    return _side_by_side(low | high.reshape(low.shape) << 4, d * s, None, 32, 6)


def _side_by_side(
    codes: NDArray, scale: NDArray, offset: NDArray | None, zero: int, bits: int
) -> Coded:
    """The parts of all blocks of a row, each with a scale: codes (O, ...), scale (O, blocks, n)."""
    O = len(scale)
    scale, offset = scale.reshape(O, -1), None if offset is None else offset.reshape(O, -1)
    codes = codes.reshape(*scale.shape, -1)
    return Coded(two_in_a_byte(codes) if bits == 4 else codes, scale, offset, zero, bits)


def _half(blocks: Bytes, at: int) -> NDArray[np.float16]:
    """The float16 at a place of each block."""
    return blocks[..., at : at + 2].view("<f2")[..., 0]


def _nibbles(packed: Bytes) -> Bytes:
    """Numbers of four bits: (..., n) -> (..., 2 n), the low halves first."""
    return np.concatenate([packed & 15, packed >> 4], axis=-1)


# --- from numbers to blocks ----------------------------------------------------------------------


def encode(array: NDArray, block_type: str) -> Bytes:
    """Rows of blocks: array (O, I) -> (O, bytes of a row).

    ValueError unless I is a multiple of the weights of a block, and for numbers that are not
    finite or too large for the type.
    """
    (O, I), known = array.shape, TYPES[block_type]
    if I % known.weights:
        raise ValueError(f"expected rows of a multiple of {known.weights}, found {I}")
    x = array.astype(np.float32, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        rows = known.encode(x.reshape(O, -1, known.weights)).reshape(O, -1)
        if not (np.isfinite(x).all() and np.isfinite(decode(rows, block_type)).all()):
            raise ValueError(f"expected finite numbers that {block_type} can hold, found others")
    return rows


def _encode_f32(x: NDArray) -> Bytes:
    return _bytes(x, "<f4")


def _encode_f16(x: NDArray) -> Bytes:
    return _bytes(x, "<f2")


def _encode_bf16(x: NDArray) -> Bytes:
    """Round to the nearest number whose lower half is zero, and a tie to the even one."""
    bits = x.view(np.uint32).astype(np.uint64)
    return _bytes((bits + 0x7FFF + (bits >> 16 & 1)) >> 16, "<u2")


def _encode_q8_0(x: NDArray) -> Bytes:
    d = np.abs(x).max(axis=-1, keepdims=True) / np.float32(127)
    return _joined(_bytes(d, "<f2"), _rounded(x * _inverse(d)).astype(np.int8).view(np.uint8))


def _encode_q4_0(x: NDArray) -> Bytes:
    """The weight of the largest size becomes -8: so one more step is used than with -7 .. 7."""
    at = np.abs(x).argmax(axis=-1, keepdims=True)
    d = np.take_along_axis(x, at, axis=-1) / np.float32(-8)
    q = np.trunc(x * _inverse(d) + np.float32(8.5))
    return _joined(_bytes(d, "<f2"), _packed(q))


def _encode_q4_1(x: NDArray) -> Bytes:
    low = x.min(axis=-1, keepdims=True)
    d = (x.max(axis=-1, keepdims=True) - low) / np.float32(15)
    q = np.trunc((x - low) * _inverse(d) + np.float32(0.5))
    return _joined(_bytes(d, "<f2"), _bytes(low, "<f2"), _packed(q))


def _encode_q4_k(x: NDArray) -> Bytes:
    """The scale of 32 weights is a fifteenth of their range, which always includes 0."""
    parts = x.reshape(*x.shape[:-1], 8, 32)
    below = -np.minimum(parts.min(axis=-1), 0)  # (O, blocks, 8)
    scale = (np.maximum(parts.max(axis=-1), 0) + below) / np.float32(15)
    d, e = (_as_half(a.max(axis=-1, keepdims=True) / np.float32(63)) for a in (scale, below))
    s = np.minimum(_rounded(scale * _inverse(d)), 63)
    m = np.minimum(_rounded(below * _inverse(e)), 63)
    q = _rounded((parts + (e * m)[..., None]) * _inverse(d * s)[..., None])
    s, m = s.astype(np.uint8), m.astype(np.uint8)
    low_s, low_m, high = s[..., :4], m[..., :4], s[..., 4:] & 15 | m[..., 4:] << 4
    low_s, low_m = low_s | s[..., 4:] >> 4 << 6, low_m | m[..., 4:] >> 4 << 6
    nibbles = _packed(q.reshape(*x.shape[:-1], 4, 64)).reshape(*x.shape[:-1], 128)
    return _joined(_bytes(d, "<f2"), _bytes(e, "<f2"), low_s, low_m, high, nibbles)


def _encode_q6_k(x: NDArray) -> Bytes:
    """The scale of 16 weights is a 32nd of the largest of them, which becomes -32."""
    parts = x.reshape(*x.shape[:-1], 16, 16)
    at = np.abs(parts).argmax(axis=-1, keepdims=True)
    scale = np.take_along_axis(parts, at, axis=-1)[..., 0] / np.float32(-32)
    d = _as_half(np.abs(scale).max(axis=-1, keepdims=True) / np.float32(127))
    s = np.clip(_rounded(scale * _inverse(d)), -127, 127)
    q = np.clip(_rounded(parts * _inverse(d * s)[..., None]) + 32, 0, 63)
    q = q.astype(np.uint8).reshape(*x.shape[:-1], 2, 4, 32)
    low = _packed(q.reshape(*q.shape[:-2], 128) & 15).reshape(*x.shape[:-1], 128)
    high = (q >> 4 << np.array([[0], [2], [4], [6]], np.uint8)).sum(axis=-2, dtype=np.uint8)
    signed = s.astype(np.int8).view(np.uint8)
    return _joined(low, high.reshape(*x.shape[:-1], 64), signed, _bytes(d, "<f2"))


def _rounded(x: NDArray) -> NDArray:
    """The nearest whole number; of two, the one further from zero, as in C."""
    size = np.abs(x)
    below = np.floor(size)
    return np.copysign(below + (size - below >= 0.5), x)


def _inverse(d: NDArray) -> NDArray:
    """1 / d; 0 where d is so small that this is not finite."""
    with np.errstate(divide="ignore"):
        inverse = np.float32(1) / d
    return np.where(np.isfinite(inverse), inverse, np.float32(0))


def _as_half(d: NDArray) -> NDArray:
    """Numbers as float16 holds them."""
    return d.astype(np.float16).astype(np.float32)


def _packed(q: NDArray) -> Bytes:
    """Two numbers in one byte, clipped to 0 .. 15: (..., 2 n) -> (..., n)."""
    return two_in_a_byte(np.clip(q, 0, 15).astype(np.uint8))


def _bytes(x: NDArray, dtype: str) -> Bytes:
    """The bytes of numbers in another dtype."""
    return np.ascontiguousarray(x.astype(dtype)).view(np.uint8)


def _joined(*parts: Bytes) -> Bytes:
    return np.concatenate(parts, axis=-1)


TYPES = {
    known.name: known
    for known in (
        Type("F32", 0, 0, 1, 4, _encode_f32),
        Type("F16", 1, 1, 1, 2, _encode_f16),
        Type("Q4_0", 2, 2, 32, 18, _encode_q4_0, _decode_q4_0),
        Type("Q4_1", 3, 3, 32, 20, _encode_q4_1, _decode_q4_1),
        Type("Q8_0", 8, 7, 32, 34, _encode_q8_0, _decode_q8_0),
        Type("Q4_K", 12, 14, 256, 144, _encode_q4_k, _decode_q4_k),
        Type("Q6_K", 14, 18, 256, 210, _encode_q6_k, _decode_q6_k),
        Type("BF16", 30, 32, 1, 2, _encode_bf16),
    )
}
