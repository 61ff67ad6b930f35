"""The reasons why the fast kernels are fast, step by step: the two tables of chapter 20.

    cythonize -i -3 benchmarks/own/product.pyx
    python -m benchmarks.steps

A matrix product from a Python loop to the packed tiles, with 1 to 64 rows, and an lstm from NumPy
to the fused kernel.
"""

import os
import sys

import numpy as np

from benchmarks.machine import described, machine
from minillm._kernels import ORIGINALS, select_kernels
from minillm.ops.lstm import lstm_forward
from minillm.timing import listing, race

try:
    from .own import product  # type: ignore[attr-defined]  # compiled by hand
except ImportError:
    sys.exit("benchmarks: compile this first: cythonize -i -3 benchmarks/own/product.pyx")

KERNELS = select_kernels("cython")
K, N = 512, 2048  # depth and columns: one step of an lstm of 512
B, T, I, H = 32, 64, 128, 256  # batch, time, input, hidden
STEPS = {  # a contestant gets the matrices, and memory for the result
    "NumPy (its BLAS)": lambda a, b, c: a @ b,
    "Python loop, compiled": product.naive,
    "typed": product.typed,
    "no checks": product.unchecked,
    "along the rows": product.reordered,
    "blocked": product.blocked,
    "packed tiles in registers": lambda a, b, c: KERNELS.matmul(a, b),
}


def matrices(M):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((M, K), np.float32), rng.standard_normal((K, N), np.float32)
    return a, b, np.empty((M, N), np.float32)


def sequences(T):
    rng = np.random.default_rng(0)

    def normal(*shape):
        return (H**-0.5 * rng.standard_normal(shape)).astype(np.float32)

    weights = normal(I, 4 * H), normal(H, 4 * H), normal(4 * H)
    return normal(B, T, I), normal(B, H), normal(B, H), *weights, np.full(B, T)


def step_by_step(step):
    """An lstm that takes each step with a function: it returns the last h and c."""

    def run(x, h, c, W_x, W_h, b, lengths):
        for t in range(x.shape[1]):
            h, c = step(np.ascontiguousarray(x[:, t]), h, c, W_x, W_h, b)
        return h, c

    return run


def whole(forward):
    return lambda *arguments: forward(*arguments)[1:3]


LSTMS = {
    "NumPy, a step at a time": step_by_step(ORIGINALS["lstm_step"]),
    "NumPy, the input terms first": whole(lstm_forward.__wrapped__),
    "Cython, a step at a time": step_by_step(KERNELS.lstm_step),
    "Cython, packed and fused": whole(KERNELS.lstm_forward),
}

if __name__ == "__main__":
    print(described(machine()), end="\n\n")
    for count in sorted({1, os.cpu_count() or 1}):
        steps = STEPS if count == 1 else dict([*STEPS.items()][:: len(STEPS) - 1])
        results = race(
            steps,
            sizes=(1, 8, 64),
            arguments=matrices,
            flops=lambda M: 2 * M * K * N,
            bytes=lambda M: 4 * (M * K + K * N + M * N),
            name=f"matrix product, {K} by {N}",
            thread_count=count,
        )
        print(listing(results), end="\n\n")
        results = race(
            LSTMS,
            sizes=(T,),
            arguments=sequences,
            flops=lambda T: 2 * B * T * (I + H) * 4 * H,
            bytes=lambda T: 4 * (B * T * (I + H) + (I + H) * 4 * H),
            name=f"lstm forward, batch {B}, input {I}, hidden {H}",
            thread_count=count,
        )
        print(listing(results), end="\n\n")
