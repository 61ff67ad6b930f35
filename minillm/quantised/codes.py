"""Quantised weights: 4 to 8 bits for each number, and products of integers.

A model that writes reads every weight once for each token, and spends less time computing than
waiting for them.  Weights of a quarter of the bytes make it several times as fast.

The weights of one output are cut into blocks of K inputs.  A block has a *scale* s, and each of its
weights is a small integer q, the *code*:

    W = s (q - zero)            zero is in the middle of the codes: 8 of 0..15, 128 of 0..255
    W = s q + m                 or the block has an *offset* m, its smallest weight

A weight differs from the nearest code's by at most s / 2.  With K = 32, a scale in float16 costs
16 / 32 = half a bit per weight, and so does an offset.  Codes of 4 bits thus take 4.5 or 5 bits per
weight, and codes of 8 bits 8.5.  Without an offset, half of the codes are unused in a block whose
weights have one sign.  Larger blocks cost less and fit their weights less well.  The *K* formats of
llama.cpp have both: blocks of 256 weights have one or two float16, which multiply scales of 6 or 8
bits for each 32 or 16 weights.  These products are the scales and offsets here.

**The product.**  The activations x are rounded as well, in blocks of 32, to integers a of 8 bits
with a scale t = max|x| / 127: x is almost t a.  The part of a block in y = x W is then a sum of
products of integers.  It is exact, and processors compute it up to four times as fast as a sum of
products of floats:

    x W  =  sum over blocks  t (s sum a (q - zero) + m sum a)

The error is about 1e-3 of a block's largest activation.  It costs more in some matrices than in
others.  A matrix that rounds *twice* also multiplies the rounding error x - t a, which is rounded
to 8 bits in the same way, and adds both products.  That takes twice the multiplications, but reads
the weights once.

Legend: M rows, I inputs, O outputs, K inputs that share a scale, B = I / K blocks.

Sources: Jacob et al. (2018), "Quantization and training of neural networks for efficient
integer-arithmetic-only inference", equation 1, for zero and scale; Dettmers, Lewis, Shleifer and
Zettlemoyer (2022), "8-bit optimizers via block-wise quantization", for blocks; Gerganov et al.
(2023), llama.cpp, for the formats Q8_0, Q4_0 and Q4_1.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BLOCK = 32  # inputs for which activations have one scale: a multiple of K


class Coded(NamedTuple):
    """The weights of O outputs as codes, scales and offsets."""

    stored: NDArray[np.uint8]  # (O, B, K) codes, or (O, B, K / 2) bytes with two codes of 4 bits
    scale: NDArray  # (O, B), float16 or float32
    offset: NDArray | None  # as scale; None: no offset
    zero: int
    bits: int  # of a code: 4, 6 or 8

    @property
    def codes(self) -> NDArray[np.uint8]:
        """The codes (O, B, K); the lower halves of the bytes have the first half of a block."""
        if self.bits != 4:
            return self.stored
        return np.concatenate([self.stored & 15, self.stored >> 4], axis=-1)

    def dense(self) -> NDArray[np.float32]:
        """The weights in float32, (O, I)."""
        w = self.scale[..., None].astype(np.float32) * (self.codes - np.float32(self.zero))
        if self.offset is not None:
            w = w + self.offset[..., None].astype(np.float32)
        return w.reshape(len(w), w.shape[1] * w.shape[2])


def two_in_a_byte(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Codes of 4 bits as they are stored: (..., K) -> (..., K / 2), the first half below."""
    half = codes.shape[-1] // 2
    stored: NDArray = codes[..., :half] | codes[..., half:] << 4
    return stored


def round_activations(x: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """x (M, I) -> integers a (M, I / 32, 32) from -127 to 127, and their scales t (M, I / 32).

    x is almost t a.  A block of numbers below 1e-36 becomes zeros.  In a block with NaN or
    infinity, t is NaN.
    """
    blocks = x.reshape(len(x), x.shape[1] // BLOCK, BLOCK)
    t = np.abs(blocks).max(axis=2) / np.float32(127)
    t = np.where(t < np.finfo(np.float32).tiny, 0, np.where(np.isfinite(t), t, np.nan))
    a = np.divide(blocks, t[:, :, None], out=np.zeros_like(blocks), where=t[:, :, None] > 0)
    return np.rint(a).astype(np.int8), t.astype(np.float32)


def rounded_product(x: NDArray[np.float32], W: Coded, twice: bool) -> NDArray[np.float32]:
    """y = x W of rounded activations: x (M, I), O outputs -> y (M, O)."""
    (M, I), codes = x.shape, W.codes
    O, B, K = codes.shape
    a, t = round_activations(x)
    a = a.astype(np.float32)  # a sum of these products is below 2^24, so it is exact in floats
    a_blocks, t_blocks = a.reshape(M, B, K), t.repeat(BLOCK // K, axis=1)  # (M, B, K), (M, B)
    y = np.zeros((M, O), np.float32)
    for b in range(B):
        q = codes[:, b] - np.float32(W.zero)  # (O, K)
        sums = W.scale[:, b].astype(np.float32) * (a_blocks[:, b] @ q.T)  # (M, O)
        if W.offset is not None:
            sums += a_blocks[:, b].sum(axis=1)[:, None] * W.offset[:, b].astype(np.float32)
        y += t_blocks[:, b, None] * sums
    if twice:
        error = x - (t[:, :, None] * a).reshape(M, I)
        y += rounded_product(error, W, False)
    return y
