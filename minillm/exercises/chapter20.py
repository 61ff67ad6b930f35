"""Exercises of chapter 20: fast kernels."""

import numpy as np

from minillm.exercises.declaration import Bug, draw, exercise, find_the_bug
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
    solution="minillm/exercises/chapter20.py: _intensity",
    cases=_sizes,
    outputs=("intensity",),
    hints={
        "intensity": (
            "An entry of C takes K products and K additions.  Three matrices are moved once each.",
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
    solution="docs/chapters/20-kernels.md: def tiled",
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
    solution="minillm/exercises/chapter20.py: _online_softmax",
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


# --- transfer: the answer stands nowhere in the text ----------------------------------


def _cache_misses(places, line, lines):
    cache, misses = [], 0
    for place in places:
        number = place // line
        if number in cache:
            cache.remove(number)
        else:
            misses += 1
        cache.append(number)
        cache = cache[-lines:]
    return misses


def _walks(rng):
    rows = list(range(64))  # a matrix of 8 rows of 8 numbers
    columns = [8 * i + j for j in range(8) for i in range(8)]
    tiles = [
        8 * (4 * a + i) + 4 * b + j
        for a in (0, 1)
        for b in (0, 1)
        for j in range(4)
        for i in range(4)
    ]
    yield "neighbours", (rows, 4, 16)
    yield "neighbours", (columns, 4, 16)
    yield "driven out", (columns, 4, 4)
    yield "driven out", (tiles, 4, 4)
    yield "least recently", ([0, 4, 0, 8, 0, 12, 0, 4], 4, 2)
    yield "least recently", (rng.integers(0, 40, 80).tolist(), 4, 5)


@exercise(
    "count the misses of a cache",
    level=2,
    minutes=25,
    reference=_cache_misses,
    solution="minillm/exercises/chapter20.py: _cache_misses",
    cases=_walks,
    outputs=("misses",),
    hints={
        "neighbours": (
            "A miss brings a whole line: its other numbers are there when they are wanted.",
            "The line of a number is place // line, and the cache holds lines.",
        ),
        "driven out": (
            "The cache has room for ``lines`` lines.  A line that was driven out is a miss again.",
            "Keep a list of line numbers, the last used at its end, and cut it to the last "
            "``lines``.",
        ),
        "least recently": (
            "The line that is driven out was not used for the longest time: each use of a line "
            "makes it young again, a use without a miss, too.",
            "On a hit, move the line's number to the end of the list.",
        ),
    },
)
def cache_misses(places, line, lines):
    """Count the misses when numbers of memory are read one after the other.

    places: a list of the positions in memory (int, counted in numbers from 0); line: numbers per
    line of the cache, each beginning at a multiple of it; lines: how many lines the cache holds.
    It is empty at first; if it is full, a new line takes the place of the one that was used least
    recently -> misses.
    """
    # as many lines as you need
    misses = ...
    return misses


def _stochastic_rounding(x, u):
    spacing = 2.0 ** (np.floor(np.log2(np.abs(x))) - 7)
    below = np.floor(x / spacing) * spacing
    return below + spacing * (u < (x - below) / spacing)


def _to_round(rng):
    yield "a bfloat16", (np.array([1.5, -2.0, 0.75]), np.array([0.0, 0.5, 0.9]))
    yield "between 1 and 2", (rng.uniform(1, 2, 20), rng.random(20))
    yield "positive", (np.exp(3 * rng.standard_normal(30)), rng.random(30))
    yield "", (rng.standard_normal(30), rng.random(30))


@exercise(
    "rounding that is right on average",
    level=2,
    minutes=25,
    reference=_stochastic_rounding,
    solution="minillm/exercises/chapter20.py: _stochastic_rounding",
    cases=_to_round,
    outputs=("y",),
    hints={
        "a bfloat16": (
            "A number that is a bfloat16 already stays as it is, whatever u is.",
            "below + spacing * (u < share), where share = (x - below) / spacing is 0 here.",
        ),
        "between 1 and 2": (
            "Between 1 and 2 the spacing is 1/128.  How probable must the upper neighbour be, so "
            "that the mean over all u is x?",
            "below = np.floor(x / spacing) * spacing; the upper neighbour where u is smaller than "
            "(x - below) / spacing.",
        ),
        "positive": (
            "The spacing doubles from each power of two to the next.",
            "spacing = 2.0 ** (np.floor(np.log2(np.abs(x))) - 7).",
        ),
        "y": (
            "The spacing of a negative number is that of its absolute value.  The two neighbours "
            "are below and above x on the line, below is the more negative one.",
            "spacing from np.abs(x), and np.floor(x / spacing) of x with its sign.",
        ),
    },
)
def stochastic_rounding(x, u):
    """Round each x to one of its two neighbours in bfloat16, at random, so that the mean is x.

    From 2^e to 2^(e+1), the bfloat16 are 2^(e-7) apart.  x (n,), not 0; u (n,), uniform between
    0 and 1: take the upper neighbour where u is below the number that makes the mean over u equal x
    -> y (n,).
    """
    # as many lines as you need
    y = ...
    return y


# --- find the bug -------------------------------------------------------------------


def _keys_in_blocks(rng):
    for T, S in ((4, 4), (4, 6)):
        yield "", draw(rng, (T, 4), (S, 4), (S, 4))


@find_the_bug(
    "find the bug: FlashAttention",
    level=3,
    minutes=25,
    cases=_keys_in_blocks,
    gradients=("dq", "dk", "dv"),
    bugs=(
        Bug(
            "factor",
            "dq += dscores @ k[part] * scale",
            "dq += dscores @ k[part]",
            "The scores are q k^T times the scale.",
        ),
        Bug(
            "path",
            "(dy @ v[part].T - shared)",
            "(dy @ v[part].T)",
            "A weight depends on every score of its row, by the sum that divides it.",
        ),
        Bug(
            "value",
            "* scale - log_sum)",
            "* scale - top)",
            "The weights that are computed again must sum to 1 over all blocks.",
        ),
        Bug("path", "dq += dscores", "dq = dscores", "A query is used in every block of keys."),
        Bug(
            "value",
            "dv[part] = weights.T @ dy",
            "dv[part] = dscores.T @ dy",
            "A value is multiplied by its weights.",
        ),
        Bug(
            "value",
            "shared = (dy * y)",
            "shared = (dy * dy)",
            "The sum over all keys is dy . y.",
        ),
    ),
)
def find_flash(q, k, v):
    """Compute attention over blocks of two keys, without the matrix of all weights.

    q (T, d), k, v (S, d) -> y (T, d).  ``backward(dy)`` -> dq, dk, dv.
    """
    scale = 1 / np.sqrt(q.shape[1])
    parts = [slice(start, start + 2) for start in range(0, len(k), 2)]
    top, Z, y = np.full((len(q), 1), -np.inf), 0.0, 0.0
    for part in parts:
        scores = q @ k[part].T * scale
        new_top = np.maximum(top, scores.max(axis=1, keepdims=True))
        correction, p = np.exp(top - new_top), np.exp(scores - new_top)
        Z = correction * Z + p.sum(axis=1, keepdims=True)
        y = correction * y + p @ v[part]
        top = new_top
    y, log_sum = y / Z, top + np.log(Z)

    def backward(dy):
        dq, dk, dv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
        shared = (dy * y).sum(axis=1, keepdims=True)
        for part in parts:
            weights = np.exp(q @ k[part].T * scale - log_sum)
            dscores = weights * (dy @ v[part].T - shared)
            dq += dscores @ k[part] * scale
            dk[part] = dscores.T @ q * scale
            dv[part] = weights.T @ dy
        return dq, dk, dv

    return y, backward
