"""Matrix product: the NumPy original."""

from numpy.typing import NDArray


def matmul(a: NDArray, b: NDArray, bias: NDArray | None = None) -> NDArray:
    """The product of two matrices: (M, K) by (K, N) -> (M, N), in C order; plus a bias (N,).

    Any strides will do, so a transpose is passed as the view that it is:
    ``matmul(x.T, dy)``.
    """
    c = a @ b
    if bias is not None:
        c += bias
    return c
