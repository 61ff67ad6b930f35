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


def layer_norm_forward(x, gain, bias, double eps):
    """-> y, mean, inverse_std; without a bias, the mean is None."""
    cdef Py_buffer of_x = memory_of(x, 2)
    cdef Py_ssize_t N = of_x.shape[0], D = of_x.shape[1]
    dtype = x.dtype
    y, mean, inverse_std = empty((N, D), dtype), None if bias is None else empty((N,), dtype), empty((N,), dtype)
    cdef Norm norm
    norm.D, norm.eps, norm.x, norm.gain, norm.bias = D, eps, of_x.buf, numbers(gain, dtype, D), NULL
    if bias is not None:
        norm.bias = numbers(bias, dtype, D)
    norm.y, norm.mean, norm.inverse_std = address(y), address(mean), address(inverse_std)
    cdef Body body = <Body>rows_forward[float] if of_x.itemsize == 4 else <Body>rows_forward[double]
    with nogil:
        share(body, &norm, N, threads_for(N * D, SMALL))
    return y, mean, inverse_std


def rms_norm_forward(x, gain, double eps):
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


def layer_norm_backward(dy, x, gain, mean, inverse_std):
    """-> dx, dgain, dbias; without a mean, dbias is None."""
    cdef Py_buffer of_x = memory_of(x, 2)
    cdef Py_ssize_t N = of_x.shape[0], D = of_x.shape[1], blocks = (N + BLOCK - 1) // BLOCK
    dtype = x.dtype
    dx, sums = empty((N, D), dtype), empty((blocks, 2, D), dtype)
    cdef Norm norm
    norm.N, norm.D, norm.dy, norm.x, norm.gain = N, D, numbers(dy, dtype, N * D), of_x.buf, numbers(gain, dtype, D)
    norm.mean = NULL if mean is None else numbers(mean, dtype, N)
    norm.inverse_std, norm.y, norm.sums = numbers(inverse_std, dtype, N), address(dx), address(sums)
    cdef Body body = <Body>blocks_backward[float] if of_x.itemsize == 4 else <Body>blocks_backward[double]
    with nogil:
        share(body, &norm, blocks, threads_for(N * D, SMALL))
    dgain, dbias = sums[0] if blocks == 1 else sums.sum(axis=0)
    return dx, dgain, dbias if mean is not None else None


def rms_norm_backward(dy, x, gain, inverse_rms):
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
