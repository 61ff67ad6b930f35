# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The product of rounded activations and quantised weights: the Cython twin of its original.

The rows are rounded first, into the order of the tiles; then the panels of outputs are divided among the
threads.  The work is in quantised.pxi and quantised.h.
"""

include "topic.pxi"
include "quantised.pxi"

cdef enum:
    ROWS_AT_ONCE = 252   # rounded rows, which the second-level cache keeps: a multiple of any tile
    SMALL = 1 << 18      # multiply-adds that are not worth another thread


cdef struct Product:
    const Matrix *W
    Py_ssize_t M
    const float *x
    Rounded rounded
    float *y


def quantised_product(const float[:, ::1] x, tuple parts):
    cdef Parts found = Parts(parts)
    cdef const Matrix *W = &found.matrix
    cdef Py_ssize_t M = x.shape[0], O = W.outputs, I = W.blocks * BLOCK, m = 0, most, tiles
    cdef Product p
    if len(parts) == 0 or x.shape[1] != I:
        raise ValueError("quantised_product: the shape of x does not fit the parts")
    y = empty((M, O), np.dtype(np.float32))
    if M == 0:
        return y
    cdef float *to = <float *>address(y)
    most = min(M, ROWS_AT_ONCE)
    cdef Workspace work = Workspace(rows_size(W, most) + 64)
    cdef char *room = work.take(rows_size(W, most))
    p.W = W
    with nogil:
        while m < M:
            p.M = min(most, M - m)
            p.x, p.y = &x[m, 0], to + m * O
            p.rounded = rows_in(room, W, p.M)
            tiles = (p.M + MOST_ROWS - 1) // MOST_ROWS
            share(<Body>parts_of_rounding, &p, tiles, threads_for(p.M * I * 16, SMALL))
            share(<Body>parts_of_rests, &p, W.blocks, threads_for(p.M * I * 2, SMALL))
            share(<Body>parts_of_product, &p, W.panels, threads_for(p.M * I * O, SMALL))
            m += p.M
    return y


cdef void parts_of_rounding(void *of_type, void *work, Part part) noexcept nogil:
    cdef const Product *p = <const Product *>work
    round_rows(p.W, p.M, part.first * MOST_ROWS, min(p.M, part.last * MOST_ROWS), p.x, &p.rounded)


cdef void parts_of_rests(void *of_type, void *work, Part part) noexcept nogil:
    cdef const Product *p = <const Product *>work
    round_rests(p.W, p.M, part.first, part.last, p.x, &p.rounded)


cdef void parts_of_product(void *of_type, void *work, Part part) noexcept nogil:
    cdef const Product *p = <const Product *>work
    cdef float[ROWS_AT_ONCE * PANEL + 16] room
    cdef float *sums = <float *>((<size_t>room + 63) & -64)  # at a cache line
    multiply_panels(p.W, p.M, part.first, part.last, &p.rounded, sums, p.y)


cdef struct Dense:
    const Matrix *W
    const int64_t *outputs
    float *rows


def quantised_rows(tuple parts, const int64_t[::1] outputs):
    cdef Parts found = Parts(parts)
    cdef Py_ssize_t n = outputs.shape[0], I = found.matrix.blocks * BLOCK
    cdef Dense p
    rows = empty((n, I), np.dtype(np.float32))
    if n == 0 or I == 0:
        return rows
    p.W, p.outputs, p.rows = &found.matrix, &outputs[0], <float *>address(rows)
    with nogil:
        share(<Body>parts_of_rows, &p, n, threads_for(n * I, SMALL))
    return rows


cdef void parts_of_rows(void *of_type, void *work, Part part) noexcept nogil:
    cdef const Dense *p = <const Dense *>work
    cdef Py_ssize_t i, output
    cdef int f
    for i in range(part.first, part.last):
        output, f = p.outputs[i], 0
        while f < p.W.count and output >= p.W.parts[f].outputs:
            output -= p.W.parts[f].outputs
            f += 1
        if output >= 0 and f < p.W.count:
            weights_of(p.W.parts + f, p.W.blocks, output, p.rows + i * p.W.blocks * BLOCK)
