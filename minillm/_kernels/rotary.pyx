# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The rotation of queries and keys: the Cython twin of its original.

The heads of a token lie side by side in the result, as in the output of the layer before, so that
joining them copies rows.  One thread to a token.
"""

include "topic.pxi"
include "rotary.pxi"

cdef enum:
    SMALL = 50_000  # numbers that are not worth waking another thread for

cdef struct Rotation:
    Py_ssize_t N, T, D
    Py_ssize_t row, head, step  # bytes from one to the next of x, whose last axis is contiguous
    Input x, cos, sin
    Output y


def rotary_rotation(
    const floating[:, :, :, :] x, const floating[:, :, ::1] cos, const floating[:, :, ::1] sin
):
    cdef Py_ssize_t B = x.shape[0], N = x.shape[1], T = x.shape[2], D = x.shape[3]
    y = empty((B, T, N, D), dtype_of(<floating>0))
    if B * T * N * D == 0:
        return y.swapaxes(1, 2)
    cdef Rotation rotation
    rotation.N, rotation.T, rotation.D = N, T, D
    rotation.row, rotation.head, rotation.step = x.strides[0], x.strides[1], x.strides[2]
    rotation.x, rotation.cos, rotation.sin, rotation.y = &x[0, 0, 0, 0], &cos[0, 0, 0], &sin[0, 0, 0], address(y)
    with nogil:
        share(<Body>tokens[floating], &rotation, B * T, threads_for(B * T * N * D, SMALL))
    return y.swapaxes(1, 2)


cdef void tokens(floating *of_type, void *work, Part part) noexcept nogil:
    cdef Rotation r = (<Rotation *>work)[0]
    cdef Py_ssize_t i, n, angles
    cdef const char *x
    for i in range(part.first, part.last):
        x = <const char *>r.x + (i // r.T) * r.row + (i % r.T) * r.step
        angles = i * (r.D // 2)
        for n in range(r.N):
            rotate(
                r.D // 2, <const floating *>(x + n * r.head), <const floating *>r.cos + angles,
                <const floating *>r.sin + angles, <floating *>r.y + (i * r.N + n) * r.D)
