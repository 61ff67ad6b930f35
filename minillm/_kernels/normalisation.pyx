# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Layer normalisation of rows: the Cython twins of the originals.

Each row goes through all passes while it is in the nearest cache, one thread to a row.
The gradients of gain and bias are sums over rows: blocks of rows have sums of their own,
which are added in the order of the blocks, so that the bits do not depend on the number
of threads.
"""

from cython.parallel cimport prange

from minillm._kernels._pool cimport empty

include "floating.pxi"
include "threads.pxi"
include "normalisation.pxi"

cdef enum:
    SMALL = 50_000  # numbers that are not worth waking another thread for
    BLOCK = 64      # rows


def layer_norm_forward(
    const floating[:, ::1] x, const floating[::1] gain, const floating[::1] bias, double eps
):
    cdef Py_ssize_t N = x.shape[0], D = x.shape[1], n
    dtype = dtype_of(<floating>0)
    y, mean, inverse_std = empty((N, D), dtype), np.empty(N, dtype), np.empty(N, dtype)
    cdef floating[:, ::1] y_ = y
    cdef floating[::1] mean_ = mean, inverse_std_ = inverse_std
    cdef int threads = 1 if N * D < SMALL else max_threads()
    for n in prange(N, nogil=True, num_threads=threads, schedule="static"):
        layer_norm_row(
            D, &x[n, 0], &gain[0], &bias[0], eps, &y_[n, 0], &mean_[n], &inverse_std_[n])
    return y, mean, inverse_std


def layer_norm_backward(
    const floating[:, ::1] dy, const floating[:, ::1] x, const floating[::1] gain,
    const floating[::1] mean, const floating[::1] inverse_std,
):
    cdef Py_ssize_t N = x.shape[0], D = x.shape[1], blocks = (N + BLOCK - 1) // BLOCK, i, n
    dtype = dtype_of(<floating>0)
    dx, sums = empty((N, D), dtype), empty((blocks, 2, D), dtype)
    cdef floating[:, ::1] dx_ = dx
    cdef floating[:, :, ::1] sums_ = sums
    cdef int threads = 1 if N * D < SMALL else max_threads()
    for i in prange(blocks, nogil=True, num_threads=threads, schedule="static"):
        sums_[i] = 0
        for n in range(i * BLOCK, min(N, (i + 1) * BLOCK)):
            layer_norm_row_backward(
                D, &dy[n, 0], &x[n, 0], &gain[0], mean[n], inverse_std[n],
                &dx_[n, 0], &sums_[i, 0, 0], &sums_[i, 1, 0])
    dgain, dbias = sums.sum(axis=0)
    return dx, dgain, dbias
