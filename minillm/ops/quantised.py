"""Quantised weights: 4 or 8 bits for each number, and products of integers.

A model that writes reads every weight once for each token, and its arithmetic is done sooner
than its weights arrive from memory.  Weights of a quarter of the bytes make it several times as
fast.

The weights of one output are cut into blocks of 32 inputs.  A block has a *scale* s, and each of
its weights is a small integer q, the *code*:

    W = s (q - zero)            zero is in the middle of the codes: 8 of 0..15, 128 of 0..255
    W = s q + m                 or the block has an *offset* m, its smallest weight

A scale is a float16.  It costs 16 / 32 = half a bit for each weight, and so does an offset.  Codes
of 4 bits thus take 4.5 or 5 bits a weight, and codes of 8 bits 8.5.  Without an offset, half of the
codes are unused in a block whose weights have one sign.  Larger blocks cost less and fit their
weights less well.  The *K* formats of llama.cpp have both: blocks of 256 weights have one or two
float16, which multiply scales of 6 or 8 bits for each 32 or 16 weights.  These products are the
scales and offsets here.

A weight differs from that of the nearest code by at most s / 2.

**The product.**  The activations x are rounded as well, in blocks of 32, to integers a of 8 bits
with a scale t = max|x| / 127: x is nearly t a.  A block's part of y = x W then is a sum of products
of integers.  It is exact, and processors compute it up to four times as fast as that of floats:

    x W  =  sum over blocks  t (s sum a (q - zero) + m sum a)

The error is that of a/127, and near 1e-3 of a block's largest activation.  It costs more in some
matrices than in others.  A matrix that rounds *twice* multiplies what rounding leaves, x - t a,
which is rounded to 8 bits in the same way, and adds both products.  That takes twice the
multiplications, but reads the weights once.

**The backward.**  W is constant, and x has the gradient of a product with the dense matrix:

    dx = dy W^T

As in :mod:`minillm.ops.bfloat16`, the derivative of rounding is taken as 1.  Its true derivative is
0 almost everywhere, because y is a staircase in x, so that no difference quotient shows dx.
Activations of float64 are therefore not rounded, and gradients are checked with these.

Legend: M rows, I inputs, O outputs, B = I / 32 blocks.

Sources: Jacob et al. (2018), "Quantization and training of neural networks for efficient
integer-arithmetic-only inference", equation 1, for zero and scale; Dettmers, Lewis, Shleifer and
Zettlemoyer (2022), "8-bit optimizers via block-wise quantization", for blocks; Gerganov et al.
(2023), llama.cpp, for the formats Q8_0, Q4_0 and Q4_1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from minillm import checks
from minillm._kernels import twinned
from minillm._kernels.large_pages import WEIGHTS
from minillm.ops.linear import matmul

BLOCK = 32  # inputs for which activations have one scale
PANEL = 16  # outputs whose codes lie beside each other
AT_ONCE = 1 << 21  # weights that the backward decodes at a time


@dataclass(frozen=True, eq=False)
class Panels:
    """The codes, scales and offsets of O outputs, in the order in which a kernel multiplies.

    A panel has 16 outputs; the last one may be filled up with zeros.  It has the codes of 4 inputs
    for each of its outputs, then those of the next 4.  With 4 bits, a byte has the code of an input
    in its lower half, and that of the 16th input after it in its upper half.
    """

    codes: NDArray[np.uint8]  # (panels, B, 8 words or with 4 bits 4, 16 outputs, 4 inputs)
    scale: NDArray  # (panels, I / block, 16 outputs), float16 or float32
    offset: NDArray | None  # of scale's shape and dtype
    zero: int
    outputs: int  # O

    @property
    def bits(self) -> int:
        """The bits of a code in memory, 4 or 8."""
        return self.codes.shape[2]

    @property
    def nbytes(self) -> int:
        """The bytes of all arrays."""
        arrays = (self.codes, self.scale, self.offset)
        return sum(array.nbytes for array in arrays if array is not None)

    def rows(self, outputs: NDArray[np.integer]) -> tuple[NDArray, NDArray, NDArray | None]:
        """The codes (n, I), scales and offsets (n, I / block) of some outputs (n,)."""
        panel, place = np.divmod(outputs, PANEL)
        codes, B = self.codes[panel, :, :, place], self.codes.shape[1]  # (n, B, words, 4)
        if self.bits == 4:
            codes = np.concatenate([codes & 15, codes >> 4], axis=2)
        offset = None if self.offset is None else self.offset[panel, :, place]
        return codes.reshape(len(outputs), BLOCK * B), self.scale[panel, :, place], offset

    def dense(self, outputs: NDArray[np.integer] | None = None) -> NDArray[np.float32]:
        """The weights of some outputs (n,), or of all: (n, I)."""
        codes, scale, offset = self.rows(np.arange(self.outputs) if outputs is None else outputs)
        blocks = codes.reshape(*scale.shape, codes.shape[1] // scale.shape[1])
        values: NDArray = scale.astype(np.float32)[:, :, None] * (blocks - np.float32(self.zero))
        if offset is not None:
            values += offset.astype(np.float32)[:, :, None]
        return values.reshape(codes.shape)


@dataclass(frozen=True, eq=False)
class Quantised:
    """A constant matrix (I, O), or its transpose, in the place of an array among the parameters.

    Its parts lie beside each other, and may have different formats: part i has the next
    ``parts[i].outputs`` outputs.  :func:`pack` and :func:`quantise` make one.
    """

    parts: tuple[Panels, ...]
    transposed: bool = False
    twice: bool = False  # whether activations are rounded a second time: see the module

    dtype = np.dtype(np.float32)  # of what it stands for
    ndim = 2

    @property
    def shape(self) -> tuple[int, int]:
        """(I, O), or of the transpose (O, I)."""
        I, O = BLOCK * self.parts[0].codes.shape[1], sum(part.outputs for part in self.parts)
        return (O, I) if self.transposed else (I, O)

    @property
    def size(self) -> int:
        """The number of weights."""
        return self.shape[0] * self.shape[1]

    @property
    def nbytes(self) -> int:
        """The bytes in memory."""
        return sum(part.nbytes for part in self.parts)

    @property
    def T(self) -> Quantised:
        """The transpose, which shares the arrays."""
        return replace(self, transposed=not self.transposed)

    def dense(self) -> NDArray[np.float32]:
        """The matrix in float32."""
        rows = np.concatenate([part.dense() for part in self.parts])  # (O, I)
        return rows if self.transposed else np.ascontiguousarray(rows.T)

    def linear(
        self, x: NDArray, b: NDArray | None = None
    ) -> tuple[NDArray, Callable[[NDArray], tuple[NDArray, dict[str, NDArray]]]]:
        """:func:`quantised_linear` for a layer: ``backward(dy)`` -> dx, no gradients."""
        if b is not None:
            raise ValueError("a quantised matrix: expected no bias with it, found one")
        y, linear_backward = quantised_linear(x, self)
        return y, lambda dy: (linear_backward(dy), {})

    def rows(self, outputs: NDArray[np.integer]) -> NDArray[np.float32]:
        """The weights of some outputs: the rows of a table (V, D).  (...) -> (..., I)."""
        I, O = self.shape[::-1] if self.transposed else self.shape
        places = checks.ids("rows", "outputs", outputs, O)
        return _quantised_rows(self.parts, places.ravel()).reshape(*places.shape, I)


def beside(*matrices: Quantised) -> Quantised:
    """One matrix (I, O + P + ...) of matrices (I, O), (I, P) and so on."""
    if len({matrix.shape[0] for matrix in matrices}) != 1 or any(m.transposed for m in matrices):
        raise ValueError(
            "beside: expected matrices of the same number of inputs, "
            f"found shapes {', '.join(str(matrix.shape) for matrix in matrices)}"
        )
    return Quantised(tuple(part for matrix in matrices for part in matrix.parts))


def pack(
    codes: NDArray[np.uint8], scale: NDArray, offset: NDArray | None = None, *, zero: int, bits: int
) -> Quantised:
    """The matrix (I, O) of the weights scale (codes - zero) + offset.

    codes (O, I) below 2^bits, with bits 4, 6 or 8; with 4 bits also (O, I / 2), where byte j of the
    16 of a block has the codes of its inputs j (the lower half) and j + 16.  scale and offset, if
    there is one, are (O, I / block), float16 or float32.  block is 32, or 16 with more than 4 bits,
    and I is a multiple of 32.

    Raises TypeError or ValueError where types or shapes do not fit.
    """
    return pack_pieces(len(scale), [(codes, scale, offset, zero, bits)])


def pack_pieces(
    O: int, pieces: Iterable[tuple[NDArray[np.uint8], NDArray, NDArray | None, int, int]]
) -> Quantised:
    """Pack O outputs that come some at a time, as they are read from a file.

    A piece has the arguments of :func:`pack`, of a multiple of 16 outputs unless it is the last.
    """
    arrays: list[NDArray] = []
    first = zero = bits = 0
    for codes, scale, offset, zero, bits in pieces:
        words = _words(codes, scale, offset, zero, bits)
        rows = [words, scale] if offset is None else [words, scale, offset]
        arrays = arrays or [_room_for(O, array) for array in rows]
        for array, piece in zip(arrays, rows, strict=True):
            panels = _in_panels(piece)
            array[first // PANEL :][: len(panels)] = panels
        first += len(scale)
    for array in arrays:  # a kernel keeps its address
        array.flags.writeable = False
    words, scale, *offsets = arrays
    codes = words.view(np.uint8).reshape(len(words), -1, 4 if bits == 4 else 8, PANEL, 4)
    return Quantised((Panels(codes, scale, offsets[0] if offsets else None, zero, O),))


def _words(
    codes: NDArray[np.uint8], scale: NDArray, offset: NDArray | None, zero: int, bits: int
) -> NDArray[np.uint32]:
    """Check a piece, and join the codes of 4 bytes: (O, I / 4), or with 4 bits (O, I / 8)."""
    _check_floats("scale", scale, scale)
    if offset is not None:
        _check_floats("offset", offset, scale)
    checks.require_array("pack", "codes", codes)
    if codes.dtype != np.uint8:
        raise TypeError(f"pack: codes: expected uint8, found {codes.dtype}")
    if bits not in (4, 6, 8) or not 0 <= zero < 2**bits:
        raise ValueError(
            f"pack: expected 4, 6 or 8 bits and a zero below 2^bits; found {bits}, {zero}"
        )
    O, blocks = scale.shape
    in_pairs = bits == 4 and codes.shape == (O, 16 * blocks)
    I = 32 * blocks if bits == 4 or codes.shape == (O, 32 * blocks) else 16 * blocks
    if I % BLOCK or codes.shape != (O, I // 2 if in_pairs else I):
        raise ValueError(
            f"pack: codes: expected {O} rows of {blocks} blocks, a multiple of {BLOCK} inputs, "
            f"found shape {codes.shape}"
        )
    if not in_pairs and codes.max() >= 2**bits:
        raise ValueError(f"pack: codes: expected 0..{2**bits - 1}, found {codes.max()}")
    if bits == 4 and not in_pairs:
        halves = codes.reshape(O, blocks, 2, 16)
        codes = (halves[:, :, 0] | halves[:, :, 1] << 4).astype(np.uint8).reshape(O, -1)
    return np.ascontiguousarray(codes).view(np.uint32)


def _check_floats(name: str, array: NDArray, scale: NDArray) -> None:
    checks.require_array("pack", name, array)
    if array.dtype not in (np.float16, np.float32) or array.dtype != scale.dtype:
        raise TypeError(
            f"pack: {name}: expected float16 or float32, as the scale, found {array.dtype}"
        )
    if array.ndim != 2 or array.size == 0 or array.shape != scale.shape:
        raise ValueError(f"pack: {name}: expected shape (O, I / block), found {array.shape}")


def _in_panels(rows: NDArray) -> NDArray:
    """(O, n) -> (panels, n, 16), filled up with zeros."""
    if len(rows) % PANEL:
        rows = np.pad(rows, ((0, -len(rows) % PANEL), (0, 0)))
    return rows.reshape(-1, PANEL, rows.shape[1]).swapaxes(1, 2)


def _room_for(O: int, rows: NDArray) -> NDArray:
    """Memory for the panels of O outputs such as these rows."""
    shape = -(-O // PANEL), rows.shape[1], PANEL
    return WEIGHTS.take(prod(shape) * rows.itemsize).view(rows.dtype).reshape(shape)


def quantise(W: NDArray, bits: int) -> Quantised:
    """A matrix (I, O) in blocks of 32 inputs: with 8 bits a scale each, with 4 an offset as well.

    8 bits: s = max|W| / 127, zero = 128 (Q8_0).  4 bits: m = min W, s = (max W - m) / 15 (Q4_1).
    Both are rounded to float16, and then the nearest codes are taken.

    Raises TypeError or ValueError unless W is a matrix of floats with a multiple of 32 inputs, bits
    is 4 or 8, and float16 can hold the scales and offsets.
    """
    I, O = checks.floats("quantise", W=(W, "I O")).values()
    if I % BLOCK or bits not in (4, 8):
        raise ValueError(
            f"quantise: expected a multiple of {BLOCK} inputs, and 4 or 8 bits; found {I}, {bits}"
        )
    blocks = W.T.reshape(O, I // BLOCK, BLOCK).astype(np.float32)
    low = blocks.min(axis=2) if bits == 4 else np.zeros(blocks.shape[:2], np.float32)
    span = blocks.max(axis=2) - low if bits == 4 else np.abs(blocks).max(axis=2)
    zero, steps = (0, 15) if bits == 4 else (128, 127)
    with np.errstate(over="ignore", invalid="ignore"):
        scale, offset = (span / steps).astype(np.float16), low.astype(np.float16)
    if not (np.isfinite(scale).all() and np.isfinite(offset).all()):
        raise ValueError(
            "quantise: W: expected finite numbers whose scales and offsets are below 65,520, found "
            f"numbers from {W.min():g} to {W.max():g}"
        )
    above = blocks - offset[:, :, None].astype(np.float32)
    s = np.broadcast_to(scale[:, :, None].astype(np.float32), blocks.shape)
    codes = np.rint(np.divide(above, s, out=np.zeros_like(above), where=s > 0)) + zero
    codes = np.clip(codes, 0, 2**bits - 1).astype(np.uint8).reshape(O, I)
    return pack(codes, scale, offset if bits == 4 else None, zero=zero, bits=bits)


def round_activations(x: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """x (M, I) -> integers a (M, B, 32) from -127 to 127, and their scales t (M, B): x = t a.

    A block of numbers below 1e-36 becomes zeros.  In a block with NaN or infinity, t is NaN.
    """
    blocks = x.reshape(len(x), x.shape[1] // BLOCK, BLOCK)
    t = np.abs(blocks).max(axis=2) / np.float32(127)
    t = np.where(t < np.finfo(np.float32).tiny, 0, np.where(np.isfinite(t), t, np.nan))
    a = np.divide(blocks, t[:, :, None], out=np.zeros_like(blocks), where=t[:, :, None] > 0)
    return np.rint(a).astype(np.int8), t.astype(np.float32)


def quantised_linear(x: NDArray, W: Quantised) -> tuple[NDArray, Callable]:
    """A linear map with a quantised matrix, y = x W, where an x of float32 is rounded.

    x (..., I), W (I, O) -> y (..., O).  ``backward(dy)`` -> dx; W is constant.  Keeps W.

    The module derives both.  The backward decodes the weights of some outputs at a time, so
    that a large matrix is never in memory as floats.

    Raises TypeError or ValueError where dtypes or shapes do not fit.
    """
    (I,) = checks.floats("quantised_linear", x=(x, "... I")).values()
    if W.transposed or W.shape[0] != I:
        raise ValueError(f"quantised_linear: W: expected shape ({I}, O), found {W.shape}")
    rows, shape, O = np.ascontiguousarray(x.reshape(-1, I)), x.shape, W.shape[1]
    step = max(1, AT_ONCE // I)
    if x.dtype == np.float32:
        y = _quantised_product(rows, W.parts, W.twice)
    else:
        y = matmul(rows, W.dense().astype(x.dtype))
    y = y.reshape(*shape[:-1], O)
    upstream = checks.upstream("quantised_linear", dy=y)

    def backward(dy):
        drows = upstream(dy).reshape(-1, O)
        # y = x W
        dx = np.zeros((len(drows), I), dy.dtype)
        for first in range(0, O, step):
            last = min(first + step, O)
            weights = W.rows(np.arange(first, last)).astype(dy.dtype, copy=False)
            dx += matmul(drows[:, first:last], weights)
        return dx.reshape(shape)

    return y, backward


@twinned
def _quantised_product(
    x: NDArray[np.float32], parts: tuple[Panels, ...], twice: bool
) -> NDArray[np.float32]:
    """x (M, I) times the parts, beside each other -> y (M, O)."""
    a, t = round_activations(x)  # (M, B, 32), (M, B)
    a = a.astype(np.float32)  # sums of these products are below 2^24, and so exact as floats
    y = np.concatenate([_product(a, t, part) for part in parts], axis=1)
    if not twice:
        return y
    rest = x - (t[:, :, None] * a).reshape(x.shape)
    return y + _quantised_product.__wrapped__(rest, parts, False)  # type: ignore[attr-defined]


def _product(a: NDArray, t: NDArray, part: Panels) -> NDArray[np.float32]:
    """a (M, B, 32), t (M, B) -> t a times a part's weights, (M, O)."""
    codes, scale, offset = part.rows(np.arange(part.outputs))  # (O, I), (O, I / block)
    block = codes.shape[1] // scale.shape[1]
    a, t = a.reshape(len(a), scale.shape[1], block), np.repeat(t, BLOCK // block, axis=1)
    q = codes.reshape(*scale.shape, block) - np.float32(part.zero)
    y = np.zeros((len(a), part.outputs), np.float32)
    for b in range(scale.shape[1]):
        terms = (a[:, b] @ q[:, b].T) * scale[:, b].astype(np.float32)
        if offset is not None:
            terms += a[:, b].sum(axis=1)[:, None] * offset[:, b].astype(np.float32)
        y += t[:, b, None] * terms
    return y


@twinned
def _quantised_rows(parts: tuple[Panels, ...], outputs: NDArray[np.int64]) -> NDArray[np.float32]:
    """The weights of some outputs (n,), counted over all parts -> (n, I)."""
    firsts = np.cumsum([0, *(part.outputs for part in parts)])
    found = np.empty((len(outputs), BLOCK * parts[0].codes.shape[1]), np.float32)
    for part, first, last in zip(parts, firsts, firsts[1:], strict=False):
        here = (first <= outputs) & (outputs < last)
        found[here] = part.dense(outputs[here] - first)
    return found
