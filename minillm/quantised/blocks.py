"""The types of numbers in a GGUF file: floats, and blocks of small integers with their scales.

A row of a matrix is cut into blocks.  A block stores a small integer, the code, for each weight,
and a few numbers that they share.  All types have the form of :mod:`minillm.quantised.codes`:

    w = scale (code - zero) + offset

    type    weights  bytes  bits   one block in the file
    Q8_0         32     34  8.5    scale (float16), 32 signed bytes
    Q5_1         32     24  6.0    scale, offset (float16), the fifth bits, 32 numbers from 0 to 15
    Q5_0         32     22  5.5    scale (float16), the same; zero is 16
    Q4_1         32     20  5.0    scale, offset (float16), 32 numbers from 0 to 15
    Q4_0         32     18  4.5    scale (float16), 32 numbers from 0 to 15; zero is 8
    IQ4_NL       32     18  4.5    the same, and the code has a level, from 1 to 241; zero is 128
    Q6_K        256    210  6.6    codes of 6 bits; d and 16 scales s of 8 bits; zero is 32
    Q5_K        256    176  5.5    codes of 5 bits; d, e and 8 scales s and offsets m of 6 bits
    Q4_K        256    144  4.5    the same with codes of 4 bits
    IQ4_XS      256    136  4.25   codes of 4 bits, with levels; d and 8 scales s of 6 bits
    Q3_K        256    110  3.4    codes of 3 bits; d and 16 scales s of 6 bits; zero is 4
    Q2_K        256     84  2.6    codes of 2 bits; d, e and 16 scales s and offsets m of 4 bits

Blocks of 256 have float16 d and e: 16 or 32 weights share the scale d s and the offset -e m.

Two numbers of four bits share a byte; the low halves contain the first half of the weights.

All types are read.  Those that fit weights better than others of their size, or that people ask
for by name, are written, too: floats, Q8_0, Q5_0, Q4_1, Q4_0, Q6_K, Q5_K and Q4_K.  BF16 and the
types of 32 weights get the same bytes as from the package gguf, the reference implementation in
NumPy.  llama.cpp searches for the scales of the K types with the least squared error.  Here they
follow from the largest and smallest weight of a block, which is simpler.

Legend: O rows of a matrix (outputs), I numbers of a row (inputs).

Source: ggml's ``ggml-quants.c`` (Gerganov et al., from 2023 on).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from minillm.quantised.codes import BLOCK, LEVELS, Coded
from minillm.quantised.planes import to_planes

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
    decode: Callable[[Bytes], Coded] | None  # (O, blocks, bytes) -> codes; None: floats
    encode: Callable[[NDArray], Bytes] | None = None  # the inverse; None: the type is only read

    @property
    def bits(self) -> float:
        """The bits of a weight in a file, scales included."""
        return 8 * self.bytes / self.weights

    def row_bytes(self, I: int) -> int:
        """The bytes of a row of I numbers."""
        return I // self.weights * self.bytes


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
    return Coded(q, _half(blocks, 0), None, 128)


def _decode_q5_0(blocks: Bytes) -> Coded:
    return Coded(_five(blocks[..., 6:], blocks[..., 2:6]), _half(blocks, 0), None, 16)


def _decode_q5_1(blocks: Bytes) -> Coded:
    stored = _five(blocks[..., 8:], blocks[..., 4:8])
    return Coded(stored, _half(blocks, 0), _half(blocks, 2), 0)


def _five(low: Bytes, fifth: Bytes) -> Bytes:
    """The planes of codes, whose fifth bits (..., 4) are in the order of the weights."""
    return _joined(low, to_planes(1, np.unpackbits(fifth, axis=-1, bitorder="little")))


def _decode_q4_0(blocks: Bytes) -> Coded:
    return Coded(blocks[..., 2:], _half(blocks, 0), None, 8)


def _decode_q4_1(blocks: Bytes) -> Coded:
    return Coded(blocks[..., 4:], _half(blocks, 0), _half(blocks, 2), 0)


def _decode_iq4_nl(blocks: Bytes) -> Coded:
    return Coded(blocks[..., 2:], _half(blocks, 0), None, 128, levels=LEVELS)


def _decode_q6_k(blocks: Bytes) -> Coded:
    low, high = _parts(blocks[..., :128], 64, 4), _parts(blocks[..., 128:192], 32, 2)
    return _of_256(_lines(6, low, high), blocks, blocks[..., 192:208], 208, zero=32)


def _decode_q5_k(blocks: Bytes) -> Coded:
    low, high = _parts(blocks[..., 48:], 32, 4), _parts(blocks[..., 16:48], 32, 1)
    s, m = _six_bits(blocks[..., 4:16])
    return _of_256(_lines(5, low, high), blocks, s, 0, m, 2)


def _decode_q4_k(blocks: Bytes) -> Coded:
    s, m = _six_bits(blocks[..., 4:16])
    return _of_256(_lines(4, _parts(blocks[..., 16:], 32, 4)), blocks, s, 0, m, 2)


def _six_bits(packed: Bytes) -> tuple[Bytes, Bytes]:
    """Eight scales s and offsets m of Q4_K and Q5_K: (..., 12) -> (..., 8) each."""
    low_s, low_m, high = (packed[..., at : at + 4] for at in (0, 4, 8))
    # The first four pairs are whole in the low six bits; the others are in three places.
    s = _joined(low_s & 63, high & 15 | low_s >> 6 << 4)
    m = _joined(low_m & 63, high >> 4 | low_m >> 6 << 4)
    return s, m


def _decode_iq4_xs(blocks: Bytes) -> Coded:
    low, high = _parts(blocks[..., 4:8], 1, 4), _parts(blocks[..., 2:4], 1, 2)
    s = low.reshape(high.shape) | high << 4
    s = s.reshape(*blocks.shape[:-1], 8) - np.uint8(32)
    stored = blocks[..., 8:].reshape(len(blocks), -1, 16)
    return _of_256(stored, blocks, s, 0, zero=128)._replace(levels=LEVELS)


def _decode_q3_k(blocks: Bytes) -> Coded:
    low, high = _parts(blocks[..., 96:104], 8, 4), _parts(blocks[..., 104:108], 4, 2)
    s = low.reshape(high.shape) | high << 4
    s = s.reshape(*blocks.shape[:-1], 16) - np.uint8(32)
    low, high = _parts(blocks[..., 32:96], 32, 2), _parts(blocks[..., :32], 32, 1)
    return _of_256(_lines(3, low, high), blocks, s, 108, zero=4)


def _decode_q2_k(blocks: Bytes) -> Coded:
    q, s, m = _parts(blocks[..., 16:80], 32, 2), blocks[..., :16] & 15, blocks[..., :16] >> 4
    return _of_256(_lines(2, q), blocks, s, 80, m, 82)


def _lines(bits: int, *parts: Bytes) -> Bytes:
    """The planes of parts of codes in the order of the weights, the lowest bits first."""
    return to_planes(bits, *(part.reshape(len(part), -1, BLOCK) for part in parts))


def _of_256(
    stored: Bytes,
    blocks: Bytes,
    s: NDArray,
    d: int,
    m: NDArray | None = None,
    e: int = 0,
    zero: int = 0,
) -> Coded:
    """Codes with scales s, offsets m, and the places of d and e in a block."""
    O = len(blocks)
    scale = s.view(np.int8).reshape(O, -1)
    if m is None:
        return Coded(stored, scale, None, zero, _half(blocks, d))
    offset = m.view(np.int8).reshape(O, -1)
    return Coded(stored, scale, offset, zero, _half(blocks, d), -_half(blocks, e))


def _half(blocks: Bytes, at: int) -> NDArray[np.float16]:
    """The float16 at a place of each block."""
    return blocks[..., at : at + 2].view("<f2")[..., 0]


def _parts(packed: Bytes, n: int, bits: int) -> Bytes:
    """Numbers of 1, 2 or 4 bits: n bytes contain n numbers in their lowest bits, then n above.

    (..., bytes) -> (..., bytes / n, 8 / bits, n).
    """
    several = np.dtype(np.uint32 if n % 4 == 0 else np.uint8)  # bytes at once
    words: NDArray = np.ascontiguousarray(packed).view(several)
    words = words.reshape(*words.shape[:-1], -1, 1, n // words.itemsize)
    mask = np.full(words.itemsize, (1 << bits) - 1, np.uint8).view(several)
    return (words >> np.arange(0, 8, bits, dtype=several)[:, None] & mask).view(np.uint8)


# --- from numbers to blocks ----------------------------------------------------------------------


def encode(array: NDArray, block_type: str) -> Bytes:
    """Rows of blocks: array (O, I) -> (O, bytes of a row).

    ValueError for a type that is only read, unless I is a multiple of the weights of a block, and
    for numbers that are not finite or too large for the type.
    """
    (O, I), known = array.shape, TYPES[block_type]
    if known.encode is None:
        raise ValueError(f"expected a type of {', '.join(WRITTEN)}, found {block_type}")
    if I % known.weights:
        raise ValueError(f"expected rows of a multiple of {known.weights}, found {I}")
    x = array.astype(np.float32, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        rows = known.encode(x.reshape(O, -1, known.weights)).reshape(O, -1)
        if not (np.isfinite(x).all() and np.isfinite(decode(rows, block_type)).all()):
            raise ValueError(f"expected finite numbers that {block_type} can hold, found others")
    return rows


def _encode_bf16(x: NDArray) -> Bytes:
    """Round to the nearest number whose lower half is zero, and a tie to the even one."""
    bits = x.view(np.uint32).astype(np.uint64)
    return _bytes((bits + 0x7FFF + (bits >> 16 & 1)) >> 16, "<u2")


def _encode_q8_0(x: NDArray) -> Bytes:
    d = np.abs(x).max(axis=-1, keepdims=True) / np.float32(127)
    return _joined(_bytes(d, "<f2"), _rounded(x * _inverse(d)).astype(np.int8).view(np.uint8))


def _encode_q5_0(x: NDArray) -> Bytes:
    q, d = _around_zero(x, 16)
    fifth = np.packbits(q >> 4, axis=-1, bitorder="little")  # of all 32 codes
    return _joined(_bytes(d, "<f2"), fifth, _packed(q & 15, 16, 4))


def _encode_q4_1(x: NDArray) -> Bytes:
    """Codes of 15 steps from the least weight up to the largest."""
    low = x.min(axis=-1, keepdims=True)
    d = (x.max(axis=-1, keepdims=True) - low) / np.float32(15)
    q = _clipped((x - low) * _inverse(d) + np.float32(0.5), 15)
    return _joined(_bytes(d, "<f2"), _bytes(low, "<f2"), _packed(q, 16, 4))


def _encode_q4_0(x: NDArray) -> Bytes:
    q, d = _around_zero(x, 8)
    return _joined(_bytes(d, "<f2"), _packed(q, 16, 4))


def _around_zero(x: NDArray, zero: int) -> tuple[Bytes, NDArray]:
    """Codes, and the size of a step.

    The weight of the largest size becomes -zero: so one more step is used than with 1 - zero.
    """
    d = _largest(x, zero)
    return _clipped(x * _inverse(d) + np.float32(zero + 0.5), 2 * zero - 1), d


def _largest(x: NDArray, steps: int) -> NDArray:
    """The scale (..., 1) that makes the weight of the largest size -steps."""
    at = np.abs(x).argmax(axis=-1, keepdims=True)
    return np.take_along_axis(x, at, axis=-1) / np.float32(-steps)


def _encode_q6_k(x: NDArray) -> Bytes:
    """The weight of the largest size of 16 becomes -32, the code of the largest size."""
    parts = x.reshape(*x.shape[:-1], 16, 16)
    s, d = _with_factor(_largest(parts, 32)[..., 0], 127)
    q = _clipped(_rounded(parts * _inverse(d * s)[..., None]) + np.float32(32), 63)
    q = q.reshape(x.shape)
    low, high = _packed(q & 15, 64, 4), _packed(q >> 4, 32, 2)
    return _joined(low, high, s.astype(np.int8).view(np.uint8), _bytes(d, "<f2"))


def _encode_q5_k(x: NDArray) -> Bytes:
    q, scales = _with_offset(x, 31)
    return _joined(scales, _packed(q >> 4, 32, 1), _packed(q & 15, 32, 4))


def _encode_q4_k(x: NDArray) -> Bytes:
    q, scales = _with_offset(x, 15)
    return _joined(scales, _packed(q, 32, 4))


def _with_offset(x: NDArray, steps: int) -> tuple[Bytes, Bytes]:
    """Codes in the order of the weights, and the bytes of d, e, eight scales and eight offsets.

    The codes of 32 weights span their range, which always includes 0.
    """
    parts = x.reshape(*x.shape[:-1], 8, 32)
    below = -np.minimum(parts.min(axis=-1), 0)  # (O, blocks, 8)
    scale = (np.maximum(parts.max(axis=-1), 0) + below) / np.float32(steps)
    (s, d), (m, e) = _with_factor(scale, 63), _with_factor(below, 63)
    q = _clipped(_rounded((parts + (e * m)[..., None]) * _inverse(d * s)[..., None]), steps)
    s, m = s.astype(np.uint8), m.astype(np.uint8)
    # As _six_bits reads them.
    low_s, low_m, high = s[..., :4], m[..., :4], s[..., 4:] & 15 | m[..., 4:] << 4
    packed = low_s | s[..., 4:] >> 4 << 6, low_m | m[..., 4:] >> 4 << 6, high
    return q.reshape(x.shape), _joined(_bytes(d, "<f2"), _bytes(e, "<f2"), *packed)


def _with_factor(scale: NDArray, most: int) -> tuple[NDArray, NDArray]:
    """Numbers as d s: s whole numbers (O, blocks, n) from -most to most, d (O, blocks, 1)."""
    d = np.abs(scale).max(axis=-1, keepdims=True) / np.float32(most)
    d = d.astype(np.float16).astype(np.float32)  # as a file holds it
    return np.clip(_rounded(scale * _inverse(d)), -most, most), d


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


def _clipped(q: NDArray, most: int) -> Bytes:
    """Numbers without their fractions, clipped to 0 .. most."""
    return np.clip(q, 0, most).astype(np.uint8)


def _packed(q: NDArray, n: int, bits: int) -> Bytes:
    """The inverse of :func:`_parts`: (..., numbers) -> (..., bytes)."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    parts = q.reshape(*q.shape[:-1], -1, 8 // bits, n)
    return np.bitwise_or.reduce(parts << shifts, axis=-2).reshape(*q.shape[:-1], -1)


def _bytes(x: NDArray, dtype: str) -> Bytes:
    """The bytes of numbers in another dtype."""
    return np.ascontiguousarray(x.astype(dtype)).view(np.uint8)


def _joined(*parts: NDArray) -> Bytes:
    return np.concatenate(parts, axis=-1)


TYPES = {
    known.name: known
    for known in (
        Type("F32", 0, 0, 1, 4, None, partial(_bytes, dtype="<f4")),
        Type("F16", 1, 1, 1, 2, None, partial(_bytes, dtype="<f2")),
        Type("Q4_0", 2, 2, 32, 18, _decode_q4_0, _encode_q4_0),
        Type("Q4_1", 3, 3, 32, 20, _decode_q4_1, _encode_q4_1),
        Type("Q5_0", 6, 8, 32, 22, _decode_q5_0, _encode_q5_0),
        Type("Q5_1", 7, 9, 32, 24, _decode_q5_1),
        Type("Q8_0", 8, 7, 32, 34, _decode_q8_0, _encode_q8_0),
        Type("Q2_K", 10, 10, 256, 84, _decode_q2_k),
        Type("Q3_K", 11, 11, 256, 110, _decode_q3_k),
        Type("Q4_K", 12, 14, 256, 144, _decode_q4_k, _encode_q4_k),
        Type("Q5_K", 13, 16, 256, 176, _decode_q5_k, _encode_q5_k),
        Type("Q6_K", 14, 18, 256, 210, _decode_q6_k, _encode_q6_k),
        Type("IQ4_NL", 20, 25, 32, 18, _decode_iq4_nl),
        Type("IQ4_XS", 23, 30, 256, 136, _decode_iq4_xs),
        Type("BF16", 30, 32, 1, 2, None, _encode_bf16),
    )
}
WRITTEN = tuple(name for name, known in TYPES.items() if known.encode)
