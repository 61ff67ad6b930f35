# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Matrix product: the Cython twin of its original.

The work is in gemm.pxi, which the other kernels share.  Here a matrix of any
strides becomes the list of its lines: rows if its rows are contiguous, columns
if its columns are (a transpose), and a copy's rows if neither is.
"""

include "topic.pxi"
include "gemm.pxi"
include "lanes.pxi"

cdef enum:
    FEW = 4     # rows that are multiplied by columns of b where they lie
    NARROW = 8  # times as many columns as rows: then to lay out b would be most of the work


def matmul(a, b, bias=None):
    """The product of two matrices: (M, K) by (K, N) -> (M, N), in C order; plus a bias (N,)."""
    cdef Py_buffer of_a, of_b
    cdef char *start = NULL
    a = with_lines(a, None, &of_a)
    b = with_lines(b, a.dtype, &of_b)
    require(of_a.shape[1] == of_b.shape[0])
    if bias is not None:
        bias = np.ascontiguousarray(bias)
        start = numbers(bias, a.dtype, of_b.shape[1])
    c = empty((of_a.shape[0], of_b.shape[1]), a.dtype)
    if of_a.shape[0] * of_b.shape[1] == 0:
        return c
    if of_a.shape[1] == 0:
        c[:] = 0 if bias is None else bias
        return c
    if of_a.itemsize == 4:
        multiply(&of_a, &of_b, <const float *>start, <float *>address(c))
    else:
        multiply(&of_a, &of_b, <const double *>start, <double *>address(c))
    return c


cdef object with_lines(x, dtype, Py_buffer *of_x):
    """x, or a copy where neither its rows nor its columns are contiguous; and its strides."""
    of_x[0] = memory_of(x, 2, dtype, PyBUF_STRIDES)
    if of_x.itemsize in (of_x.strides[0], of_x.strides[1]) or 1 in (of_x.shape[0], of_x.shape[1]):
        return x
    x = np.ascontiguousarray(x)
    of_x[0] = memory_of(x, 2, dtype, PyBUF_STRIDES)
    return x


cdef bint note_lines(const Py_buffer *x, const floating **lines) noexcept:
    """Note the rows of x, or its columns; return whether the lines are columns."""
    cdef bint columns = x.strides[1] != x.itemsize and x.shape[1] > 1
    cdef Py_ssize_t stride = x.strides[1] if columns else x.strides[0], i
    for i in range(x.shape[1] if columns else x.shape[0]):
        lines[i] = <const floating *>(<const char *>x.buf + i * stride)
    return columns


cdef int multiply(
    const Py_buffer *of_a, const Py_buffer *of_b, const floating *start, floating *c) except -1:
    cdef Py_ssize_t M = of_a.shape[0], K = of_a.shape[1], N = of_b.shape[1], word = sizeof(void *)
    cdef Workspace lines = Workspace(lines_size(3, max(M, K) + max(K, N) + M))
    cdef const floating **a_lines = <const floating **>lines.take(max(M, K) * word)
    cdef const floating **b_lines = <const floating **>lines.take(max(K, N) * word)
    cdef floating **c_rows = <floating **>lines_of(lines, <const floating *>c, M, N)
    cdef bint a_by_depth = note_lines(of_a, a_lines), b_by_depth = not note_lines(of_b, b_lines)
    cdef bint pairs = sizeof(floating) == 4 and rounds_to_bfloat16()
    cdef Product p
    cdef Workspace turned
    cdef floating **turned_rows
    cdef Py_ssize_t n, m
    if FEW < M and NARROW * M <= N and VECTOR_BYTES < 64 and not (a_by_depth or b_by_depth or pairs):
        # c^T = b^T a^T lays out a, which is smaller, and reads b in place.  Wider vectors are not measured.
        turned = Workspace(lines_size(1, N) + M * N * sizeof(floating) + 64)
        turned_rows = <floating **>lines_of(turned, <const floating *>turned.take(M * N * sizeof(floating)), N, M)
        for n in range(N if start != NULL else 0):
            for m in range(M):
                turned_rows[n][m] = start[n]
        product(N, M, K, b_lines, False, a_lines, False, <const floating *>NULL, start != NULL, turned_rows,
                max_threads(), False)
        transpose(c, N, <const floating **>turned_rows, N, 0, M)
        return 0
    if M > FEW or a_by_depth or b_by_depth or pairs:
        return product(M, N, K, a_lines, a_by_depth, b_lines, b_by_depth, start, False, c_rows, max_threads(), pairs)
    p.M, p.N, p.K, p.a, p.b, p.bias, p.c = M, N, K, <void *>a_lines, <void *>b_lines, start, <void *>c_rows
    with nogil:
        share(<Body>dots_of_columns[floating], &p, N, 1 if M * N * K < SMALL else max_threads())
    return 0


cdef void dots_of_columns(floating *of_type, void *work, Part part) noexcept nogil:
    """Products of a few rows.  Packing b would read it a second time, so each column is read once, in place.

    One step of a language model is such a product, with all of its vocabulary as columns.  The
    sums are in the order of `dot`, so that the last bits differ from a product of more rows.
    """
    cdef Product p = (<Product *>work)[0]
    cdef const floating *bias = <const floating *>p.bias
    cdef Py_ssize_t n, m
    for n in range(part.first, part.last):
        for m in range(p.M):
            (<floating **>p.c)[m][n] = dot(p.K, (<const floating **>p.a)[m], (<const floating **>p.b)[n]) + (
                bias[n] if bias != NULL else 0)
