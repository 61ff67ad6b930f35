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
    cdef Py_ssize_t i, j, n = a.shape[0], m = b.shape[0], depth = a.shape[1]
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"expected rows of one length, found {a.shape[1]} and {b.shape[1]}")
    cdef const float[:, ::1] columns = np.ascontiguousarray(np.transpose(b))  # (D, m)
    distances = np.empty((n, m), np.float32)
    cdef float[:, ::1] out = distances
    for j in range(0, m, COLUMNS):
        for i in range(0, n, ROWS):
            if i + ROWS <= n and j + COLUMNS <= m:
                whole_tile(&a[i, 0], &columns[0, j], &out[i, j], depth, m)
            else:
                part_of_tile(a, columns, out, i, min(i + ROWS, n), j, min(j + COLUMNS, m))
    return distances


cdef void whole_tile(
    const float *a, const float *columns, float *out, Py_ssize_t depth, Py_ssize_t m
) noexcept nogil:
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
                difference = a[row * depth + k] - columns[k * m + column]
                sums[row][column] += difference * difference
    for row in range(ROWS):
        for column in range(COLUMNS):
            out[row * m + column] = sums[row][column]


cdef void part_of_tile(
    const float[:, ::1] a, const float[:, ::1] columns, float[:, ::1] out,
    Py_ssize_t i0, Py_ssize_t i1, Py_ssize_t j0, Py_ssize_t j1,
) noexcept nogil:
    """A tile at an edge, that is smaller."""
    cdef Py_ssize_t i, j, k
    cdef float difference, total
    for i in range(i0, i1):
        for j in range(j0, j1):
            total = 0
            for k in range(a.shape[1]):
                difference = a[i, k] - columns[k, j]
                total += difference * difference
            out[i, j] = total
