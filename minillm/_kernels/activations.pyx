# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The Gaussian error linear unit, element by element: the Cython twin of activations.py.

One pass in each direction, in blocks that go to threads.
"""

import numpy as np

from cython.parallel cimport prange

ctypedef fused floating:
    float
    double

include "threads.pxi"
include "workspace.pxi"

cdef extern from "activations.h" nogil:
    void gelu_f32(Py_ssize_t, const float*, float*)
    void gelu_f64(Py_ssize_t, const double*, double*)
    void gelu_backward_f32(Py_ssize_t, const float*, const float*, float*)
    void gelu_backward_f64(Py_ssize_t, const double*, const double*, double*)

cdef enum:
    BLOCK = 8192  # elements: so few are not worth waking another thread for


def gelu_forward(const floating[::1] x):
    cdef Py_ssize_t N = x.shape[0], blocks = (N + BLOCK - 1) // BLOCK, i, n
    y = empty((N,), np.dtype(np.float32 if floating is float else np.float64))
    cdef floating[::1] y_ = y
    cdef int threads = 1 if blocks < 4 else max_threads()
    for i in prange(blocks, nogil=True, num_threads=threads, schedule="static"):
        n = min(BLOCK, N - i * BLOCK)
        if floating is float:
            gelu_f32(n, &x[i * BLOCK], &y_[i * BLOCK])
        else:
            gelu_f64(n, &x[i * BLOCK], &y_[i * BLOCK])
    return y


def gelu_backward(const floating[::1] dy, const floating[::1] x):
    cdef Py_ssize_t N = x.shape[0], blocks = (N + BLOCK - 1) // BLOCK, i, n
    dx = empty((N,), np.dtype(np.float32 if floating is float else np.float64))
    cdef floating[::1] dx_ = dx
    cdef int threads = 1 if blocks < 4 else max_threads()
    for i in prange(blocks, nogil=True, num_threads=threads, schedule="static"):
        n = min(BLOCK, N - i * BLOCK)
        if floating is float:
            gelu_backward_f32(n, &dy[i * BLOCK], &x[i * BLOCK], &dx_[i * BLOCK])
        else:
            gelu_backward_f64(n, &dy[i * BLOCK], &x[i * BLOCK], &dx_[i * BLOCK])
    return dx
