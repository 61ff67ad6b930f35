# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The step of Adam on every parameter: the Cython twin of the original.

One pass: each number is read once and written once, so that it runs at the speed of
memory.  All arrays are cut into pieces, which go to threads: the threads are woken once for all
of them.
"""

include "topic.pxi"

cdef extern from "adam.h" nogil:
    void adam(Py_ssize_t n, void *p, const void *g, void *m, void *v, double beta1, double rest1, double beta2,
              double rest2, double step_size, double root_correction, double eps, double decay)

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
    double beta1, beta2, step_size, root_correction, eps


def adam_update(
    ps, gs, ms, vs, decays, double beta1, double beta2, double step_size, double root_correction,
    double eps,
):
    cdef Py_ssize_t count = 0, i = 0, first, at, size, item
    for p in ps:
        size = p.size
        count += (size + PIECE - 1) // PIECE
    cdef Workspace memory = Workspace(count * sizeof(Piece))
    cdef Pass all = Pass(<Piece *>memory.take(count * sizeof(Piece)), beta1, beta2, step_size, root_correction, eps)
    cdef char *of_p
    cdef char *of_g
    cdef char *of_m
    cdef char *of_v
    for p, g, m, v, decay in zip(ps, gs, ms, vs, decays, strict=True):
        of_p, size, item, first = numbers(p, None, p.size, PyBUF_WRITABLE), p.size, p.itemsize, 0
        of_g, of_m = numbers(g, p.dtype, size), numbers(m, p.dtype, size, PyBUF_WRITABLE)
        of_v = numbers(v, p.dtype, size, PyBUF_WRITABLE)
        while first < size:
            require(i < count)
            at = first * item
            all.pieces[i] = Piece(of_p + at, of_g + at, of_m + at, of_v + at, decay, min(PIECE, size - first), item)
            i += 1
            first += PIECE
    with nogil:
        share(run_pieces, &all, count, threads_for(count, FEW))


cdef void run_pieces(void *of_type, void *work, Part part) noexcept nogil:
    cdef const Pass *all = <const Pass *>work
    cdef Py_ssize_t i
    for i in range(part.first, part.last):
        if all.pieces[i].itemsize == sizeof(float):
            run_piece(all, &all.pieces[i], <float *>all.pieces[i].p)
        else:
            run_piece(all, &all.pieces[i], <double *>all.pieces[i].p)


cdef inline void run_piece(const Pass *all, const Piece *piece, floating *p) noexcept nogil:
    adam(piece.count, p, <const floating *>piece.g, <floating *>piece.m, <floating *>piece.v, all.beta1,
         1 - all.beta1, all.beta2, 1 - all.beta2, all.step_size, all.root_correction, all.eps, piece.decay)
