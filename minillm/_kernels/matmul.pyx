# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Matrix product, and the sum of a matrix's rows: the Cython twins of their originals.

The work is in gemm.pxi, which the other kernels share.  Here a matrix of any
strides becomes the list of its lines: rows if its rows are contiguous, columns
if its columns are (a transpose), and a copy's rows if neither is.
"""

from cython.parallel cimport prange

from minillm._kernels._pool cimport Workspace, empty

include "floating.pxi"
include "threads.pxi"
include "gemm.pxi"
include "lanes.pxi"

cdef enum:
    FEW = 4  # rows that are multiplied by columns of b where they lie
    STRIP = 64  # columns that are summed at once: as many as fit in registers
    SMALL_SUM = 50_000  # numbers that are not worth waking another thread for


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
    cdef bint by_columns = M <= FEW and not a_by_depth and not b_by_depth
    cdef bint few = by_columns or is_few(M, a_by_depth, b_by_depth)
    cdef Py_ssize_t size = 0 if few else scratch_size(M, K, a_by_depth, sizeof(floating))
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
                 False, c_rows, threads, scratch, size)
    return 0


cdef void dots(
    Py_ssize_t M, Py_ssize_t N, Py_ssize_t K, const floating **a, const floating **b,
    const floating *bias, floating **c, int threads,
) noexcept:
    """So few rows that packing b would be a second reading: each column is read once, in order.

    One step of a language model is such a product, with all of its vocabulary as columns.  The
    order of these sums is that of `dot`, so that the last bits differ from those of more rows.
    """
    cdef Py_ssize_t n, m
    if M * N * K < SMALL:
        threads = 1
    for n in prange(N, nogil=True, num_threads=threads, schedule="static"):
        for m in range(M):
            c[m][n] = dot(K, a[m], b[n]) + (bias[n] if bias != NULL else 0)


def sum_of_rows(const floating[:, ::1] x):
    """The sum of the rows (M, N) -> (N,): each thread adds some of the columns, in the order of the rows."""
    cdef Py_ssize_t M = x.shape[0], N = x.shape[1], strips = (N + STRIP - 1) // STRIP, i
    total = np.zeros(N, dtype_of(<floating>0))
    cdef floating[::1] total_ = total
    cdef int threads = 1 if M * N < SMALL_SUM else max_threads()
    if M == 0:
        return total
    for i in prange(strips, nogil=True, num_threads=threads, schedule="static"):
        add_rows(M, N, min(STRIP, N - i * STRIP), &x[0, i * STRIP], &total_[i * STRIP])
    return total


cdef void add_rows(Py_ssize_t M, Py_ssize_t N, Py_ssize_t width, const floating *x,
                   floating *total) noexcept nogil:
    """total (width,) = the sum of M rows that are N numbers apart."""
    cdef floating strip[STRIP]
    cdef Py_ssize_t m, n
    if width == STRIP:
        for n in range(STRIP):
            strip[n] = 0
        for m in range(M):
            for n in range(STRIP):
                strip[n] += x[m * N + n]
        for n in range(STRIP):
            total[n] = strip[n]
    else:
        for m in range(M):
            for n in range(width):
                total[n] += x[m * N + n]
