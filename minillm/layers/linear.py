"""An affine map with named weights, trained as they are or by a low-rank addition alone.

    y = x W + b

Where the weights have ``W.A`` (I, r) and ``W.B`` (r, O) beside W, then W = W_0 + A B, of which W_0
is frozen, and so is b (:mod:`minillm.training.lora`).  From dW = x^T dy would follow dA = dW B^T
and dB = A^T dW.  Multiplied in another order, no matrix as large as W arises:

    dA = x^T (dy B^T)        dB = (x A)^T dy

That is 2 r (I + O) multiplications for a row of x in place of I O.  With r = 0, W is frozen.

Source: Hu et al. (2021), "LoRA: low-rank adaptation of large language models", section 4.1.
"""

from collections.abc import Callable

from numpy.typing import NDArray

from minillm import ops
from minillm.ops import _validate
from minillm.ops.linear import matmul


def linear(
    params: dict[str, NDArray], W: str, b: str | None, x: NDArray
) -> tuple[NDArray, Callable]:
    """y = x W + b, with the weights of these names; without a bias if b is not among them.

    x (..., I) -> y (..., O).  ``backward(dy)`` -> dx, gradients: of W and b, or of ``W.A`` and
    ``W.B``.  Keeps x and W.
    """
    weight, bias = params[W], None if b is None else params.get(b)
    y, op_backward = ops.linear(x, weight, bias)
    if f"{W}.A" not in params:

        def backward(dy):
            dx, *gradients = op_backward(dy)
            return dx, dict(zip((W, b), gradients, strict=False))  # no db where there is no b

        return y, backward

    A, B = params[f"{W}.A"], params[f"{W}.B"]
    if A.shape[1] > 0:
        shapes = {W: (weight, "I O"), f"{W}.A": (A, "I R"), f"{W}.B": (B, "R O")}
        _validate.floats("linear", **shapes)
    upstream = _validate.upstream("linear", dy=y)

    def backward_by_addition(dy):
        # y = x W + b
        dy = upstream(dy)
        dx, _ = ops.linear(dy, weight.T)
        if A.shape[1] == 0:
            return dx, {}
        rows, drows = x.reshape(-1, A.shape[0]), dy.reshape(-1, B.shape[1])
        dA = matmul(rows.T, matmul(drows, B.T))
        dB = matmul(matmul(rows, A).T, drows)
        return dx, {f"{W}.A": dA, f"{W}.B": dB}

    return y, backward_by_addition
