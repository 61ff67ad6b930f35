# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The steps of an optimiser on every parameter: the Cython twins of the originals.

One pass: each number is read once and written once, so that it runs at the speed of
memory.  All arrays are cut into pieces, which go to threads: the threads are woken once for all
of them.  The sums of the pieces are added in their order, so that the bits do not depend on the
number of threads.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cython.parallel cimport prange

from minillm._kernels._pool cimport Workspace

include "floating.pxi"
include "threads.pxi"
include "lanes.pxi"
include "adam.pxi"

cdef enum:
    PIECE = 16384  # numbers at most
    FEW = 4        # pieces that are not worth waking another thread for

cdef struct Piece:
    char *p
    char *g
    char *m
    char *v
    double decay
    Py_ssize_t count, itemsize


def adam_update(
    ps, gs, ms, vs, decays, double beta1, double beta2, double step_size, double root_correction,
    double epsilon,
):
    cdef Py_ssize_t count = pieces_of(ps), i = 0
    cdef Workspace work = Workspace(count * sizeof(Piece))
    cdef Piece *pieces = <Piece *>work.take(count * sizeof(Piece))
    cdef Piece whole
    for p, g, m, v, decay in zip(ps, gs, ms, vs, decays, strict=True):
        whole.p, whole.g, whole.m, whole.v = address(p), address(g), address(m), address(v)
        whole.decay, whole.count, whole.itemsize = decay, p.size, p.itemsize
        i += cut(whole, &pieces[i])
    for i in prange(count, nogil=True, num_threads=threads_for(count), schedule="dynamic"):
        if pieces[i].itemsize == sizeof(float):
            update[float](&pieces[i], beta1, beta2, step_size, root_correction, epsilon, <float *>0)
        else:
            update[double](&pieces[i], beta1, beta2, step_size, root_correction, epsilon, <double *>0)


cdef inline void update(
    const Piece *piece, double beta1, double beta2, double step_size, double root_correction,
    double epsilon, floating *of_this_type,
) noexcept nogil:
    adam(piece.count, <floating *>piece.p, <const floating *>piece.g, <floating *>piece.m,
         <floating *>piece.v, beta1, beta2, step_size, root_correction, epsilon, piece.decay)


def sum_of_squares(gs):
    cdef Py_ssize_t count = pieces_of(gs), i = 0
    cdef Workspace work = Workspace(count * (sizeof(Piece) + sizeof(double)) + 64)
    cdef Piece *pieces = <Piece *>work.take(count * sizeof(Piece))
    cdef double *sums = <double *>work.take(count * sizeof(double))
    cdef double total = 0
    cdef Piece whole
    for g in gs:
        whole.g, whole.count, whole.itemsize = address(g), g.size, g.itemsize
        i += cut(whole, &pieces[i])
    for i in prange(count, nogil=True, num_threads=threads_for(count), schedule="dynamic"):
        if pieces[i].itemsize == sizeof(float):
            sums[i] = dot(pieces[i].count, <float *>pieces[i].g, <float *>pieces[i].g)
        else:
            sums[i] = dot(pieces[i].count, <double *>pieces[i].g, <double *>pieces[i].g)
    for i in range(count):
        total += sums[i]
    return total


def scale(gs, double factor):
    cdef Py_ssize_t count = pieces_of(gs), i = 0
    cdef Workspace work = Workspace(count * sizeof(Piece))
    cdef Piece *pieces = <Piece *>work.take(count * sizeof(Piece))
    cdef Piece whole
    for g in gs:
        if g.flags.c_contiguous:
            whole.g, whole.count, whole.itemsize = address(g, PyBUF_WRITABLE), g.size, g.itemsize
            i += cut(whole, &pieces[i])
        else:
            g *= factor
    count = i
    for i in prange(count, nogil=True, num_threads=threads_for(count), schedule="dynamic"):
        if pieces[i].itemsize == sizeof(float):
            scale_piece(pieces[i].count, <float *>pieces[i].g, <float>factor)
        else:
            scale_piece(pieces[i].count, <double *>pieces[i].g, factor)


cdef inline void scale_piece(Py_ssize_t n, floating *x, floating factor) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        x[i] *= factor


cdef Py_ssize_t pieces_of(arrays) except -1:
    """How many there are in all."""
    cdef Py_ssize_t count = 0
    for array in arrays:
        count += (array.size + PIECE - 1) // PIECE
    return count


cdef Py_ssize_t cut(Piece whole, Piece *pieces) noexcept:
    """Write the pieces of an array, and return how many."""
    cdef Py_ssize_t step = PIECE * whole.itemsize, left = whole.count, i = 0
    while left > 0:
        pieces[i] = whole
        pieces[i].count = min(left, PIECE)
        whole.p, whole.g, whole.m, whole.v = (
            whole.p + step, whole.g + step, whole.m + step, whole.v + step)
        left -= PIECE
        i += 1
    return i


cdef char *address(array, int flags=PyBUF_SIMPLE) except? NULL:
    """Of the first number of an array in C order, which its caller keeps alive."""
    cdef Py_buffer buffer
    PyObject_GetBuffer(array, &buffer, flags)
    PyBuffer_Release(&buffer)
    return <char *>buffer.buf


cdef inline int threads_for(Py_ssize_t pieces) noexcept nogil:
    return 1 if pieces < FEW else max_threads()
