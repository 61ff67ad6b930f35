# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Looking up rows of a table, and the gradient of the table: the Cython twins of the originals.

Nothing needs to be sorted here: each row of dy is added where it belongs, in the order
in which the rows come.  A thread clears and adds some of the columns of all rows: the bits
do not depend on the number of threads, and no id is more work than another.
"""

from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from minillm._kernels._pool cimport empty
from minillm._kernels._threads cimport Body, Input, Output, Part, max_threads, share

include "floating.pxi"

cdef enum:
    SMALL = 100_000  # numbers that are not worth waking another thread for
    LINE = 16        # columns, a cache line at least: two threads seldom write to the same one

cdef struct Lookup:
    Py_ssize_t N, V, D, width
    const int64_t *ids
    Input lines        # E, or dy
    Output result      # y, or dE


def embedding_forward(const floating[:, ::1] E, const int64_t[::1] ids):
    cdef Py_ssize_t N = ids.shape[0], D = E.shape[1]
    y = empty((N, D), dtype_of(<floating>0))
    if N == 0 or D == 0:
        return y
    cdef floating[:, ::1] y_ = y
    cdef int threads = 1 if N * D < SMALL else max_threads()
    cdef Lookup lookup
    lookup.D, lookup.ids, lookup.lines, lookup.result = D, &ids[0], &E[0, 0], &y_[0, 0]
    with nogil:
        share(<Body>copied_rows[floating], &lookup, N, threads)
    return y


cdef void copied_rows(floating *of_type, void *work, Part part) noexcept nogil:
    cdef Lookup w = (<Lookup *>work)[0]
    cdef Py_ssize_t n
    for n in range(part.first, part.last):
        memcpy(<floating *>w.result + n * w.D, <const floating *>w.lines + w.ids[n] * w.D,
               w.D * sizeof(floating))


def embedding_backward(const floating[:, ::1] dy, const int64_t[::1] ids, Py_ssize_t V):
    cdef Py_ssize_t N = ids.shape[0], D = dy.shape[1]
    dE = empty((V, D), dtype_of(<floating>0))
    if V == 0 or D == 0:
        return dE
    cdef floating[:, ::1] dE_ = dE
    cdef int threads = 1 if (N + V) * D < SMALL else max_threads()
    cdef Lookup lookup
    lookup.N, lookup.V, lookup.D, lookup.result = N, V, D, &dE_[0, 0]
    if N > 0:
        lookup.ids, lookup.lines = &ids[0], &dy[0, 0]
    lookup.width = ((D + threads - 1) // threads + LINE - 1) // LINE * LINE
    with nogil:
        share(<Body>strips_of_columns[floating], &lookup, (D + lookup.width - 1) // lookup.width, threads)
    return dE


cdef void strips_of_columns(floating *of_type, void *work, Part part) noexcept nogil:
    cdef Lookup w = (<Lookup *>work)[0]
    cdef Py_ssize_t d = part.first * w.width, width = min(w.D, part.last * w.width) - d, n, v
    cdef floating *dE = <floating *>w.result + d
    for v in range(w.V):
        memset(dE + v * w.D, 0, width * sizeof(floating))
    for n in range(w.N):
        add_row(width, <const floating *>w.lines + n * w.D + d, dE + w.ids[n] * w.D)


cdef inline void add_row(Py_ssize_t D, const floating *x, floating *y) noexcept nogil:
    cdef Py_ssize_t d
    for d in range(D):
        y[d] += x[d]
