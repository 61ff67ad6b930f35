"""Tables of vectors: a sum of their rows as the input, and a tied output layer."""

from collections.abc import Callable, Mapping
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers import dense
from minillm.layers.gradients import is_trained
from minillm.layers.types import Backward, Ids, Params


def layer(params: Params, tables: Mapping[str, Ids]) -> tuple[NDArray, Backward]:
    """The sum of a row of each table: x = E[ids] + P[positions] and so on.

    ``tables`` maps the name of a table (V, D) to its ids (B, T) -> x (B, T, D).
    ``backward(dx)`` -> gradients of the tables that are trained.
    """
    rows, backwards = [], {}
    for name, ids in tables.items():
        E = params[name]
        if not isinstance(E, np.ndarray):  # a quantised table, which is constant
            rows.append(E.rows(ids))
            continue
        x, table_backward = ops.embedding(ids, E)
        rows.append(x)
        if is_trained(params, name):
            backwards[name] = table_backward

    def backward(dx):
        return {name: table_backward(dx) for name, table_backward in reversed(backwards.items())}

    return reduce(np.add, rows), backward


def rows(params: Params, tables: Mapping[str, Ids]) -> NDArray:
    """The forward of :func:`layer` alone, for ids that are known to be in range."""
    found = [(params[name], ids) for name, ids in tables.items()]
    taken = [E.take(ids, axis=0) if isinstance(E, np.ndarray) else E.rows(ids) for E, ids in found]
    return reduce(np.add, taken)


def output(params: Params, E: str, y: NDArray, b: str | None = None) -> tuple[NDArray, Callable]:
    """Logits from a table of embeddings ("tied"): y (..., D) -> y E^T + b (..., V).

    ``backward(dlogits)`` -> dy, gradients; none of E if it is not trained.
    Source: Press and Wolf (2017), "Using the output embedding to improve language models".
    """
    return dense.affine(params, E, y, b, transposed=True)
