"""Products in bfloat16: half the bytes of each operand, and sums in float32.

A float32 has a sign, 8 bits of exponent and 23 of fraction.  A bfloat16 is its upper half: the
same exponents, so that nothing overflows that did not before, and 7 bits of fraction, so that a
number changes by at most 1/256 of itself.  A product of two of them is exact in float32.

Some CPUs multiply two pairs of bfloat16 in the time of one pair of float32.  The errors of
rounding are independent and mostly cancel in a sum, so a training in this *mixed precision* learns
almost the same.  Only the operands of products are rounded, and each time anew: weights stay
float32, since a step of the optimiser is often smaller than 1/256 of a weight, and rounding would
undo it.  Sums, norms, softmax, attention, losses and the optimiser's moments are float32 as well.

The gradients of y = round(x) round(W) are the gradients of a product, in bfloat16 too:

    dx = round(dy) round(W)^T        dW = round(x)^T round(dy)

The derivative of rounding is taken as 1.  Its true derivative is 0 almost everywhere, because it is
a step function, and with 0 nothing would be learned.  So gradients are checked without rounding.

Sources: Kalamkar et al. (2019), "A study of BFLOAT16 for deep learning training"; Micikevicius et
al. (2018), "Mixed precision training"; Bengio, Leonard and Courville (2013), "Estimating or
propagating gradients through stochastic neurons", for the derivative of 1 (straight-through).
"""

import numpy as np
from numpy.typing import NDArray


def round_to_bfloat16(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round to the nearest bfloat16, of two to the even one; NaN stays NaN.  -> float32."""
    bits = x.view(np.uint32)
    # More than half of the last place that stays, or half and an odd number, carries into it.
    carried = bits + 0x7FFF + (bits >> 16 & 1)
    return np.where(np.isnan(x), x, (carried & 0xFFFF0000).view(np.float32))
