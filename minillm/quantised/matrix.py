"""Quantised matrices, which take the place of arrays among a model's parameters.

:mod:`minillm.quantised.codes` derives their product y = x W with rounded activations.  W is
constant, and x has the gradient of a product with the dense matrix:

    dx = dy W^T

As in :mod:`minillm.ops.bfloat16`, the derivative of rounding is taken as 1.  Its true derivative is
0 almost everywhere, because y is a staircase in x, so no difference quotient shows dx.  Activations
of float64 are therefore not rounded, and gradients are checked with these.

In memory the weights are in the order in which a kernel reads them
(:mod:`minillm.quantised.panels`); the NumPy originals multiply them in plain order.

Legend: M rows, I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import checks
from minillm._kernels import twinned
from minillm.checks import op
from minillm.ops.linear import matmul
from minillm.quantised.blocks import coded, encode
from minillm.quantised.codes import BLOCK, rounded_product
from minillm.quantised.panels import Panels, pack

AT_ONCE = 1 << 21  # weights that the backward decodes at a time


@dataclass(frozen=True, eq=False)
class Quantised:
    """A constant matrix (I, O), or its transpose, in the place of an array among the parameters.

    Its parts lie side by side, and may have different formats: part i has the next
    ``parts[i].outputs`` outputs.
    """

    parts: tuple[Panels, ...]
    transposed: bool = False

    dtype = np.dtype(np.float32)  # of the matrix that it stands for
    ndim = 2

    @property
    def shape(self) -> tuple[int, int]:
        """(I, O), or of the transpose (O, I)."""
        I, O = BLOCK * self.parts[0].codes.shape[1], sum(part.outputs for part in self.parts)
        return (O, I) if self.transposed else (I, O)

    @property
    def size(self) -> int:
        """The number of weights."""
        return self.shape[0] * self.shape[1]

    @property
    def nbytes(self) -> int:
        """The bytes in memory."""
        return sum(part.nbytes for part in self.parts)

    @property
    def T(self) -> Quantised:
        """The transpose, which shares the arrays."""
        return replace(self, transposed=not self.transposed)

    def dense(self) -> NDArray[np.float32]:
        """The matrix in float32."""
        rows = np.concatenate([part.coded().dense() for part in self.parts])  # (O, I)
        return rows if self.transposed else np.ascontiguousarray(rows.T)

    def linear(
        self, x: NDArray, b: NDArray | None = None
    ) -> tuple[NDArray, Callable[[NDArray], tuple[NDArray, dict[str, NDArray]]]]:
        """y = x W + b for a layer: ``backward(dy)`` -> dx, no gradients."""
        y, linear_backward = quantised_linear(x, self, b)
        return y, lambda dy: (linear_backward(dy), {})

    def rows(self, outputs: NDArray[np.integer]) -> NDArray[np.float32]:
        """The weights of some outputs: the rows of a table (V, D).  (...) -> (..., I)."""
        I, O = self.shape[::-1] if self.transposed else self.shape
        places = checks.ids("rows", "outputs", outputs, O)
        return _quantised_rows(self.parts, places.ravel()).reshape(*places.shape, I)


def quantise(W: NDArray, block_type: str) -> Quantised:
    """A matrix (I, O) as blocks of a type of :mod:`minillm.quantised.blocks`, such as "Q8_0".

    ValueError unless I is a multiple of the weights of a block, and for numbers that are not finite
    or too large for the type.
    """
    return Quantised((pack(W.shape[1], [coded(encode(W.T, block_type), block_type)]),))


def dequantised(model: Any) -> Any:
    """A model with float32 in the place of weights that are quantised, and of their adapters."""
    params = {name: dense(weight) for name, weight in model.params.items()}
    return type(model)(model.config, params=params)


def dense(weight: Any) -> NDArray:
    """A weight as an array: an array itself, or a quantised one in float32."""
    return weight if isinstance(weight, np.ndarray) else weight.dense()


@op("x: ... I, W: any, b: O constant? -> y: ... O")
def quantised_linear(
    x: NDArray, W: Quantised, b: NDArray | None = None
) -> tuple[NDArray, Callable]:
    """An affine map with a quantised matrix, y = x W + b, where an x of float32 is rounded.

    x (..., I), W (I, O), b (O,) or None -> y (..., O).  ``backward(dy)`` -> dx; W and b are
    constant.  Keeps W.

    The backward decodes the weights of some outputs at a time, so a large matrix is never in memory
    as floats.

    Raises TypeError or ValueError where dtypes or shapes do not fit.
    """
    shape, I, O = x.shape, x.shape[-1], W.shape[1]
    if W.transposed or W.shape[0] != I:
        raise ValueError(f"quantised_linear: W: expected shape ({I}, O), found {W.shape}")
    if b is not None and len(b) != O:
        raise ValueError(f"quantised_linear: b: expected shape ({O},), found {b.shape}")
    rows = x.reshape(-1, I)
    step = max(1, AT_ONCE // I)
    if x.dtype == np.float32:
        y = _quantised_product(rows, W.parts)
    else:
        y = matmul(rows, W.dense().astype(x.dtype))
    if b is not None:
        y += b

    def backward(dy):
        drows = dy.reshape(-1, O)
        # y = x W
        dx = np.zeros((len(drows), I), dy.dtype)
        for first in range(0, O, step):
            last = min(first + step, O)
            weights = W.rows(np.arange(first, last)).astype(dy.dtype, copy=False)
            dx += matmul(drows[:, first:last], weights)
        return dx.reshape(shape)

    return y.reshape(*shape[:-1], O), backward


@twinned
def _quantised_product(x: NDArray[np.float32], parts: tuple[Panels, ...]) -> NDArray[np.float32]:
    """x (M, I) times the parts, side by side -> y (M, O)."""
    return np.concatenate([rounded_product(x, part.coded()) for part in parts], axis=1)


@twinned
def _quantised_rows(parts: tuple[Panels, ...], outputs: NDArray[np.int64]) -> NDArray[np.float32]:
    """The weights of some outputs (n,), counted over all parts -> (n, I)."""
    firsts = np.cumsum([0, *(part.outputs for part in parts)])
    found = np.empty((len(outputs), BLOCK * parts[0].codes.shape[1]), np.float32)
    for part, first, last in zip(parts, firsts, firsts[1:], strict=False):
        here = (first <= outputs) & (outputs < last)
        found[here] = part.coded(outputs[here] - first).dense()
    return found
