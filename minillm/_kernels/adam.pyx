# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The steps of an optimiser on every parameter: the Cython twins of the originals.

One pass: each number is read once and written once, so that it runs at the speed of
memory.  All arrays are cut into pieces, which go to threads: the threads are woken once for all
of them.  The sums of the pieces are added in their order, so that the bits do not depend on the
number of threads.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer

from minillm._kernels._pool cimport Workspace
from minillm._kernels._threads cimport Body, Part, max_threads, share

include "floating.pxi"
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

cdef struct Pass:  # over all pieces
    Piece *pieces
    double *sums
    double beta1, beta2, step_size, root_correction, epsilon, factor


def adam_update(
    ps, gs, ms, vs, decays, double beta1, double beta2, double step_size, double root_correction,
    double epsilon,
):
    cdef Py_ssize_t count = pieces_of(ps), i = 0
    cdef Workspace work = Workspace(count * sizeof(Piece))
    cdef Piece whole
    cdef Pass all
    all.pieces = <Piece *>work.take(count * sizeof(Piece))
    all.beta1, all.beta2, all.step_size = beta1, beta2, step_size
    all.root_correction, all.epsilon = root_correction, epsilon
    for p, g, m, v, decay in zip(ps, gs, ms, vs, decays, strict=True):
        whole.p, whole.g, whole.m, whole.v = address(p), address(g), address(m), address(v)
        whole.decay, whole.count, whole.itemsize = decay, p.size, p.itemsize
        i += cut(whole, &all.pieces[i])
    with nogil:
        share(update_pieces, &all, count, threads_for(count))


cdef void update_pieces(void *of_type, void *work, Part part) noexcept nogil:
    cdef Pass *all = <Pass *>work
    cdef Py_ssize_t i
    for i in range(part.first, part.last):
        if all.pieces[i].itemsize == sizeof(float):
            update[float](all, &all.pieces[i], <float *>0)
        else:
            update[double](all, &all.pieces[i], <double *>0)


cdef inline void update(const Pass *all, const Piece *piece, floating *of_type) noexcept nogil:
    adam(piece.count, <floating *>piece.p, <const floating *>piece.g, <floating *>piece.m,
         <floating *>piece.v, all.beta1, all.beta2, all.step_size, all.root_correction, all.epsilon,
         piece.decay)


def sum_of_squares(gs):
    cdef Py_ssize_t count = pieces_of(gs), i = 0
    cdef Workspace work = Workspace(count * (sizeof(Piece) + sizeof(double)) + 64)
    cdef double total = 0
    cdef Piece whole
    cdef Pass all
    all.pieces = <Piece *>work.take(count * sizeof(Piece))
    all.sums = <double *>work.take(count * sizeof(double))
    for g in gs:
        whole.g, whole.count, whole.itemsize = address(g), g.size, g.itemsize
        i += cut(whole, &all.pieces[i])
    with nogil:
        share(add_up_pieces, &all, count, threads_for(count))
    for i in range(count):
        total += all.sums[i]
    return total


cdef void add_up_pieces(void *of_type, void *work, Part part) noexcept nogil:
    cdef Pass *all = <Pass *>work
    cdef Piece *piece
    cdef Py_ssize_t i
    for i in range(part.first, part.last):
        piece = &all.pieces[i]
        if piece.itemsize == sizeof(float):
            all.sums[i] = dot(piece.count, <float *>piece.g, <float *>piece.g)
        else:
            all.sums[i] = dot(piece.count, <double *>piece.g, <double *>piece.g)


def scale(gs, double factor):
    cdef Py_ssize_t count = pieces_of(gs), i = 0
    cdef Workspace work = Workspace(count * sizeof(Piece))
    cdef Piece whole
    cdef Pass all
    all.pieces, all.factor = <Piece *>work.take(count * sizeof(Piece)), factor
    for g in gs:
        if g.flags.c_contiguous:
            whole.g, whole.count, whole.itemsize = address(g, PyBUF_WRITABLE), g.size, g.itemsize
            i += cut(whole, &all.pieces[i])
        else:
            g *= factor
    with nogil:
        share(scale_pieces, &all, i, threads_for(i))


cdef void scale_pieces(void *of_type, void *work, Part part) noexcept nogil:
    cdef Pass *all = <Pass *>work
    cdef Piece *piece
    cdef Py_ssize_t i
    for i in range(part.first, part.last):
        piece = &all.pieces[i]
        if piece.itemsize == sizeof(float):
            scale_piece(piece.count, <float *>piece.g, <float>all.factor)
        else:
            scale_piece(piece.count, <double *>piece.g, all.factor)


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
