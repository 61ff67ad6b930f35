"""Tables of vectors: the sum of several at the input, and one of them again at the output."""

from collections.abc import Callable, Mapping
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers.types import Backward, Ids, Params


def layer(params: Params, tables: Mapping[str, Ids]) -> tuple[NDArray, Backward]:
    """The sum of a row of each table: x = E[ids] + P[positions] and so on.

    ``tables`` has ids (B, T) by the name of the table (V, D) -> x (B, T, D).
    ``backward(dx)`` -> gradients.
    """
    rows, backwards = [], {}
    for name, ids in tables.items():
        x, backwards[name] = ops.embedding(ids, params[name])
        rows.append(x)

    def backward(dx):
        return {name: table_backward(dx) for name, table_backward in reversed(backwards.items())}

    return reduce(np.add, rows), backward


def output(params: Params, E: str, y: NDArray, b: str | None = None) -> tuple[NDArray, Callable]:
    """Logits by the vectors of a table, "tied": y (..., D) -> y E^T + b (..., V).

    ``backward(dlogits)`` -> dy, gradients.
    Source: Press and Wolf (2017), "Using the output embedding to improve language models".
    """
    bias = None if b is None else params[b]
    logits, linear_backward = ops.linear(y, params[E].T, bias)

    def backward(dlogits):
        dy, dE_transposed, *db = linear_backward(dlogits)
        return dy, {E: dE_transposed.T} | dict(zip([b], db, strict=False))

    return logits, backward
