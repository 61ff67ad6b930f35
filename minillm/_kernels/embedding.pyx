# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Looking up rows of a table, and the gradient of the table: the Cython twins of the originals.

Nothing needs to be sorted here: each row of dy is added where it belongs, in the order
in which the rows come.  A thread clears and adds some of the columns of all rows: the bits
do not depend on the number of threads, and no id is more work than another.
"""

from cython.parallel cimport prange
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from minillm._kernels._pool cimport empty

include "floating.pxi"
include "threads.pxi"

cdef enum:
    SMALL = 100_000  # numbers that are not worth waking another thread for
    LINE = 16        # columns, a cache line at least: two threads seldom write to the same one


def embedding_forward(const floating[:, ::1] E, const int64_t[::1] ids):
    cdef Py_ssize_t N = ids.shape[0], D = E.shape[1], n
    y = empty((N, D), dtype_of(<floating>0))
    cdef floating[:, ::1] y_ = y
    cdef int threads = 1 if N * D < SMALL else max_threads()
    for n in prange(N, nogil=True, num_threads=threads, schedule="static"):
        memcpy(&y_[n, 0], &E[ids[n], 0], D * sizeof(floating))
    return y


def embedding_backward(const floating[:, ::1] dy, const int64_t[::1] ids, Py_ssize_t V):
    cdef Py_ssize_t N = ids.shape[0], D = dy.shape[1], n, d, width, v
    dE = empty((V, D), dtype_of(<floating>0))
    cdef floating[:, ::1] dE_ = dE
    cdef int threads = 1 if (N + V) * D < SMALL else max_threads(), i
    cdef Py_ssize_t columns = ((D + threads - 1) // threads + LINE - 1) // LINE * LINE
    for i in prange(threads, nogil=True, num_threads=threads, schedule="static"):
        d = min(D, i * columns)
        width = min(D - d, columns)
        for v in range(V if width > 0 else 0):
            memset(&dE_[v, d], 0, width * sizeof(floating))
        for n in range(N if width > 0 else 0):
            add_row(width, &dy[n, d], &dE_[ids[n], d])
    return dE


cdef inline void add_row(Py_ssize_t D, const floating *x, floating *y) noexcept nogil:
    cdef Py_ssize_t d
    for d in range(D):
        y[d] += x[d]
