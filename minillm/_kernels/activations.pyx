# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The Gaussian error linear unit, element by element, and the gated unit, row by row: the Cython twins
of their originals.

One pass in each direction, in blocks or rows that go to threads.
"""

from minillm._kernels._pool cimport empty
from minillm._kernels._threads cimport Body, Input, Output, Part, max_threads, share

include "floating.pxi"
include "activations.pxi"

cdef enum:
    BLOCK = 8192  # elements: so few are not worth waking another thread for

cdef struct Work:
    Py_ssize_t N   # elements, or half of a row
    bint exact
    Input x, dy    # dy: NULL in a forward
    Output result


def gelu_forward(const floating[::1] x):
    return elementwise[floating](None, x, False)


def gelu_backward(const floating[::1] dy, const floating[::1] x):
    return elementwise[floating](dy, x, False)


def exact_gelu_forward(const floating[::1] x):
    return elementwise[floating](None, x, True)


def exact_gelu_backward(const floating[::1] dy, const floating[::1] x):
    return elementwise[floating](dy, x, True)


cdef elementwise(const floating[::1] dy, const floating[::1] x, bint exact):
    """y, or dx where dy is given."""
    cdef Py_ssize_t N = x.shape[0], blocks = (N + BLOCK - 1) // BLOCK
    result = empty((N,), dtype_of(<floating>0))
    if N == 0:
        return result
    cdef floating[::1] result_ = result
    cdef int threads = 1 if blocks < 4 else max_threads()
    cdef Work work
    work.N, work.exact, work.x, work.result = N, exact, &x[0], &result_[0]
    work.dy = &dy[0] if dy is not None else NULL
    with nogil:
        share(<Body>blocks_of_elements[floating], &work, blocks, threads)
    return result


cdef void blocks_of_elements(floating *of_type, void *work, Part part) noexcept nogil:
    cdef Work e = (<Work *>work)[0]
    cdef Py_ssize_t i, count
    cdef const floating *x
    cdef const floating *dy
    cdef floating *result
    for i in range(part.first, part.last):
        x, result = <const floating *>e.x + i * BLOCK, <floating *>e.result + i * BLOCK
        count = min(BLOCK, e.N - i * BLOCK)
        if e.dy == NULL:
            if e.exact:
                exact_gelu_block(count, x, result)
            else:
                gelu_block(count, x, result)
        else:
            dy = <const floating *>e.dy + i * BLOCK
            if e.exact:
                exact_gelu_block_backward(count, dy, x, result)
            else:
                gelu_block_backward(count, dy, x, result)


def swiglu_forward(const floating[:, ::1] x):
    return gated[floating](None, x)


def swiglu_backward(const floating[:, ::1] dy, const floating[:, ::1] x):
    return gated[floating](dy, x)


cdef gated(const floating[:, ::1] dy, const floating[:, ::1] x):
    """y (N, F), or dx (N, 2 F) where dy is given."""
    cdef Py_ssize_t N = x.shape[0], F = x.shape[1] // 2
    result = empty((N, F if dy is None else 2 * F), dtype_of(<floating>0))
    if N * F == 0:
        return result
    cdef floating[:, ::1] result_ = result
    cdef int threads = 1 if N * F < 4 * BLOCK else max_threads()
    cdef Work work
    work.N, work.x, work.result = F, &x[0, 0], &result_[0, 0]
    work.dy = &dy[0, 0] if dy is not None else NULL
    with nogil:
        share(<Body>gated_rows[floating], &work, N, threads)
    return result


cdef void gated_rows(floating *of_type, void *work, Part part) noexcept nogil:
    cdef Work r = (<Work *>work)[0]
    cdef Py_ssize_t F = r.N, n
    cdef const floating *x
    for n in range(part.first, part.last):
        x = <const floating *>r.x + n * 2 * F
        if r.dy == NULL:
            swiglu_row(F, x, <floating *>r.result + n * F)
        else:
            swiglu_row_backward(F, <const floating *>r.dy + n * F, x, <floating *>r.result + n * 2 * F)
