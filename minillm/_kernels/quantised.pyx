# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The product of rounded activations and quantised weights: the Cython twin of its original.

The rows are rounded first, into the order of the tiles; then the panels of outputs are divided among the
threads.  The work is in quantised.pxi and quantised.h.
"""

import numpy as np

from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

from minillm._kernels._pool cimport Workspace, cut, empty
from minillm._kernels._threads cimport Body, Part, max_threads, share

include "quantised.pxi"

cdef enum:
    ROWS_AT_ONCE = 252   # rounded rows, which the second-level cache keeps: a multiple of any tile
    SMALL = 1 << 18      # multiply-adds that are not worth another thread


cdef struct Product:
    const Matrix *W
    Py_ssize_t M
    const float *x
    Rows rows
    int32_t *sums            # for each thread
    float *y


def quantised_product(const float[:, ::1] x, tuple parts):
    cdef Parts found = Parts(parts)
    cdef Py_ssize_t M = x.shape[0], O = found.matrix.outputs, B = found.matrix.blocks, m = 0, tiles
    cdef Product p
    cdef int threads = max_threads()
    if len(parts) == 0 or x.shape[1] != B * BLOCK:
        raise ValueError("quantised_product: the shape of x does not fit the parts")
    y = empty((M, O), np.dtype(np.float32))
    if M == 0:
        return y
    cdef float[:, ::1] y_ = y
    cdef Workspace work = Workspace(
        rows_size(min(M, ROWS_AT_ONCE), B, found.matrix.count) + threads * (2 * B * 4 + 64))
    cdef char *room = work.take(rows_size(min(M, ROWS_AT_ONCE), B, found.matrix.count))
    p.sums = <int32_t *>work.take(threads * (2 * B * 4 + 64))
    p.W = &found.matrix
    with nogil:
        while m < M:
            p.M = min(ROWS_AT_ONCE, M - m)
            p.x, p.y = &x[m, 0], &y_[m, 0]
            p.rows = rows_in(room, p.M, B, p.W.count)
            tiles = (p.M + most_rows() - 1) // most_rows()
            share(<Body>parts_of_rounding, &p, tiles, 1 if p.M * B * BLOCK * 16 < SMALL else threads)
            share(<Body>parts_of_product, &p, p.W.panels, 1 if p.M * B * BLOCK * O < SMALL else threads)
            m += p.M
    return y


cdef void parts_of_rounding(void *of_type, void *work, Part part) noexcept nogil:
    cdef const Product *p = <const Product *>work
    round_rows(p.W, p.M, part.first * most_rows(), min(p.M, part.last * most_rows()), p.x, &p.rows,
               p.sums + part.me * (2 * p.W.blocks + 16))


cdef void parts_of_product(void *of_type, void *work, Part part) noexcept nogil:
    cdef const Product *p = <const Product *>work
    multiply_panels(p.W, p.M, part.first, part.last, &p.rows, p.y, p.W.outputs)


def quantised_rows(tuple parts, const int64_t[::1] outputs):
    cdef Parts found = Parts(parts)
    cdef Py_ssize_t n = outputs.shape[0], I = found.matrix.blocks * BLOCK, i, output
    cdef int p
    rows = empty((n, I), np.dtype(np.float32))
    cdef float[:, ::1] rows_ = rows
    with nogil:
        for i in range(n):
            output, p = outputs[i], 0
            while p < found.matrix.count and output >= found.formats[p].outputs:
                output -= found.formats[p].outputs
                p += 1
            if output >= 0 and p < found.matrix.count:
                weights_of(found.formats + p, found.matrix.blocks, output, &rows_[i, 0])
    return rows
