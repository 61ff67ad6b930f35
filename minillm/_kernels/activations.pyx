# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The Gaussian error linear unit, SiLU and softplus, element by element, and the gated unit, row by row:
the Cython twins of their originals.

One pass in each direction, in pieces that go to threads: blocks of elements, or rows.
"""

include "topic.pxi"
include "activations.pxi"

cdef enum:
    BLOCK = 8192  # elements: so few are not worth waking another thread for

cdef enum Unit:
    GELU
    EXACT_GELU
    SILU
    SOFTPLUS
    SWIGLU

cdef struct Work:
    Unit unit
    Py_ssize_t N, size  # elements of y, and of a piece
    Input x, dy         # dy: NULL in a forward
    Output result


cdef inline const floating *numbers(const floating[::1] x) noexcept:
    """The address of the first number; NULL if there is none."""
    return &x[0] if x.shape[0] > 0 else NULL


cdef inline const floating *of_rows(const floating[:, ::1] x) noexcept:
    return &x[0, 0] if x.shape[0] > 0 < x.shape[1] else NULL


def gelu_forward(const floating[::1] x):
    return run(GELU, x.shape[0], BLOCK, (x.shape[0],), numbers(x), <const floating *>NULL)


def gelu_backward(const floating[::1] dy, const floating[::1] x):
    return run(GELU, x.shape[0], BLOCK, (x.shape[0],), numbers(x), numbers(dy))


def exact_gelu_forward(const floating[::1] x):
    return run(EXACT_GELU, x.shape[0], BLOCK, (x.shape[0],), numbers(x), <const floating *>NULL)


def exact_gelu_backward(const floating[::1] dy, const floating[::1] x):
    return run(EXACT_GELU, x.shape[0], BLOCK, (x.shape[0],), numbers(x), numbers(dy))


def silu_forward(const floating[::1] x):
    return run(SILU, x.shape[0], BLOCK, (x.shape[0],), numbers(x), <const floating *>NULL)


def silu_backward(const floating[::1] dy, const floating[::1] x):
    return run(SILU, x.shape[0], BLOCK, (x.shape[0],), numbers(x), numbers(dy))


def softplus_forward(const floating[::1] x):
    return run(SOFTPLUS, x.shape[0], BLOCK, (x.shape[0],), numbers(x), <const floating *>NULL)


def softplus_backward(const floating[::1] dy, const floating[::1] x):
    return run(SOFTPLUS, x.shape[0], BLOCK, (x.shape[0],), numbers(x), numbers(dy))


def swiglu_forward(const floating[:, ::1] x):
    cdef Py_ssize_t N = x.shape[0], F = x.shape[1] // 2
    return run(SWIGLU, N * F, F, (N, F), of_rows(x), <const floating *>NULL)


def swiglu_backward(const floating[:, ::1] dy, const floating[:, ::1] x):
    cdef Py_ssize_t N = x.shape[0], F = x.shape[1] // 2
    return run(SWIGLU, N * F, F, (N, 2 * F), of_rows(x), of_rows(dy))


cdef run(Unit unit, Py_ssize_t N, Py_ssize_t size, tuple shape, const floating *x, const floating *dy):
    """y, or dx where dy is given: an array of this shape."""
    result = empty(shape, dtype_of(<floating>0))
    if N == 0:
        return result
    cdef Work work
    work.unit, work.N, work.size, work.x, work.dy, work.result = unit, N, size, x, dy, address(result)
    cdef int threads = 1 if N <= 3 * BLOCK else max_threads()
    with nogil:
        share(<Body>pieces[floating], &work, (N + size - 1) // size, threads)
    return result


cdef void pieces(floating *of_type, void *work, Part part) noexcept nogil:
    cdef Work w = (<Work *>work)[0]
    cdef Py_ssize_t wide = 2 if w.unit == SWIGLU else 1, i, at, n  # a row of x and of dx has twice as many
    cdef const floating *x
    cdef const floating *dy
    cdef floating *result
    for i in range(part.first, part.last):
        at, n = i * w.size, min(w.size, w.N - i * w.size)
        x, result = <const floating *>w.x + wide * at, <floating *>w.result + (at if w.dy == NULL else wide * at)
        if w.dy == NULL:
            if w.unit == GELU:
                gelu_block(n, x, result)
            elif w.unit == EXACT_GELU:
                exact_gelu_block(n, x, result)
            elif w.unit == SILU:
                silu_block(n, x, result)
            elif w.unit == SOFTPLUS:
                softplus_block(n, x, result)
            else:
                swiglu_row(n, x, result)
        else:
            dy = <const floating *>w.dy + at
            if w.unit == GELU:
                gelu_block_backward(n, dy, x, result)
            elif w.unit == EXACT_GELU:
                exact_gelu_block_backward(n, dy, x, result)
            elif w.unit == SILU:
                silu_block_backward(n, dy, x, result)
            elif w.unit == SOFTPLUS:
                softplus_block_backward(n, dy, x, result)
            else:
                swiglu_row_backward(n, dy, x, result)
