"""LoRA with a quantised matrix W, which is not changed: y = x W + (x A) B.

The product A B cannot be added to integers.  Computing x A first takes 2 r (I + O) multiplications
more for each row of x.

    dx = dy W^T + (dy B^T) A^T
    dA = x^T (dy B^T)       dB = (x A)^T dy

Source: Dettmers, Pagnoni, Holtzman and Zettlemoyer (2023), "QLoRA: efficient finetuning of
quantized LLMs", equation 5.
"""

from collections.abc import Callable
from dataclasses import dataclass

from numpy.typing import NDArray

from minillm import ops
from minillm.checks import op
from minillm.layers.types import Gradients
from minillm.quantised.matrix import Quantised


@dataclass(frozen=True, eq=False)
class QuantisedLora:
    """A quantised matrix W (I, O) with A (I, r) and B (r, O), which are trained; A includes s.

    No other arrays may replace them, because kernels keep their addresses.
    """

    W: Quantised
    A: NDArray
    B: NDArray

    dtype, ndim = Quantised.dtype, Quantised.ndim
    shape = property(lambda self: self.W.shape)
    size = property(lambda self: self.W.size)
    nbytes = property(lambda self: self.W.nbytes)

    def dense(self) -> NDArray:
        """W + A B in float32."""
        return self.W.dense() + ops.linear(self.A, self.B)[0]

    def linear(
        self, x: NDArray, b: NDArray | None = None
    ) -> tuple[NDArray, Callable[[NDArray], tuple[NDArray, Gradients]]]:
        """y = x W + (x A) B: x (..., I) -> y (..., O).  ``backward(dy)`` -> dx, {".A", ".B"}.

        Keeps x, x A, W, A and B.
        """
        xW, W_backward = self.W.linear(x, b)
        y, low_rank_backward = add_low_rank(x, xW, self.A, self.B)

        def backward(dy):
            dx, dA, dB = low_rank_backward(dy)
            return dx + W_backward(dy)[0], {".A": dA, ".B": dB}

        return y, backward


@op("x: ... I, xW: ... O constant, A: I R, B: R O -> y: ... O")
def add_low_rank(x: NDArray, xW: NDArray, A: NDArray, B: NDArray) -> tuple[NDArray, Callable]:
    """y = x W + (x A) B, where x W is computed already.  ``backward(dy)`` -> dx of x A, dA, dB."""
    h, A_backward = ops.linear(x, A)
    addition, B_backward = ops.linear(h, B)

    def backward(dy):
        dh, dB = B_backward(dy)
        dx, dA = A_backward(dh)
        return dx, dA, dB

    return xW + addition, backward
