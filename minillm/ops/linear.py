"""The affine map, and its matrix product."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import rounds_to_bfloat16, twinned
from minillm.checks import op
from minillm.ops.bfloat16 import round_to_bfloat16


@op("x: ... I, W: I O, b: O? -> y: ... O", order="any")
def linear(x: NDArray, W: NDArray, b: NDArray | None = None) -> tuple[NDArray, Callable]:
    """An affine map, y = x W + b; without b, the linear map y = x W.

    x (..., I), W (I, O), b (O,) or None -> y (..., O).
    ``backward(dy)`` -> dx, dW, and db if there is a b.  Keeps x and W.

    By the chain rule, with dy for the gradient with respect to y, and x and y as matrices of rows:

        dx = dy W^T        dW = x^T dy        db = sum over rows of dy
    """
    y = matmul(x, W, b)

    def backward(dy):
        # y = x W + b
        dx, dW = matmul(dy, W.T), matmul(x.T, dy)
        return (dx, dW) if b is None else (dx, dW, dy.sum(axis=0))

    return y, backward


@twinned
def matmul(a: NDArray, b: NDArray, bias: NDArray | None = None) -> NDArray:
    """Multiply two matrices: (M, K) by (K, N) -> (M, N), in C order; plus a bias (N,).

    Any strides will do, so a transpose is passed as a view: ``matmul(x.T, dy)``.
    """
    return product(a, b) if bias is None else product(a, b) + bias


def product(a: NDArray, b: NDArray) -> NDArray:
    """The product of two matrices: a (M, K), b (K, N) -> (M, N).

    Operands of float32 are rounded within ``use_precision("bfloat16")``.
    """
    if rounds_to_bfloat16() and a.dtype == np.float32:
        return round_to_bfloat16(a) @ round_to_bfloat16(b)
    return a @ b
