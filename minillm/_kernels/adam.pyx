# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What an optimiser does to every parameter at every step: the Cython twin of adam.py.

One pass: each number is read once and written once, so that it runs at the speed of
memory.  Blocks go to threads; the sums of the blocks are added in their order, so that
the bits do not depend on the number of threads.
"""

import numpy as np

from cython cimport floating
from cython.parallel cimport prange

include "threads.pxi"

cdef extern from "adam.h" nogil:
    void adam_f32(Py_ssize_t, float*, const float*, float*, float*, float, float, float, float,
                  float, float, float, float)
    void adam_f64(Py_ssize_t, double*, const double*, double*, double*, double, double, double,
                  double, double, double, double, double)
    float dot_f32(Py_ssize_t, const float*, const float*)
    double dot_f64(Py_ssize_t, const double*, const double*)

cdef enum:
    BLOCK = 16384  # elements


def adam_update(
    floating[::1] p, const floating[::1] g, floating[::1] m, floating[::1] v,
    double beta1, double beta2, double step_size, double root_correction, double epsilon,
    double decay,
):
    cdef Py_ssize_t N = p.shape[0], blocks = (N + BLOCK - 1) // BLOCK, i, n
    cdef int threads = 1 if blocks < 4 else max_threads()
    for i in prange(blocks, nogil=True, num_threads=threads, schedule="static"):
        n = min(BLOCK, N - i * BLOCK)
        if floating is float:
            adam_f32(n, &p[i * BLOCK], &g[i * BLOCK], &m[i * BLOCK], &v[i * BLOCK],
                     <float>beta1, <float>(1 - beta1), <float>beta2, <float>(1 - beta2),
                     <float>step_size, <float>root_correction, <float>epsilon, <float>decay)
        else:
            adam_f64(n, &p[i * BLOCK], &g[i * BLOCK], &m[i * BLOCK], &v[i * BLOCK],
                     beta1, 1 - beta1, beta2, 1 - beta2,
                     step_size, root_correction, epsilon, decay)


def sum_of_squares(const floating[::1] g):
    cdef Py_ssize_t N = g.shape[0], blocks = (N + BLOCK - 1) // BLOCK, i, n
    cdef int threads = 1 if blocks < 4 else max_threads()
    cdef double[::1] sums = np.empty(blocks)
    cdef double total = 0
    for i in prange(blocks, nogil=True, num_threads=threads, schedule="static"):
        n = min(BLOCK, N - i * BLOCK)
        if floating is float:
            sums[i] = dot_f32(n, &g[i * BLOCK], &g[i * BLOCK])
        else:
            sums[i] = dot_f64(n, &g[i * BLOCK], &g[i * BLOCK])
    for i in range(blocks):
        total += sums[i]
    return total
