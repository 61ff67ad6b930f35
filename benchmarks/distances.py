"""Distances between points, from a Python loop to tiles: see docs/manual/kernels.md.

    cythonize -i -3 benchmarks/own/distances.pyx
    python -m benchmarks.distances

Prints the table, and writes runs/own-kernel.png and the figures beside it.
"""

import sys
from pathlib import Path

import numpy as np

from benchmarks.machine import described, machine
from minillm.timing import listing, race

from .files import Kept, new_file
from .roofline import picture

try:
    from .own import distances  # type: ignore[attr-defined]  # compiled by hand
except ImportError:
    sys.exit("benchmarks: compile this first: cythonize -i -3 benchmarks/own/distances.pyx")

D = 64  # coordinates of a point


def loop(a, b):
    out = np.empty((len(a), len(b)), np.float32)
    for i in range(len(a)):
        for j in range(len(b)):
            total = np.float32(0)
            for k in range(a.shape[1]):
                total += (a[i, k] - b[j, k]) ** 2
            out[i, j] = total
    return out


def broadcast(a, b):
    return ((a[:, None] - b[None]) ** 2).sum(axis=-1)


def product(a, b):
    squares = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)
    return squares - 2 * (a @ b.T)


def points(n):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, D), np.float32), rng.standard_normal((n, D), np.float32)


if __name__ == "__main__":
    results = race(
        {
            "NumPy": broadcast,
            "Python loop": loop,
            "typed": distances.typed,
            "tiled": distances.tiled,
            "NumPy, product": product,
        },
        sizes=(16, 32, 64, 128, 256, 512, 1024),
        arguments=points,
        flops=lambda n: 3 * n * n * D,
        bytes=lambda n: 4 * (2 * n * D + n * n),
        name="distances",
    )
    results.machine = machine()
    with new_file(Path("runs"), "own-kernel-") as file:
        Kept(results.machine, results.limits, results.cells).write_to(file)
    Path("runs/own-kernel.png").write_bytes(picture(results))
    print("$ python -m benchmarks.distances")
    print(described(results.machine))
    print(listing(results))
