# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Matrix product, and the gradients of an affine map's weights: the Cython twins of their originals.

The work is in gemm.pxi, which the other kernels share.  Here a matrix of any
strides becomes the list of its lines: rows if its rows are contiguous, columns
if its columns are (a transpose), and a copy's rows if neither is.
"""

from minillm._kernels._pool cimport Workspace, empty
from minillm._kernels._threads cimport Body, Input, Output, Part, are_cores_shared, max_threads, share

include "floating.pxi"
include "gemm.pxi"
include "lanes.pxi"

cdef enum:
    FEW = 4  # rows that are multiplied by columns of b where they lie


def matmul(a, b, bias=None):
    """The product of two matrices: (M, K) by (K, N) -> (M, N), in C order; plus a bias (N,)."""
    c = empty((a.shape[0], b.shape[1]), a.dtype)
    if c.size == 0:
        return c
    if a.shape[1] == 0:
        c[:] = 0 if bias is None else bias
        return c
    if bias is not None:
        bias = np.ascontiguousarray(bias)
    if a.itemsize == 4:
        product[float](with_lines(a), with_lines(b), bias, c)
    else:
        product[double](with_lines(a), with_lines(b), bias, c)
    return c


def weight_gradients(const floating[:, ::1] x, const floating[:, ::1] dy):
    """x^T dy, and the sum of the rows of dy: one product, in which x has a column of ones."""
    cdef Py_ssize_t K = x.shape[0], M = x.shape[1], N = dy.shape[1]
    dtype = dtype_of(<floating>0)
    if floating is float and rounds_to_bfloat16():  # db is a sum: its terms are not rounded
        return matmul(np.asarray(x).T, np.asarray(dy)), np.asarray(dy).sum(axis=0)
    dW, db = empty((M, N), dtype), np.empty(N, dtype)
    if K == 0 or N == 0:
        dW[:], db[:] = 0, 0
        return dW, db
    cdef floating[:, ::1] dW_ = dW
    cdef floating[::1] db_ = db
    cdef int threads = max_threads()
    cdef Py_ssize_t size = scratch_size(M + 1, K, True, sizeof(floating), False), i
    cdef Workspace work = Workspace((2 * K + M + 1) * sizeof(void *) + threads * size + 256)
    cdef const floating **x_lines = <const floating **>work.take(K * sizeof(void *))
    cdef const floating **dy_lines = <const floating **>work.take(K * sizeof(void *))
    cdef floating **rows = <floating **>work.take((M + 1) * sizeof(void *))
    cdef char *scratch = work.take(threads * size)
    for i in range(K):
        x_lines[i], dy_lines[i] = &x[i, 0], &dy[i, 0]
    for i in range(M):
        rows[i] = &dW_[i, 0]
    rows[M] = &db_[0]
    with nogil:
        multiply(M + 1, N, K, x_lines, AND_ONES, dy_lines, True, <const floating *>NULL, False, rows,
                 threads, scratch, size, False)
    return dW, db


cdef object with_lines(x):
    contiguous = x.strides[0] == x.itemsize or x.strides[1] == x.itemsize or 1 in x.shape
    return x if contiguous else np.ascontiguousarray(x)


cdef bint lines_of(const floating[:, :] x, const floating **lines) noexcept:
    """Note the rows of x, or its columns; return whether the lines are columns."""
    cdef bint columns = x.strides[1] != sizeof(floating) and x.shape[1] > 1
    cdef Py_ssize_t stride = x.strides[1] if columns else x.strides[0], i
    for i in range(x.shape[1] if columns else x.shape[0]):
        lines[i] = <const floating *>(<const char *>&x[0, 0] + i * stride)
    return columns


cdef int product(
    const floating[:, :] a, const floating[:, :] b, const floating[::1] bias, floating[:, ::1] c,
) except -1:
    cdef Py_ssize_t M = a.shape[0], K = a.shape[1], N = b.shape[1], word = sizeof(void *), m
    cdef int threads = max_threads()
    cdef Workspace lines = Workspace((max(M, K) + max(K, N) + M) * word + 256)
    cdef const floating **a_lines = <const floating **>lines.take(max(M, K) * word)
    cdef const floating **b_lines = <const floating **>lines.take(max(K, N) * word)
    cdef floating **c_rows = <floating **>lines.take(M * word)
    cdef bint a_by_depth = lines_of(a, a_lines)
    cdef bint b_by_depth = not lines_of(b, b_lines)
    cdef const floating *start = NULL
    cdef bint pairs = sizeof(floating) == 4 and rounds_to_bfloat16()
    cdef bint by_columns = M <= FEW and not a_by_depth and not b_by_depth and not pairs
    cdef bint few = by_columns or (is_few(M, N, K, a_by_depth, b_by_depth, sizeof(floating)) and not pairs)
    cdef Py_ssize_t size = 0 if few else scratch_size(M, K, a_by_depth, sizeof(floating), pairs)
    cdef Workspace work = Workspace(threads * size)
    cdef char *scratch = work.take(threads * size)
    if bias is not None:
        start = &bias[0]
    for m in range(M):
        c_rows[m] = &c[m, 0]
    if by_columns:
        dots(M, N, K, a_lines, b_lines, start, c_rows, threads)
        return 0
    with nogil:
        multiply(M, N, K, a_lines, a_by_depth, b_lines, b_by_depth, start,
                 False, c_rows, threads, scratch, size, pairs)
    return 0


cdef struct Dots:  # of rows and columns, for the threads
    Py_ssize_t M, N, K
    Input a, b, bias  # a, b: pointers to lines
    Output c          # pointers to rows


cdef void dots(
    Py_ssize_t M, Py_ssize_t N, Py_ssize_t K, const floating **a, const floating **b,
    const floating *bias, floating **c, int threads,
) noexcept:
    """So few rows that packing b would be a second reading: each column is read once, in order.

    One step of a language model is such a product, with all of its vocabulary as columns.  The
    order of these sums is that of `dot`, so that the last bits differ from those of more rows.
    """
    cdef Dots all
    all.M, all.N, all.K, all.a, all.b, all.bias, all.c = M, N, K, a, b, bias, c
    with nogil:
        share(<Body>dots_of_columns[floating], &all, N, 1 if M * N * K < SMALL else threads)


cdef void dots_of_columns(floating *of_type, void *work, Part part) noexcept nogil:
    cdef Dots s = (<Dots *>work)[0]
    cdef const floating **a = <const floating **>s.a
    cdef const floating **b = <const floating **>s.b
    cdef const floating *bias = <const floating *>s.bias
    cdef floating **c = <floating **>s.c
    cdef Py_ssize_t n, m
    for n in range(part.first, part.last):
        for m in range(s.M):
            c[m][n] = dot(s.K, a[m], b[n]) + (bias[n] if bias != NULL else 0)
