# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Layer normalisation of rows, and by the root mean square, which has neither mean nor bias: the Cython
twins of the originals.

Each row goes through all passes while it is in the nearest cache, one thread to a row.
The gradients of gain and bias are sums over rows: blocks of rows have sums of their own,
which are added in the order of the blocks, so that the bits do not depend on the number
of threads.
"""

include "topic.pxi"
include "normalisation.pxi"

cdef enum:
    SMALL = 50_000  # numbers that are not worth waking another thread for
    BLOCK = 64      # rows

cdef struct Norm:
    Py_ssize_t N, D
    double eps
    Input x, gain, dy
    Input bias          # NULL: a norm by the root mean square
    Output y            # or dx
    Output mean         # NULL: a norm by the root mean square
    Output inverse_std  # or 1 / root mean square
    Output sums         # of dgain and dbias, for each block


def layer_norm_forward(
    const floating[:, ::1] x, const floating[::1] gain, const floating[::1] bias, double eps
):
    """-> y, mean, inverse_std; without a bias, the mean is None."""
    cdef Py_ssize_t N = x.shape[0], D = x.shape[1]
    dtype = dtype_of(<floating>0)
    mean = None if bias is None else np.empty(N, dtype)
    y, inverse_std = empty((N, D), dtype), np.empty(N, dtype)
    cdef Norm norm
    if N > 0:
        norm.D, norm.eps, norm.x, norm.gain, norm.y = D, eps, &x[0, 0], &gain[0], address(y)
        norm.inverse_std, norm.mean = address(inverse_std), address(mean)
        norm.bias = &bias[0] if bias is not None else NULL
        with nogil:
            share(<Body>rows_forward[floating], &norm, N, threads_for(N * D, SMALL))
    return y, mean, inverse_std


def rms_norm_forward(const floating[:, ::1] x, const floating[::1] gain, double eps):
    y, _, inverse_rms = layer_norm_forward(x, gain, None, eps)
    return y, inverse_rms


cdef void rows_forward(floating *of_type, void *work, Part part) noexcept nogil:
    cdef Norm w = (<Norm *>work)[0]
    cdef const floating *x
    cdef Py_ssize_t n
    for n in range(part.first, part.last):
        x = <const floating *>w.x + n * w.D
        if w.bias == NULL:
            rms_norm_row(w.D, x, w.gain, w.eps, <floating *>w.y + n * w.D, <floating *>w.inverse_std + n)
        else:
            layer_norm_row(w.D, x, w.gain, w.bias, w.eps, <floating *>w.y + n * w.D, <floating *>w.mean + n,
                           <floating *>w.inverse_std + n)


def layer_norm_backward(
    const floating[:, ::1] dy, const floating[:, ::1] x, const floating[::1] gain,
    const floating[::1] mean, const floating[::1] inverse_std,
):
    """-> dx, dgain, dbias; without a mean, dbias is None."""
    cdef Py_ssize_t N = x.shape[0], D = x.shape[1], blocks = (N + BLOCK - 1) // BLOCK
    dtype = dtype_of(<floating>0)
    dx, sums = empty((N, D), dtype), empty((blocks, 2, D), dtype)
    cdef Norm norm
    if N > 0:
        norm.N, norm.D, norm.dy, norm.x, norm.gain = N, D, &dy[0, 0], &x[0, 0], &gain[0]
        norm.inverse_std, norm.mean = <void *>&inverse_std[0], <void *>&mean[0] if mean is not None else NULL
        norm.y, norm.sums = address(dx), address(sums)
        with nogil:
            share(<Body>blocks_backward[floating], &norm, blocks, threads_for(N * D, SMALL))
    dgain, dbias = sums.sum(axis=0)
    return dx, dgain, dbias if mean is not None else None


def rms_norm_backward(
    const floating[:, ::1] dy, const floating[:, ::1] x, const floating[::1] gain, const floating[::1] inverse_rms,
):
    dx, dgain, _ = layer_norm_backward(dy, x, gain, None, inverse_rms)
    return dx, dgain


cdef void blocks_backward(floating *of_type, void *work, Part part) noexcept nogil:
    cdef Norm w = (<Norm *>work)[0]
    cdef floating *dx
    cdef floating *dgain
    cdef const floating *dy
    cdef const floating *x
    cdef floating inverse
    cdef Py_ssize_t i, n
    for i in range(part.first, part.last):
        dgain = <floating *>w.sums + 2 * i * w.D  # and then dbias
        memset(dgain, 0, 2 * w.D * sizeof(floating))
        for n in range(i * BLOCK, min(w.N, (i + 1) * BLOCK)):
            dx, inverse = <floating *>w.y + n * w.D, (<floating *>w.inverse_std)[n]
            dy, x = <const floating *>w.dy + n * w.D, <const floating *>w.x + n * w.D
            if w.mean == NULL:
                rms_norm_row_backward(w.D, dy, x, w.gain, inverse, dx, dgain)
            else:
                layer_norm_row_backward(w.D, dy, x, w.gain, (<floating *>w.mean)[n], inverse, dx, dgain, dgain + w.D)
