"""Matrix product: the NumPy original."""

from numpy.typing import NDArray


def matmul(a: NDArray, b: NDArray) -> NDArray:
    """The product of two matrices: (M, K) by (K, N) -> (M, N), in C order.

    Any strides will do, so a transpose is passed as the view that it is:
    ``matmul(x.T, dy)``.
    """
    return a @ b
