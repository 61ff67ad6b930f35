"""Quantised weights: 2 to 8 bits for each number, and products of integers.

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
llama.cpp have both, because they quantise the scales, too: for each 32 or 16 weights, a scale is a
small integer, which a float16 of 256 weights multiplies, and so is an offset.

**Levels.**  Steps of one size suit weights that are spread evenly.  Weights are spread like a bell
instead: most are small, and few are near the largest, which determines the scale.  A code may
therefore stand for one of 16 *levels*, which lie closer together near zero:

    W = s (level of q - zero)

Neighbours of the levels below differ by 11 near zero and by 24 at the ends, where equal steps would
be 16.  On weights of a normal distribution their squared error is smaller, because most weights get
the finer steps.  The levels are integers of 8 bits, so a product remains a sum of products of
integers: a kernel looks up 16 to 64 codes in one instruction.

**The product.**  The activations x are rounded as well, in blocks of 32, to integers a of 8 bits
with a scale t = max|x| / 127: x is almost t a.  The part of a block in y = x W is then a sum of
products of integers.  It is exact, and processors compute it up to four times as fast as a sum of
products of floats:

    x W  =  sum over blocks  t (s sum a (q - zero) + m sum a)        q: the code, or its level

**Rounding twice.**  The rounding error of an input is at most t / 2.  A few inputs of a language
model are always large, and the blocks that contain them have most of the error.  A block is
therefore rounded twice where t^2 is more than 1.75 times its mean over the row:

    x = t a + rest,   rest is almost t' a'        a', t': the rest, rounded like x

These are about a tenth of the blocks.  On a small Llama, the divergence from exact activations
falls to a quarter.  A row is judged alone, so that it has the same bits beside any others.

Legend: M rows, I inputs, O outputs, K inputs that share a scale, B = I / K blocks.

Sources: Jacob et al. (2018), "Quantization and training of neural networks for efficient
integer-arithmetic-only inference", equation 1, for zero and scale; Dettmers, Lewis, Shleifer and
Zettlemoyer (2022), "8-bit optimizers via block-wise quantization", for blocks; Gerganov et al.
(2023), llama.cpp, for the formats Q8_0, Q4_0 and Q4_1; Kawrakow (2023 and 2024), llama.cpp, for the
K formats and the levels; Dettmers, Pagnoni, Holtzman and Zettlemoyer (2023), "QLoRA: efficient
finetuning of quantized LLMs", for scales that are quantised, and levels for the normal
distribution.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minillm.quantised.planes import from_planes

BLOCK = 32  # inputs for which activations have one scale: a multiple of K
TWICE = 1.75  # times the mean t^2 of a row, above which a block is rounded twice

# The levels of IQ4_NL and IQ4_XS, plus 128: ggml's ``kvalues_iq4nl``.
LEVELS = np.array(
    [1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241], np.uint8
)
LEVELS.flags.writeable = False  # a kernel keeps its address


class Coded(NamedTuple):
    """The weights of O outputs as codes, scales and offsets.

    Scales and offsets are float16; or integers of 8 bits, and d and e their factors.
    """

    stored: NDArray[np.uint8]  # (O, I / 32, 4 bits): codes in the planes of quantised/planes.py
    scale: NDArray  # (O, B), float16 or int8
    offset: NDArray | None  # as scale; None: no offset
    zero: int
    d: NDArray[np.float16] | None = None  # (O, I / 256): factors of the scales
    e: NDArray[np.float16] | None = None  # (O, I / 256): factors of the offsets
    levels: NDArray[np.uint8] | None = None  # (16,): of each code; None: the code itself

    @property
    def integers(self) -> NDArray[np.int16]:
        """The codes, or their levels, less zero: (O, B, K)."""
        O, B = self.scale.shape
        codes = from_planes(self.stored).reshape(O, B, BLOCK * self.stored.shape[1] // B)
        found = codes if self.levels is None else self.levels[codes]
        return found.astype(np.int16) - np.int16(self.zero)

    @property
    def scales(self) -> NDArray[np.float32]:
        """The scales in float32, (O, B)."""
        return _multiplied(self.scale, self.d)

    @property
    def offsets(self) -> NDArray[np.float32] | None:
        """The offsets in float32, (O, B)."""
        return None if self.offset is None else _multiplied(self.offset, self.e)

    def dense(self) -> NDArray[np.float32]:
        """The weights in float32, (O, I)."""
        w = self.scales[..., None] * self.integers.astype(np.float32)
        if (offsets := self.offsets) is not None:
            w += offsets[..., None]
        return w.reshape(len(w), w.shape[1] * w.shape[2])


def _multiplied(numbers: NDArray, factor: NDArray | None) -> NDArray[np.float32]:
    """Numbers (O, B) in float32, times their factors (O, I / 256) if they have some."""
    floats = numbers.astype(np.float32)
    if factor is None:
        return floats
    each = floats.reshape(*factor.shape, floats.shape[1] // factor.shape[1])
    product: NDArray = factor[..., None].astype(np.float32) * each
    return product.reshape(floats.shape)


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


def rounded_twice(t: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The blocks that are rounded twice, by the scales of all blocks: (M, I / 32)."""
    square = t.astype(np.float64) ** 2
    return square > TWICE * square.mean(axis=1, keepdims=True)  # NaN is not


def rest_of(
    x: NDArray[np.float32], a: NDArray[np.int8], t: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The rest x - t a in the blocks that are rounded twice, and zeros in the others: (M, I)."""
    # In double, the product and the difference are exact.
    rest = x.reshape(a.shape) - t.astype(np.float64)[..., None] * a
    chosen = np.where(rounded_twice(t)[..., None], rest, 0)
    return chosen.astype(np.float32).reshape(x.shape)


def rounded_product(x: NDArray[np.float32], W: Coded) -> NDArray[np.float32]:
    """y = x W of rounded activations: x (M, I), O outputs -> y (M, O)."""
    a, t = round_activations(x)
    y = product_of(a, t, np.ones(t.shape, bool), W)
    return y + product_of(*round_activations(rest_of(x, a, t)), rounded_twice(t), W)


def product_of(
    a: NDArray[np.int8], t: NDArray[np.float32], chosen: NDArray[np.bool_], W: Coded
) -> NDArray[np.float32]:
    """The sum over the chosen blocks (M, I / 32) of t a W: a (M, I / 32, 32) -> (M, O)."""
    q, scales, offsets = W.integers.astype(np.float32), W.scales, W.offsets
    M, (O, B, K) = len(a), q.shape
    # A sum of these products is below 2^24, so it is exact in floats.
    a_blocks = a.astype(np.float32).reshape(M, B, K)
    t, chosen = t.repeat(BLOCK // K, axis=1), chosen.repeat(BLOCK // K, axis=1)  # (M, B)
    y = np.zeros((M, O), np.float32)
    with np.errstate(invalid="ignore"):  # an infinite scale times 0
        for b in range(B):
            sums = scales[:, b] * (a_blocks[:, b] @ q[:, b].T)  # (M, O)
            if offsets is not None:
                sums += a_blocks[:, b].sum(axis=1)[:, None] * offsets[:, b]
            y += np.where(chosen[:, b, None], t[:, b, None] * sums, 0)
    return y
