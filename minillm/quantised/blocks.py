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

Two numbers of four bits share a byte; the low halves contain the first half of the weights.  The
rows of ``TYPES`` say where a block has the bits of its codes, and how its scales are read.

All types are read.  Those that fit weights better than others of their size, or that people ask
for by name, are written, too: floats, Q8_0, Q5_0, Q4_1, Q4_0, Q6_K, Q5_K and Q4_K.  BF16 and the
types of 32 weights get the same bytes as from the package gguf, the reference implementation in
NumPy.  llama.cpp searches for the scales of the K types with the least squared error.  Here they
follow from the largest and smallest weight of a block, which is simpler.

Legend: O rows of a matrix (outputs), I numbers of a row (inputs).

Source: ggml's ``ggml-quants.c`` (Gerganov et al., from 2023 on).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from minillm.quantised.codes import BLOCK, LEVELS, Coded
from minillm.quantised.planes import to_plane

Bytes = NDArray[np.uint8]
Written = tuple[
    NDArray, Mapping[int, Bytes]
]  # the codes of blocks, and their bytes at other places

FLOATS = ("F32", "F16", "BF16")


class Part(NamedTuple):
    """Some bits of each number of a block, in its bytes from ``begin`` to ``end``.

    The lowest bits of n bytes belong to n numbers, the bits above them to the next n numbers, and
    so on; then come the next n bytes.
    """

    begin: int
    end: int
    n: int
    bits: int  # 1, 2, 4 or 8


@dataclass(frozen=True)
class Type:
    """A type of numbers: its numbers in a file, how many weights are how many bytes, and where.

    A block has float16 at ``d`` and perhaps ``e``: the scale and the offset, or of 256 weights the
    factors of ``scales``.
    """

    name: str
    number: int  # of a tensor of this type
    file: int  # of a file with mostly such tensors
    weights: int  # of one block
    bytes: int
    encode: Callable[[NDArray], Written] | None = None  # None: the type is only read
    codes: tuple[Part, ...] = ()  # the lowest bits of the codes first; none: floats
    zero: int = 0
    d: int = 0
    e: int | None = None
    scales: Callable[[Bytes], tuple[NDArray, Any]] | None = None  # scales and offsets, if any
    levels: NDArray[np.uint8] | None = None

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
    O, known = len(rows), TYPES[block_type]
    if not known.codes:
        raise ValueError(f"expected a type of blocks, found {block_type}")
    blocks = rows.reshape(O, -1, known.bytes)
    stored = _joined(*(_plane(part, blocks) for part in known.codes))
    d, e = _half(blocks, known.d), None if known.e is None else _half(blocks, known.e)
    if known.scales is None:
        return Coded(stored, d, e, known.zero, levels=known.levels)
    s, m = known.scales(blocks)
    s, m = s.view(np.int8).reshape(O, -1), None if m is None else m.view(np.int8).reshape(O, -1)
    return Coded(stored, s, m, known.zero, d, None if e is None else -e, known.levels)


def _plane(part: Part, blocks: Bytes) -> Bytes:
    """Some bits of all codes in the order of a plane: (O, I / 32, 4 bits)."""
    O, bits = len(blocks), part.bits
    if bits == 8:  # signed, from -128 .. 127 to 0 .. 255
        return blocks[..., part.begin : part.end] ^ np.uint8(128)
    if part.n == 4 * bits:  # the order of a plane
        return blocks[..., part.begin : part.end].reshape(O, -1, part.n)
    return to_plane(bits, _numbers(part, blocks).reshape(O, -1, BLOCK))


def _numbers(part: Part, blocks: Bytes) -> Bytes:
    """The numbers of a part of each block, (O, blocks, numbers)."""
    begin, end, n, bits = part
    several = np.dtype(np.uint32 if n % 4 == 0 else np.uint8)  # bytes at once
    words: NDArray = np.ascontiguousarray(blocks[..., begin:end]).view(several)
    words = words.reshape(*words.shape[:-1], -1, 1, n // words.itemsize)
    mask = np.full(words.itemsize, (1 << bits) - 1, np.uint8).view(several)
    numbers = words >> np.arange(0, 8, bits, dtype=several)[:, None] & mask
    return numbers.view(np.uint8).reshape(*blocks.shape[:-1], -1)


def _half(blocks: Bytes, at: int) -> NDArray[np.float16]:
    """The float16 at a place of each block."""
    return blocks[..., at : at + 2].view("<f2")[..., 0]


def _pairs_of_six_bits(blocks: Bytes) -> tuple[Bytes, Bytes]:
    """Eight scales s and offsets m of Q4_K and Q5_K: (O, blocks, 8) each."""
    low_s, low_m, high = (blocks[..., at : at + 4] for at in (4, 8, 12))
    # The first four pairs are whole in the low six bits; the others are in three places.
    s = _joined(low_s & 63, high & 15 | low_s >> 6 << 4)
    m = _joined(low_m & 63, high >> 4 | low_m >> 6 << 4)
    return s, m


def _six_bits(low: Part, high: Part, blocks: Bytes) -> tuple[NDArray, None]:
    """Scales s of six bits, less 32."""
    return (_numbers(low, blocks) | _numbers(high, blocks) << 4) - np.uint8(32), None


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
    blocks = np.empty((O, I // known.weights, known.bytes), np.uint8)
    with np.errstate(over="ignore", invalid="ignore"):
        q, others = known.encode(x.reshape(O, -1, known.weights))
        for at, piece in others.items():
            blocks[..., at : at + piece.shape[-1]] = piece
        for begin, end, n, bits in known.codes:
            parts = (q & (1 << bits) - 1).reshape(*q.shape[:-1], -1, 8 // bits, n)
            shifted = parts << np.arange(0, 8, bits, dtype=np.uint8)[:, None]
            packed = np.bitwise_or.reduce(shifted, axis=-2)
            blocks[..., begin:end] = packed.reshape(*q.shape[:-1], -1)
            q = q >> bits
        rows = blocks.reshape(O, -1)
        if not (np.isfinite(x).all() and np.isfinite(decode(rows, block_type)).all()):
            raise ValueError(f"expected finite numbers that {block_type} can hold, found others")
    return rows


def _floats(x: NDArray, dtype: str) -> Written:
    return x, {0: _bytes(x, dtype)}


def _bfloat16(x: NDArray) -> Written:
    """Round to the nearest number whose lower half is zero, and a tie to the even one."""
    bits = x.view(np.uint32).astype(np.uint64)
    return x, {0: _bytes((bits + 0x7FFF + (bits >> 16 & 1)) >> 16, "<u2")}


def _signed(x: NDArray) -> Written:
    """The weight of the largest size becomes 127, or -127."""
    d = np.abs(x).max(axis=-1, keepdims=True) / np.float32(127)
    return _rounded(x * _inverse(d)).astype(np.int8).view(np.uint8), {0: _bytes(d, "<f2")}


def _between(x: NDArray) -> Written:
    """Codes of 15 steps from the least weight up to the largest."""
    low = x.min(axis=-1, keepdims=True)
    d = (x.max(axis=-1, keepdims=True) - low) / np.float32(15)
    q = _clipped((x - low) * _inverse(d) + np.float32(0.5), 15)
    return q, {0: _bytes(d, "<f2"), 2: _bytes(low, "<f2")}


def _around_zero(x: NDArray, zero: int) -> Written:
    """The weight of the largest size becomes -zero: so one more step is used than with 1 - zero."""
    d = _largest(x, zero)
    q = _clipped(x * _inverse(d) + np.float32(zero + 0.5), 2 * zero - 1)
    return q, {0: _bytes(d, "<f2")}


def _largest(x: NDArray, steps: int) -> NDArray:
    """The scale (..., 1) that makes the weight of the largest size -steps."""
    at = np.abs(x).argmax(axis=-1, keepdims=True)
    return np.take_along_axis(x, at, axis=-1) / np.float32(-steps)


def _of_16(x: NDArray) -> Written:
    """The weight of the largest size of 16 becomes -32, the code of the largest size."""
    parts = x.reshape(*x.shape[:-1], 16, 16)
    s, d = _with_factor(_largest(parts, 32)[..., 0], 127)
    q = _clipped(_rounded(parts * _inverse(d * s)[..., None]) + np.float32(32), 63)
    return q.reshape(x.shape), {192: s.astype(np.int8).view(np.uint8), 208: _bytes(d, "<f2")}


def _of_32(x: NDArray, steps: int) -> Written:
    """The codes of 32 weights span their range, which always includes 0."""
    parts = x.reshape(*x.shape[:-1], 8, 32)
    below = -np.minimum(parts.min(axis=-1), 0)  # (O, blocks, 8)
    scale = (np.maximum(parts.max(axis=-1), 0) + below) / np.float32(steps)
    (s, d), (m, e) = _with_factor(scale, 63), _with_factor(below, 63)
    q = _clipped(_rounded((parts + (e * m)[..., None]) * _inverse(d * s)[..., None]), steps)
    s, m = s.astype(np.uint8), m.astype(np.uint8)
    # As _pairs_of_six_bits reads them.
    low_s, low_m, high = s[..., :4], m[..., :4], s[..., 4:] & 15 | m[..., 4:] << 4
    packed = _joined(low_s | s[..., 4:] >> 4 << 6, low_m | m[..., 4:] >> 4 << 6, high)
    return q.reshape(x.shape), {0: _bytes(d, "<f2"), 2: _bytes(e, "<f2"), 4: packed}


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


def _bytes(x: NDArray, dtype: str) -> Bytes:
    """The bytes of numbers in another dtype."""
    return np.ascontiguousarray(x.astype(dtype)).view(np.uint8)


def _joined(*parts: NDArray) -> Bytes:
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)


TYPES = {
    known.name: known
    for known in (
        Type("F32", 0, 0, 1, 4, partial(_floats, dtype="<f4")),
        Type("F16", 1, 1, 1, 2, partial(_floats, dtype="<f2")),
        Type("Q4_0", 2, 2, 32, 18, partial(_around_zero, zero=8), (Part(2, 18, 16, 4),), 8),
        Type("Q4_1", 3, 3, 32, 20, _between, (Part(4, 20, 16, 4),), e=2),
        Type("Q5_0", 6, 8, 32, 22, partial(_around_zero, zero=16),
             (Part(6, 22, 16, 4), Part(2, 6, 1, 1)), 16),
        Type("Q5_1", 7, 9, 32, 24, None, (Part(8, 24, 16, 4), Part(4, 8, 1, 1)), e=2),
        Type("Q8_0", 8, 7, 32, 34, _signed, (Part(2, 34, 32, 8),), 128),
        Type("Q2_K", 10, 10, 256, 84, None, (Part(16, 80, 32, 2),), d=80, e=82,
             scales=lambda blocks: (blocks[..., :16] & 15, blocks[..., :16] >> 4)),
        Type("Q3_K", 11, 11, 256, 110, None, (Part(32, 96, 32, 2), Part(0, 32, 32, 1)), 4, 108,
             scales=partial(_six_bits, Part(96, 104, 8, 4), Part(104, 108, 4, 2))),
        Type("Q4_K", 12, 14, 256, 144, partial(_of_32, steps=15), (Part(16, 144, 32, 4),), e=2,
             scales=_pairs_of_six_bits),
        Type("Q5_K", 13, 16, 256, 176, partial(_of_32, steps=31),
             (Part(48, 176, 32, 4), Part(16, 48, 32, 1)), e=2, scales=_pairs_of_six_bits),
        Type("Q6_K", 14, 18, 256, 210, _of_16, (Part(0, 128, 64, 4), Part(128, 192, 32, 2)), 32,
             208, scales=lambda blocks: (blocks[..., 192:208], None)),
        Type("IQ4_NL", 20, 25, 32, 18, None, (Part(2, 18, 16, 4),), 128, levels=LEVELS),
        Type("IQ4_XS", 23, 30, 256, 136, None, (Part(8, 136, 16, 4),), 128, levels=LEVELS,
             scales=partial(_six_bits, Part(4, 8, 1, 4), Part(2, 4, 1, 2))),
        Type("BF16", 30, 32, 1, 2, _bfloat16),
    )
}  # fmt: skip
WRITTEN = tuple(name for name, known in TYPES.items() if known.encode)
