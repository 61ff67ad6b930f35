"""The affine map."""

from collections.abc import Callable

from numpy.typing import NDArray

from minillm._kernels import active_kernels
from minillm.ops import _validate


def linear(x: NDArray, W: NDArray, b: NDArray | None = None) -> tuple[NDArray, Callable]:
    """An affine map: y = x W + b, or, where b is None, the linear map y = x W.

    x (..., I), W (I, O), b (O,) or None -> y (..., O).
    ``backward(dy)`` -> dx, dW, and db if there is a b.  Keeps x and W.

    By the chain rule, with dy the gradient by y and rows the leading axes
    flattened into one:

        dx = dy W^T        dW = sum over rows of x^T dy        db = sum over rows of dy

    Raises TypeError or ValueError where dtypes or shapes do not fit.
    """
    biases = {} if b is None else {"b": (b, "O")}
    _validate.floats("linear", x=(x, "... I"), W=(W, "I O"), **biases)
    matmul = active_kernels().matmul
    rows = x.reshape(-1, W.shape[0])
    y = matmul(rows, W, b)

    def backward(dy):
        drows = dy.reshape(-1, W.shape[1])
        dx = matmul(drows, W.T).reshape(x.shape)
        dW = matmul(rows.T, drows)
        if b is None:
            return dx, dW
        db = drows.sum(axis=0)
        return dx, dW, db

    return y.reshape(*x.shape[:-1], W.shape[1]), backward
