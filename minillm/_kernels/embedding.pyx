# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The gradient of a table whose rows were looked up: the Cython twin of embedding.py.

Nothing needs to be sorted here: each row of dy is added where it belongs, in the
order in which the rows come.  One thread does it, at the speed of memory.
"""

import numpy as np

from libc.stdint cimport int64_t

ctypedef fused floating:
    float
    double

include "workspace.pxi"


def embedding_backward(const floating[:, ::1] dy, const int64_t[::1] ids, Py_ssize_t V):
    dE = empty((V, dy.shape[1]), np.dtype(np.float32 if floating is float else np.float64))
    dE.fill(0)
    cdef floating[:, ::1] dE_ = dE
    cdef Py_ssize_t n
    with nogil:
        for n in range(ids.shape[0]):
            add_row(dy.shape[1], &dy[n, 0], &dE_[ids[n], 0])
    return dE


cdef inline void add_row(Py_ssize_t D, const floating *x, floating *y) noexcept nogil:
    cdef Py_ssize_t d
    for d in range(D):
        y[d] += x[d]
