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


def gelu_forward(x):
    return run(GELU, x)


def gelu_backward(dy, x):
    return run(GELU, x, dy)


def exact_gelu_forward(x):
    return run(EXACT_GELU, x)


def exact_gelu_backward(dy, x):
    return run(EXACT_GELU, x, dy)


def silu_forward(x):
    return run(SILU, x)


def silu_backward(dy, x):
    return run(SILU, x, dy)


def softplus_forward(x):
    return run(SOFTPLUS, x)


def softplus_backward(dy, x):
    return run(SOFTPLUS, x, dy)


def swiglu_forward(x):
    return run(SWIGLU, x)


def swiglu_backward(dy, x):
    return run(SWIGLU, x, dy)


cdef run(Unit unit, x, dy=None):
    """y, or dx where dy is given.  A piece of the gated unit is a row."""
    cdef Py_buffer of_x = memory_of(x, 2 if unit == SWIGLU else 1)
    cdef Py_ssize_t N = of_x.shape[0], size = BLOCK
    shape = (N,)
    if unit == SWIGLU:
        size = of_x.shape[1] // 2
        require(of_x.shape[1] == 2 * size)
        shape = (N, size if dy is None else 2 * size)
        N *= size
    cdef Work work
    work.unit, work.N, work.size, work.x, work.dy = unit, N, size, of_x.buf, NULL
    if dy is not None:
        work.dy = numbers(dy, x.dtype, N)
    result = empty(shape, x.dtype)
    if N == 0:
        return result
    work.result = address(result)
    cdef Body body = <Body>pieces[float] if of_x.itemsize == 4 else <Body>pieces[double]
    cdef int threads = 1 if N <= 3 * BLOCK else max_threads()
    with nogil:
        share(body, &work, (N + size - 1) // size, threads)
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
