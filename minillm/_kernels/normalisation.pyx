# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Layer normalisation of rows: the Cython twin of normalisation.py.

Each row goes through all passes while it is in the nearest cache, one thread to a row.
The gradients of gain and bias are sums over rows: blocks of rows have sums of their own,
which are added in the order of the blocks, so that the bits do not depend on the number
of threads.
"""

import numpy as np

from cython.parallel cimport prange

ctypedef fused floating:
    float
    double

include "threads.pxi"
include "workspace.pxi"

cdef extern from "normalisation.h" nogil:
    void layer_norm_row_f32(
        Py_ssize_t, const float*, const float*, const float*, float, float*, float*, float*)
    void layer_norm_row_f64(
        Py_ssize_t, const double*, const double*, const double*, double, double*, double*, double*)
    void layer_norm_row_backward_f32(
        Py_ssize_t, const float*, const float*, const float*, float, float, float*, float*, float*)
    void layer_norm_row_backward_f64(
        Py_ssize_t, const double*, const double*, const double*, double, double, double*, double*,
        double*)

cdef enum:
    SMALL = 50_000  # numbers that are not worth waking another thread for
    BLOCK = 64      # rows


def layer_norm_forward(
    const floating[:, ::1] x, const floating[::1] gain, const floating[::1] bias, double eps
):
    cdef Py_ssize_t N = x.shape[0], D = x.shape[1], n
    dtype = np.dtype(np.float32 if floating is float else np.float64)
    y, mean, inverse_std = empty((N, D), dtype), np.empty(N, dtype), np.empty(N, dtype)
    cdef floating[:, ::1] y_ = y
    cdef floating[::1] mean_ = mean, inverse_std_ = inverse_std
    cdef int threads = 1 if N * D < SMALL else max_threads()
    for n in prange(N, nogil=True, num_threads=threads, schedule="static"):
        if floating is float:
            layer_norm_row_f32(D, &x[n, 0], &gain[0], &bias[0], <float>eps,
                               &y_[n, 0], &mean_[n], &inverse_std_[n])
        else:
            layer_norm_row_f64(D, &x[n, 0], &gain[0], &bias[0], eps,
                               &y_[n, 0], &mean_[n], &inverse_std_[n])
    return y, mean, inverse_std


def layer_norm_backward(
    const floating[:, ::1] dy, const floating[:, ::1] x, const floating[::1] gain,
    const floating[::1] mean, const floating[::1] inverse_std,
):
    cdef Py_ssize_t N = x.shape[0], D = x.shape[1], blocks = (N + BLOCK - 1) // BLOCK, i, n
    dtype = np.dtype(np.float32 if floating is float else np.float64)
    dx, sums = empty((N, D), dtype), empty((blocks, 2, D), dtype)
    cdef floating[:, ::1] dx_ = dx
    cdef floating[:, :, ::1] sums_ = sums
    cdef int threads = 1 if N * D < SMALL else max_threads()
    for i in prange(blocks, nogil=True, num_threads=threads, schedule="static"):
        sums_[i] = 0
        for n in range(i * BLOCK, min(N, (i + 1) * BLOCK)):
            if floating is float:
                layer_norm_row_backward_f32(
                    D, &dy[n, 0], &x[n, 0], &gain[0], mean[n], inverse_std[n],
                    &dx_[n, 0], &sums_[i, 0, 0], &sums_[i, 1, 0])
            else:
                layer_norm_row_backward_f64(
                    D, &dy[n, 0], &x[n, 0], &gain[0], mean[n], inverse_std[n],
                    &dx_[n, 0], &sums_[i, 0, 0], &sums_[i, 1, 0])
    dgain, dbias = sums.sum(axis=0)
    return dx, dgain, dbias
