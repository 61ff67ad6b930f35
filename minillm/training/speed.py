"""How fast a training is, against what the machine can do at best."""

import time
from typing import Any

import numpy as np

from minillm.ops.linear import matmul


def transformer_flops(model: Any) -> float:
    """Floating-point operations of forward and backward, for each token of a full window.

        6 W + 6 L C D

    W is the number of weights that a token is multiplied with: all matrices, the output's too,
    but not the positions, which are only looked up.  Each is a multiplication and an addition in
    the forward pass, and twice as many in the backward pass, for the gradients of the weights
    and of the input.  The scores q k^T and their product with v take as much again as 2 D
    weights for each position attended to, in each of L layers; of a context of C, that is C / 2
    on the average.
    """
    c = model.config
    matrices = [p for name, p in model.params.items() if p.ndim == 2 and name != "positions.E"]
    return 6.0 * sum(p.size for p in matrices) + 6.0 * c.layers * c.context * c.width


def matmul_peak(seconds: float = 0.2, size: int = 1024) -> float:
    """Floating-point operations per second of large float32 products: the best of some.

    They are made by the kernels in force, on as many threads as these use.
    """
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, size, size), np.float32)
    matmul(a, b)  # the threads are started
    best, started_at = float("inf"), time.perf_counter()
    while time.perf_counter() - started_at < seconds:
        begin = time.perf_counter()
        matmul(a, b)
        best = min(best, time.perf_counter() - begin)
    return 2 * size**3 / best
