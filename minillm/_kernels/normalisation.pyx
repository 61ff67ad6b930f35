# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Layer normalisation of rows, of a sum too: the Cython twins of the originals.

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
    const floating[:, ::1] x, const floating[::1] gain, const floating[::1] bias, double epsilon
):
    cdef Py_ssize_t N = x.shape[0], D = x.shape[1], n
    dtype = dtype_of(<floating>0)
    y, mean, inverse_std = empty((N, D), dtype), np.empty(N, dtype), np.empty(N, dtype)
    cdef floating[:, ::1] y_ = y
    cdef floating[::1] mean_ = mean, inverse_std_ = inverse_std
    cdef int threads = 1 if N * D < SMALL else max_threads()
    for n in prange(N, nogil=True, num_threads=threads, schedule="static"):
        layer_norm_row(
            D, &x[n, 0], &gain[0], &bias[0], epsilon, &y_[n, 0], &mean_[n], &inverse_std_[n])
    return y, mean, inverse_std


def add_norm_forward(
    const floating[:, ::1] x, const floating[:, ::1] h, const floating[::1] gain,
    const floating[::1] bias, double epsilon,
):
    cdef Py_ssize_t N = x.shape[0], D = x.shape[1], n
    dtype = dtype_of(<floating>0)
    total, y = empty((N, D), dtype), empty((N, D), dtype)
    mean, inverse_std = np.empty(N, dtype), np.empty(N, dtype)
    cdef floating[:, ::1] total_ = total, y_ = y
    cdef floating[::1] mean_ = mean, inverse_std_ = inverse_std
    cdef int threads = 1 if N * D < SMALL else max_threads()
    for n in prange(N, nogil=True, num_threads=threads, schedule="static"):
        add(D, &x[n, 0], &h[n, 0], &total_[n, 0])
        layer_norm_row(
            D, &total_[n, 0], &gain[0], &bias[0], epsilon, &y_[n, 0], &mean_[n], &inverse_std_[n])
    return total, y, mean, inverse_std


cdef inline void add(Py_ssize_t D, const floating *x, const floating *y, floating *total) noexcept nogil:
    cdef Py_ssize_t d
    for d in range(D):
        total[d] = x[d] + y[d]


def layer_norm_backward(
    const floating[:, ::1] dy, const floating[:, ::1] x, const floating[::1] gain,
    const floating[::1] mean, const floating[::1] inverse_std,
):
    return norm_backward[floating](None, dy, x, gain, mean, inverse_std)


def add_norm_backward(
    const floating[:, ::1] dtotal, const floating[:, ::1] dy, const floating[:, ::1] total,
    const floating[::1] gain, const floating[::1] mean, const floating[::1] inverse_std,
):
    return norm_backward[floating](dtotal, dy, total, gain, mean, inverse_std)


cdef object norm_backward(
    const floating[:, ::1] dtotal, const floating[:, ::1] dy, const floating[:, ::1] x,
    const floating[::1] gain, const floating[::1] mean, const floating[::1] inverse_std,
):
    """With dtotal None, that of layer_norm."""
    cdef Py_ssize_t N = x.shape[0], D = x.shape[1], blocks = (N + BLOCK - 1) // BLOCK, i, n
    dtype = dtype_of(<floating>0)
    dx, sums = empty((N, D), dtype), empty((blocks, 2, D), dtype)
    cdef floating[:, ::1] dx_ = dx
    cdef floating[:, :, ::1] sums_ = sums
    cdef bint both = dtotal is not None
    cdef int threads = 1 if N * D < SMALL else max_threads()
    for i in prange(blocks, nogil=True, num_threads=threads, schedule="static"):
        sums_[i] = 0
        for n in range(i * BLOCK, min(N, (i + 1) * BLOCK)):
            layer_norm_row_backward(
                D, &dy[n, 0], &x[n, 0], &gain[0], mean[n], inverse_std[n],
                &dx_[n, 0], &sums_[i, 0, 0], &sums_[i, 1, 0])
            if both:
                add(D, &dtotal[n, 0], &dx_[n, 0], &dx_[n, 0])
    dgain, dbias = sums.sum(axis=0)
    return dx, dgain, dbias
