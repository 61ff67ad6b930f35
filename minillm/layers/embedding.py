"""Tables of vectors: a sum of their rows as the input, and a tied output layer."""

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.layers.types import Backward, Ids, Params


def layer(params: Params, tables: Mapping[str, Ids]) -> tuple[NDArray, Backward]:
    """The sum of a row of each table: x = E[ids] + P[positions] and so on.

    ``tables`` maps the name of a table (V, D) to its ids (B, T) -> x (B, T, D).
    ``backward(dx)`` -> gradients.
    """
    rows, backwards = [], {}
    for name, ids in tables.items():
        E = params[name]
        if isinstance(E, ops.Quantised):  # constant
            x = E.rows(ids)
        else:
            x, backwards[name] = ops.embedding(ids, E)
        rows.append(x)

    def backward(dx):
        return {name: table_backward(dx) for name, table_backward in reversed(backwards.items())}

    return reduce(np.add, rows), backward


def output(params: Params, E: str, y: NDArray, b: str | None = None) -> tuple[NDArray, Callable]:
    """Logits from a table of embeddings ("tied"): y (..., D) -> y E^T + b (..., V).

    ``backward(dlogits, trained=None)`` -> dy, gradients; none of E if it is not trained.
    Source: Press and Wolf (2017), "Using the output embedding to improve language models".
    """
    table: Any = params[E]
    if isinstance(table, ops.Quantised):  # constant
        logits, quantised_backward = ops.quantised_linear(y, table.T)
        return logits, lambda dlogits, trained=None: (quantised_backward(dlogits), {})
    bias = None if b is None else params[b]
    logits, linear_backward = ops.linear(y, params[E].T, bias)

    def backward(dlogits, trained=None):
        if b is None and trained is not None and E not in trained:
            return ops.linear(dlogits, params[E])[0], {}
        dy, dE_transposed, *db = linear_backward(dlogits)
        return dy, {E: dE_transposed.T} | dict(zip([b], db, strict=False))

    return logits, backward
