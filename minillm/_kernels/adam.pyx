# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The steps of an optimiser on every parameter: the Cython twins of the originals.

One pass: each number is read once and written once, so that it runs at the speed of
memory.  All arrays are cut into pieces, which go to threads: the threads are woken once for all
of them.  The sums of the pieces are added in their order, so that the bits do not depend on the
number of threads.
"""

from cpython.buffer cimport PyBUF_WRITABLE

include "topic.pxi"
include "lanes.pxi"

cdef extern from "adam.h" nogil:
    void adam(Py_ssize_t n, void *p, const void *g, void *m, void *v, double beta1, double rest1, double beta2,
              double rest2, double step_size, double root_correction, double eps, double decay)

cdef enum:
    PIECE = 16384  # numbers at most
    FEW = 4        # pieces that are not worth waking another thread for

cdef enum Task:
    UPDATE
    ADD_UP
    SCALE

cdef struct Piece:
    char *p
    char *g
    char *m
    char *v
    double decay, sum
    Py_ssize_t count, itemsize

cdef struct Pass:  # over all pieces
    Task task
    Piece *pieces
    Py_ssize_t count
    double beta1, beta2, step_size, root_correction, eps, factor


def adam_update(
    ps, gs, ms, vs, decays, double beta1, double beta2, double step_size, double root_correction,
    double eps,
):
    cdef Pass all
    cdef Workspace memory = memory_of(&all, ps)
    for p, g, m, v, decay in zip(ps, gs, ms, vs, decays, strict=True):
        add_pieces(&all, p, address(p), address(g), address(m), address(v), decay)
    all.beta1, all.beta2, all.step_size = beta1, beta2, step_size
    all.root_correction, all.eps = root_correction, eps
    run(&all, UPDATE)


def sum_of_squares(gs):
    cdef char *start
    cdef Pass all
    cdef Workspace memory = memory_of(&all, gs)
    for g in gs:
        start = address(g)
        add_pieces(&all, g, start, start, start, start, 0)
    return run(&all, ADD_UP)


def scale(gs, double factor):
    cdef char *start
    cdef Pass all
    cdef Workspace memory = memory_of(&all, gs)
    for g in gs:
        if g.flags.c_contiguous:
            start = address(g, PyBUF_WRITABLE)
            add_pieces(&all, g, start, start, start, start, 0)
        else:
            g *= factor
    all.factor = factor
    run(&all, SCALE)


cdef Workspace memory_of(Pass *all, arrays):
    """Memory for the pieces of all arrays."""
    cdef Py_ssize_t count = 0
    for array in arrays:
        count += (array.size + PIECE - 1) // PIECE
    cdef Workspace memory = Workspace(count * sizeof(Piece))
    all.pieces, all.count = <Piece *>memory.take(count * sizeof(Piece)), 0
    return memory


cdef int add_pieces(Pass *all, array, char *p, char *g, char *m, char *v, double decay) except -1:
    """Add the pieces of an array, whose numbers and those that belong to them begin there."""
    cdef Py_ssize_t size = array.size, item = array.itemsize, first = 0, at
    while first < size:
        at = first * item
        all.pieces[all.count] = Piece(p + at, g + at, m + at, v + at, decay, 0, min(PIECE, size - first), item)
        all.count += 1
        first += PIECE
    return 0


cdef double run(Pass *all, Task task) noexcept:
    """The sum of the pieces' sums, which one of the tasks computes."""
    cdef double total = 0
    cdef Py_ssize_t i
    all.task = task
    with nogil:
        share(run_pieces, all, all.count, threads_for(all.count, FEW))
    for i in range(all.count if task == ADD_UP else 0):
        total += all.pieces[i].sum
    return total


cdef void run_pieces(void *of_type, void *work, Part part) noexcept nogil:
    cdef const Pass *all = <const Pass *>work
    cdef Py_ssize_t i
    for i in range(part.first, part.last):
        if all.pieces[i].itemsize == sizeof(float):
            run_piece[float](all, &all.pieces[i], <float *>all.pieces[i].g)
        else:
            run_piece[double](all, &all.pieces[i], <double *>all.pieces[i].g)


cdef inline void run_piece(const Pass *all, Piece *piece, floating *g) noexcept nogil:
    cdef floating factor = <floating>all.factor
    cdef Py_ssize_t i
    if all.task == UPDATE:
        adam(piece.count, <floating *>piece.p, g, <floating *>piece.m, <floating *>piece.v, all.beta1,
             1 - all.beta1, all.beta2, 1 - all.beta2, all.step_size, all.root_correction, all.eps,
             piece.decay)
    elif all.task == ADD_UP:
        piece.sum = dot(piece.count, <const floating *>g, <const floating *>g)
    else:
        for i in range(piece.count):
            g[i] *= factor
