# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""One Transformer block for one token of each row, in one call: the twin of its original.

When a model writes, each weight is used once a token, and the time is that of reading it;
a dozen calls from Python would take longer than the arithmetic of a small model.  The
products read the weights where they lie (multiply_few of gemm.pxi), the columns divided
between threads where that is worth waking them.
"""

from libc.stdint cimport int64_t
from libc.string cimport memcpy

from minillm._kernels._pool cimport Workspace, empty

include "floating.pxi"
include "threads.pxi"
include "gemm.pxi"
include "lanes.pxi"
include "attention.pxi"
include "normalisation.pxi"
include "activations.pxi"


cdef int affine(
    Py_ssize_t M, const floating *x, const floating[:, ::1] W, const floating[::1] b, floating *y,
    int threads,
) except -1:
    """y (M, N) = x (M, K) W + b."""
    cdef Py_ssize_t K = W.shape[0], N = W.shape[1], word = sizeof(void *), i
    cdef bint few = is_few(M, False, True)
    cdef Py_ssize_t size = 0 if few else scratch_size(M, K, False, sizeof(floating))
    cdef Workspace work = Workspace((2 * M + K) * word + 192 + threads * size)
    cdef const floating **rows = <const floating **>work.take(M * word)
    cdef floating **out = <floating **>work.take(M * word)
    cdef const floating **lines = <const floating **>work.take(K * word)
    cdef char *scratch = work.take(threads * size)
    for i in range(M):
        rows[i], out[i] = x + i * K, y + i * N
    for i in range(K):
        lines[i] = &W[i, 0]
    with nogil:
        multiply(M, N, K, rows, False, lines, True, &b[0], False, out, threads, scratch, size)
    return 0


cdef void attend_to_all(
    Py_ssize_t n, Py_ssize_t width, floating scale, const floating *query, const floating *keys,
    const floating *values, const floating **lines, floating *weights, floating *context,
) noexcept nogil:
    """One query and the n keys before it, of one head."""
    cdef Py_ssize_t s
    for s in range(n):
        weights[s] = scale * dot(width, query, keys + s * width)
        lines[s] = values + s * width
    softmax(n, weights)
    multiply_few(1, 0, width, n, <const floating **>&weights, lines, <const floating *>NULL, False,
                 &context)


cdef void add_to(Py_ssize_t n, const floating *x, floating *y) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        y[i] += x[i]


cdef int check(bint fits, str what) except -1:
    """The caller may have put any arrays in the place of the weights: to check them in Python
    would take as long as the step."""
    if not fits:
        raise ValueError(f"block_step: the shape of {what} does not fit the others")
    return 0


def block_step(
    const floating[:, ::1] x, const floating[::1] gain_1, const floating[::1] bias_1,
    const floating[:, ::1] W_qkv, const floating[::1] b_qkv, const floating[:, ::1] W_o,
    const floating[::1] b_o, const floating[::1] gain_2, const floating[::1] bias_2,
    const floating[:, ::1] W_1, const floating[::1] b_1, const floating[:, ::1] W_2,
    const floating[::1] b_2, floating[:, :, :, ::1] keys, floating[:, :, :, ::1] values,
    const int64_t[::1] start,
):
    cdef Py_ssize_t B = x.shape[0], D = x.shape[1], F = W_1.shape[1], N = keys.shape[1]
    cdef Py_ssize_t S = keys.shape[2], width = keys.shape[3], b, n, t
    cdef int threads = max_threads()
    check(W_qkv.shape[0] == D and W_qkv.shape[1] == 3 * D and b_qkv.shape[0] == 3 * D, "W_qkv or b_qkv")
    check(W_o.shape[0] == D and W_o.shape[1] == D and b_o.shape[0] == D, "W_o or b_o")
    check(W_1.shape[0] == D and b_1.shape[0] == F, "W_1 or b_1")
    check(W_2.shape[0] == F and W_2.shape[1] == D and b_2.shape[0] == D, "W_2 or b_2")
    check(gain_1.shape[0] == D and bias_1.shape[0] == D, "norm_1")
    check(gain_2.shape[0] == D and bias_2.shape[0] == D, "norm_2")
    check(keys.shape[0] == B and N * width == D and values.shape[0] == B and values.shape[1] == N
          and values.shape[2] == S and values.shape[3] == width and start.shape[0] == B, "the cache")
    for b in range(B):
        check(0 <= start[b] < S, "start")
    cdef floating mean, inverse_std, scale = <floating>(<double>width ** -0.5)
    y = empty((B, D), dtype_of(<floating>0))
    cdef floating[:, ::1] y_ = y
    cdef Workspace work = Workspace((B * (5 * D + 2 * F) + S) * sizeof(floating) + S * sizeof(void *)
                                    + 6 * 64)
    cdef floating *h = <floating *>work.take(B * D * sizeof(floating))
    cdef floating *context = <floating *>work.take(B * D * sizeof(floating))
    cdef floating *qkv = <floating *>work.take(B * 3 * D * sizeof(floating))
    cdef floating *hidden = <floating *>work.take(B * F * sizeof(floating))
    cdef floating *activated = <floating *>work.take(B * F * sizeof(floating))
    cdef floating *weights = <floating *>work.take(S * sizeof(floating))
    cdef const floating **lines = <const floating **>work.take(S * sizeof(void *))
    cdef floating *q
    for b in range(B):
        layer_norm_row(D, &x[b, 0], &gain_1[0], &bias_1[0], 1e-5, h + b * D, &mean, &inverse_std)
    affine(B, <const floating *>h, W_qkv, b_qkv, qkv, threads)
    for b in range(B):
        t = start[b]
        for n in range(N):
            q = qkv + b * 3 * D + n * width
            memcpy(&keys[b, n, t, 0], q + D, width * sizeof(floating))
            memcpy(&values[b, n, t, 0], q + 2 * D, width * sizeof(floating))
            attend_to_all(
                t + 1, width, scale, <const floating *>q, <const floating *>&keys[b, n, 0, 0],
                <const floating *>&values[b, n, 0, 0], lines, weights, context + b * D + n * width)
    affine(B, <const floating *>context, W_o, b_o, h, threads)
    for b in range(B):
        memcpy(&y_[b, 0], &x[b, 0], D * sizeof(floating))
        add_to(D, <const floating *>h + b * D, &y_[b, 0])
        layer_norm_row(D, <const floating *>&y_[b, 0], &gain_2[0], &bias_2[0], 1e-5, h + b * D,
                       &mean, &inverse_std)
    affine(B, <const floating *>h, W_1, b_1, hidden, threads)
    gelu_block(B * F, <const floating *>hidden, activated)
    affine(B, <const floating *>activated, W_2, b_2, h, threads)
    for b in range(B):
        add_to(D, <const floating *>h + b * D, &y_[b, 0])
    return y
