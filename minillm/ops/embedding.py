"""Looking up rows of a table."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from minillm._kernels import active_kernels
from minillm.ops import _validate


def embedding(ids: NDArray[np.integer], E: NDArray) -> tuple[NDArray, Callable]:
    """The row of E of each id: y = E[ids].

    ids (...) in 0..V-1, E (V, D) -> y (..., D).
    ``backward(dy)`` -> dE.  Keeps ids.

    It is a linear map of one-hot vectors, so that dE gathers, in each row v,
    the gradients of all places where v stood: dE[v] = sum of dy over ids == v.

    Raises TypeError or ValueError for ids that are no integers in 0..V-1.
    Source: Bengio, Ducharme, Vincent and Jauvin (2003), "A neural probabilistic
    language model", the matrix C of section 2.
    """
    V, D = _validate.floats("embedding", E=(E, "V D")).values()
    _validate.ids("embedding", "ids", ids, V)
    kernels = active_kernels()
    places = ids.ravel().astype(np.int64, copy=False)
    y = kernels.embedding_forward(np.ascontiguousarray(E), places)

    def backward(dy):
        rows = np.ascontiguousarray(dy).reshape(-1, D)
        return kernels.embedding_backward(rows, places, V)

    return y.reshape(*ids.shape, D), backward
