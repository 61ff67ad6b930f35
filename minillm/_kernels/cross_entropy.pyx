# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Softmax and cross-entropy in one: the Cython twin of cross_entropy.py.

NumPy passes over all logits some eight times, and each pass comes from memory.
Here each row goes through all passes while it is in the cache, one thread to a row.
"""

import numpy as np

from cython.parallel cimport prange
from libc.stdint cimport int64_t

ctypedef fused floating:
    float
    double

include "threads.pxi"
include "workspace.pxi"

cdef extern from "cross_entropy.h" nogil:
    float cross_entropy_row_f32(Py_ssize_t, const float*, Py_ssize_t, float, float*)
    double cross_entropy_row_f64(Py_ssize_t, const double*, Py_ssize_t, double, double*)
    void cross_entropy_row_backward_f32(
        Py_ssize_t, const float*, Py_ssize_t, float, float, float*)
    void cross_entropy_row_backward_f64(
        Py_ssize_t, const double*, Py_ssize_t, double, double, double*)

cdef enum:
    SMALL = 50_000  # logits that are not worth waking another thread for


def cross_entropy_forward(
    const floating[:, ::1] logits, const int64_t[::1] targets, double smoothing
):
    cdef Py_ssize_t N = logits.shape[0], V = logits.shape[1], n
    dtype = np.dtype(np.float32 if floating is float else np.float64)
    nats, p = np.empty(N, dtype), empty((N, V), dtype)
    cdef floating[::1] nats_ = nats
    cdef floating[:, ::1] p_ = p
    cdef int threads = 1 if N * V < SMALL else max_threads()
    for n in prange(N, nogil=True, num_threads=threads, schedule="static"):
        if floating is float:
            nats_[n] = cross_entropy_row_f32(V, &logits[n, 0], targets[n], <float>smoothing, &p_[n, 0])
        else:
            nats_[n] = cross_entropy_row_f64(V, &logits[n, 0], targets[n], smoothing, &p_[n, 0])
    return nats, p


def cross_entropy_backward(
    const floating[:, ::1] p, const int64_t[::1] targets, const floating[::1] weights,
    double smoothing,
):
    cdef Py_ssize_t N = p.shape[0], V = p.shape[1], n
    dlogits = empty((N, V), np.dtype(np.float32 if floating is float else np.float64))
    cdef floating[:, ::1] dlogits_ = dlogits
    cdef int threads = 1 if N * V < SMALL else max_threads()
    for n in prange(N, nogil=True, num_threads=threads, schedule="static"):
        if floating is float:
            cross_entropy_row_backward_f32(
                V, &p[n, 0], targets[n], weights[n], <float>smoothing, &dlogits_[n, 0])
        else:
            cross_entropy_row_backward_f64(
                V, &p[n, 0], targets[n], weights[n], smoothing, &dlogits_[n, 0])
    return dlogits
