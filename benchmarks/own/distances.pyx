# distutils: extra_compile_args = -O3 -march=native
# cython: boundscheck=False, wraparound=False
"""Squared distances between the rows of two matrices: a typed loop, and tiles in registers.

Compile it with `cythonize -i -3 benchmarks/own/distances.pyx`.
"""

import numpy as np


def typed(const float[:, ::1] a, const float[:, ::1] b):
    """The loop of the definition, on typed memory: a (n, D), b (m, D) -> (n, m)."""
    cdef Py_ssize_t i, j, k
    cdef float difference, total
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"expected rows of one length, found {a.shape[1]} and {b.shape[1]}")
    distances = np.empty((a.shape[0], b.shape[0]), np.float32)
    cdef float[:, ::1] out = distances
    for i in range(a.shape[0]):
        for j in range(b.shape[0]):
            total = 0
            for k in range(a.shape[1]):
                difference = a[i, k] - b[j, k]
                total += difference * difference
            out[i, j] = total
    return distances


cdef enum:
    ROWS = 4  # of a tile
    COLUMNS = 32


def tiled(const float[:, ::1] a, const float[:, ::1] b):
    """The same in tiles of 4 by 32: a (n, D), b (m, D) -> (n, m)."""
    cdef Py_ssize_t i, j, rows, columns, n = a.shape[0], m = b.shape[0], depth = a.shape[1]
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"expected rows of one length, found {a.shape[1]} and {b.shape[1]}")
    cdef const float[:, :, ::1] panels = packed(b)
    cdef const float *panel
    distances = np.empty((n, m), np.float32)
    cdef float[:, ::1] out = distances
    for j in range(0, m, COLUMNS):
        panel = &panels[j // COLUMNS, 0, 0]
        for i in range(0, n, ROWS):
            rows, columns = min(ROWS, n - i), min(COLUMNS, m - j)
            if rows == ROWS and columns == COLUMNS:
                whole_tile(&a[i, 0], panel, &out[i, j], depth, m)
            else:
                part_of_tile(&a[i, 0], panel, &out[i, j], depth, m, rows, columns)
    return distances


def packed(b):
    """Copy the points into panels of 32, filled up with zeros: b (m, D) -> (panels, D, 32)."""
    m, depth = np.shape(b)
    count = -(-m // COLUMNS)
    padded = np.zeros((count * COLUMNS, depth), np.float32)
    padded[:m] = b
    return np.ascontiguousarray(padded.reshape(count, COLUMNS, depth).swapaxes(1, 2))


cdef void whole_tile(
    const float *a, const float *panel, float *out, Py_ssize_t depth, Py_ssize_t m
) noexcept:
    """The sums of a tile stay in registers: its loops have fixed lengths and are unrolled."""
    cdef float sums[ROWS][COLUMNS]
    cdef float difference
    cdef Py_ssize_t k, row, column
    for row in range(ROWS):
        for column in range(COLUMNS):
            sums[row][column] = 0
    for k in range(depth):
        for row in range(ROWS):
            for column in range(COLUMNS):
                difference = a[row * depth + k] - panel[k * COLUMNS + column]
                sums[row][column] += difference * difference
    for row in range(ROWS):
        for column in range(COLUMNS):
            out[row * m + column] = sums[row][column]


cdef void part_of_tile(
    const float *a, const float *panel, float *out, Py_ssize_t depth, Py_ssize_t m,
    Py_ssize_t rows, Py_ssize_t columns,
) noexcept:
    """A tile at an edge, with fewer rows or columns."""
    cdef Py_ssize_t k, row, column
    cdef float difference, total
    for row in range(rows):
        for column in range(columns):
            total = 0
            for k in range(depth):
                difference = a[row * depth + k] - panel[k * COLUMNS + column]
                total += difference * difference
            out[row * m + column] = total
