"""Exercises of chapter 17: fast kernels."""

import numpy as np

from minillm.exercises.declaration import exercise


def _intensity(M, K, N):
    return 2 * M * K * N / (4 * (M * K + K * N + M * N))


def _sizes(rng):
    for M, K, N in ((1, 512, 2048), (64, 512, 2048), (7, 3, 5)):
        yield "", (M, K, N)


@exercise(
    "operations per byte of a matrix product",
    level=1,
    minutes=5,
    reference=_intensity,
    solution="minillm/exercises/chapter17.py: _intensity",
    cases=_sizes,
    outputs=("intensity",),
    hints={
        "intensity": (
            "Divide the operations by the bytes of three matrices, each moved once.",
            "2 M K N operations; M K + K N + M N numbers of 4 bytes.",
        ),
    },
)
def intensity(M, K, N):
    """Count the operations per byte of C (M, N) = A (M, K) B (K, N), numbers of 4 bytes."""
    operations = ...
    bytes_moved = ...
    return operations / bytes_moved


def _product(A, B, rows, columns):
    return A @ B


def _matrices(rng):
    yield "", (rng.standard_normal((6, 5)), rng.standard_normal((5, 8)), 3, 4)
    yield "", (rng.standard_normal((7, 5)), rng.standard_normal((5, 9)), 3, 4)
    yield "", (rng.standard_normal((1, 1)), rng.standard_normal((1, 3)), 2, 2)


@exercise(
    "a matrix product, tile by tile",
    level=2,
    minutes=15,
    reference=_product,
    solution="docs/chapters/17-kernels.md: def tiled",
    cases=_matrices,
    outputs=("C",),
    hints={
        "C": (
            "A tile is the sum over the depth of outer products: a piece of a column of A by a "
            "piece of a row of B.",
            "column[:, None] * row has an entry for each row and column of the tile; the tile is "
            "stored once, after the loop over k.",
        ),
    },
)
def tiled_product(A, B, rows, columns):
    """Multiply A (M, K) by B (K, N) in tiles of ``rows`` by ``columns`` -> C (M, N)."""
    C = np.full((A.shape[0], B.shape[1]), np.nan)
    for i in range(0, A.shape[0], rows):
        for j in range(0, B.shape[1], columns):
            tile = np.zeros_like(C[i : i + rows, j : j + columns])
            for k in range(A.shape[1]):
                column, row = A[i : i + rows, k], B[k, j : j + columns]
                tile = tile + ...
            C[i : i + rows, j : j + columns] = ...
    return C
