"""Exercises of chapter 17: fast kernels."""

import numpy as np

from minillm.exercises.declaration import draw, exercise
from minillm.ops.softmax import masked_softmax


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


def _online_softmax(blocks, T):
    scores = np.concatenate([scores for scores, _ in blocks], axis=1)
    values = np.concatenate([values for _, values in blocks])
    weights, _ = masked_softmax(scores, np.ones(scores.shape, bool))
    return weights @ values


def _blocks(rng):
    for label, scale, sizes in (
        ("", 1, (3,)),
        ("two blocks", 1, (2, 3)),
        ("large", 900, (2, 1, 4)),
    ):
        yield label, ([(scale * rng.standard_normal((3, S)), *draw(rng, (S, 2))) for S in sizes], 3)


@exercise(
    "softmax and its weighted mean in one pass",
    level=3,
    minutes=35,
    reference=_online_softmax,
    solution="minillm/exercises/chapter17.py: _online_softmax",
    cases=_blocks,
    hints={
        "y": (
            "With one block this is softmax(scores) v: p holds exp(scores - m), total its sums.",
            "p = np.exp(scores - m_new[:, None]), total = p.sum(axis=1) plus what the old total is "
            "worth, y = p @ values plus what the old y is worth.  The first block meets m = -inf, "
            "and exp(m - m_new) is 0 there.",
        ),
        "two blocks": (
            "The old sums were made with another maximum than those of this block.  By which "
            "factor is exp(s - m_new) smaller than exp(s - m)?",
            "p = np.exp(scores - m_new[:, None]), scale = np.exp(m - m_new), and both old sums "
            "are multiplied by it: total * scale, y * scale[:, None].",
        ),
        "large": (
            "exp of a large score overflows.  m_new must be the largest score so far, of each row.",
            "m_new = np.maximum(m, scores.max(axis=1)).",
        ),
    },
)
def online_softmax(blocks, T):
    """Compute softmax(scores) values, where scores and values come in blocks of keys.

    blocks: pairs of scores (T, S) and values (S, E), S of each block its own.  A block is read once
    and not kept -> y (T, E).
    """
    m = np.full(T, -np.inf)  # the largest score so far
    total, y = np.zeros(T), 0.0  # the sums so far, of exp(scores - m), and of it times the values
    for scores, values in blocks:
        m_new = ...
        # what brings the old sums to the new maximum
        scale = ...
        p = ...
        total = ...
        y = ...
        m = m_new
    return y / total[:, None]
