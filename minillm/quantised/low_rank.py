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

from minillm import checks, ops
from minillm.layers.types import Gradients
from minillm.ops.linear import matmul
from minillm.quantised.matrix import Quantised


@dataclass(frozen=True, eq=False)
class QuantisedLowRank:
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
        A, B = self.A.view(), self.B.view()
        y, linear_backward = self.W.linear(x, b)
        shapes = {"x": (x, "... I"), "y": (y, "... O"), "A": (A, "I R"), "B": (B, "R O")}
        checks.floats("QuantisedLowRank", **shapes)
        rows = x.reshape(-1, len(A))
        h = matmul(rows, A)
        y += matmul(h, B).reshape(y.shape)

        def backward(dy):
            dx, _ = linear_backward(dy)
            # y = x W + (x A) B
            drows = dy.reshape(-1, B.shape[1])
            dh = matmul(drows, B.T)
            dx += matmul(dh, A.T).reshape(dx.shape)
            return dx, {".A": matmul(rows.T, dh), ".B": matmul(h.T, drows)}

        return y, backward
