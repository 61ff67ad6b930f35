# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The Gaussian error linear unit, element by element: the Cython twins of its originals.

One pass in each direction, in blocks that go to threads.
"""

from cython.parallel cimport prange

from minillm._kernels._pool cimport empty

include "floating.pxi"
include "threads.pxi"
include "activations.pxi"

cdef enum:
    BLOCK = 8192  # elements: so few are not worth waking another thread for


def gelu_forward(const floating[::1] x):
    cdef Py_ssize_t N = x.shape[0], blocks = (N + BLOCK - 1) // BLOCK, i
    y = empty((N,), dtype_of(<floating>0))
    cdef floating[::1] y_ = y
    cdef int threads = 1 if blocks < 4 else max_threads()
    for i in prange(blocks, nogil=True, num_threads=threads, schedule="static"):
        gelu_block(min(BLOCK, N - i * BLOCK), &x[i * BLOCK], &y_[i * BLOCK])
    return y


def gelu_backward(const floating[::1] dy, const floating[::1] x):
    cdef Py_ssize_t N = x.shape[0], blocks = (N + BLOCK - 1) // BLOCK, i
    dx = empty((N,), dtype_of(<floating>0))
    cdef floating[::1] dx_ = dx
    cdef int threads = 1 if blocks < 4 else max_threads()
    for i in prange(blocks, nogil=True, num_threads=threads, schedule="static"):
        gelu_block_backward(
            min(BLOCK, N - i * BLOCK), &dy[i * BLOCK], &x[i * BLOCK], &dx_[i * BLOCK])
    return dx


def exact_gelu_forward(const floating[::1] x):
    cdef Py_ssize_t N = x.shape[0], blocks = (N + BLOCK - 1) // BLOCK, i
    y = empty((N,), dtype_of(<floating>0))
    cdef floating[::1] y_ = y
    cdef int threads = 1 if blocks < 4 else max_threads()
    for i in prange(blocks, nogil=True, num_threads=threads, schedule="static"):
        exact_gelu_block(min(BLOCK, N - i * BLOCK), &x[i * BLOCK], &y_[i * BLOCK])
    return y


def exact_gelu_backward(const floating[::1] dy, const floating[::1] x):
    cdef Py_ssize_t N = x.shape[0], blocks = (N + BLOCK - 1) // BLOCK, i
    dx = empty((N,), dtype_of(<floating>0))
    cdef floating[::1] dx_ = dx
    cdef int threads = 1 if blocks < 4 else max_threads()
    for i in prange(blocks, nogil=True, num_threads=threads, schedule="static"):
        exact_gelu_block_backward(
            min(BLOCK, N - i * BLOCK), &dy[i * BLOCK], &x[i * BLOCK], &dx_[i * BLOCK])
    return dx
