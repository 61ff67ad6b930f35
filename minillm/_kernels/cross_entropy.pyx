# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Rows of logits: softmax and cross-entropy in one, and the most probable ids.

These are the Cython twins of the originals.  NumPy passes over all logits some eight times, and
each pass comes from memory.  Here each row goes through all passes while it is in the cache, one
thread to a row.
"""

from cython.parallel cimport prange
from libc.stdint cimport int64_t

from minillm._kernels._pool cimport empty

include "floating.pxi"
include "threads.pxi"
include "cross_entropy.pxi"

cdef enum:
    SMALL = 50_000  # logits that are not worth waking another thread for


def cross_entropy_forward(
    const floating[:, ::1] logits, const int64_t[::1] targets, double smoothing
):
    cdef Py_ssize_t N = logits.shape[0], V = logits.shape[1], n
    dtype = dtype_of(<floating>0)
    nats, p = np.empty(N, dtype), empty((N, V), dtype)
    cdef floating[::1] nats_ = nats
    cdef floating[:, ::1] p_ = p
    cdef int threads = 1 if N * V < SMALL else max_threads()
    for n in prange(N, nogil=True, num_threads=threads, schedule="static"):
        nats_[n] = cross_entropy_row(V, &logits[n, 0], targets[n], smoothing, &p_[n, 0])
    return nats, p


def cross_entropy_backward(
    const floating[:, ::1] p, const int64_t[::1] targets, const floating[::1] weights,
    double smoothing,
):
    cdef Py_ssize_t N = p.shape[0], V = p.shape[1], n
    dlogits = empty((N, V), dtype_of(<floating>0))
    cdef floating[:, ::1] dlogits_ = dlogits
    cdef int threads = 1 if N * V < SMALL else max_threads()
    for n in prange(N, nogil=True, num_threads=threads, schedule="static"):
        cross_entropy_row_backward(
            V, &p[n, 0], targets[n], weights[n], smoothing, &dlogits_[n, 0])
    return dlogits


def most_probable(const floating[:, ::1] logits, Py_ssize_t count):
    cdef Py_ssize_t N = logits.shape[0], V = logits.shape[1], n
    count = min(count, V)
    # Zeros, for beside a NaN the search may find fewer; all log probabilities are NaN then.
    ids, log_p = np.zeros((N, count), np.int64), np.zeros((N, count))
    cdef int64_t[:, ::1] ids_ = ids
    cdef double[:, ::1] log_p_ = log_p
    cdef int threads = 1 if N * V < SMALL else max_threads()
    for n in prange(N, nogil=True, num_threads=threads, schedule="static"):
        most_probable_row(V, &logits[n, 0], count, &ids_[n, 0], &log_p_[n, 0])
    return ids, log_p
