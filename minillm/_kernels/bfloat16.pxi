# Operands in bfloat16, laid out in pairs for the tiles of bfloat16.h.
#
# A pair is a word of the size of a float, so that panels, blocks and transposes of pairs are those
# of floats; only what reads an operand rounds it.  A's rows, which are otherwise read in place, are
# laid out as well.

from minillm._kernels import _compiled, rounds_to_bfloat16

cdef extern from "bfloat16.h" nogil:
    bint has_instruction
    void tile_pairs(int rows, int vectors, Py_ssize_t depth, const float **a, const float *b,
                    Py_ssize_t ldb, const float **start, float **out)
    void pairs_along(float *to, const float *line, Py_ssize_t count)
    void pairs_across(float *to, const float *line, const float *next, Py_ssize_t count)

has_instruction = _compiled("_cpu").has_bfloat16()

cdef enum:
    AT_ONCE = 16  # lines of pairs that are transposed at a time
    # The bytes of these lines, which have at most BLOCK_ROWS pairs and do not lie a page apart.
    SPARE_ROW = 4 * (1024 + 16)
    SPARE = AT_ONCE * SPARE_ROW


cdef inline void tile_of(bint pairs, int rows, int vectors, Py_ssize_t depth, const floating **a,
                         const floating *b, Py_ssize_t ldb, const floating **start,
                         floating **out) noexcept nogil:
    """A tile of floats, or of pairs."""
    if pairs:
        tile_pairs(rows, vectors, depth, <const float **>a, <const float *>b, ldb,
                   <const float **>start, <float **>out)
    else:
        tile(rows, vectors, depth, a, b, ldb, start, out)


cdef void transpose_pairs(float *to, Py_ssize_t ld, const float **lines, bint by_depth,
                          Py_ssize_t count, Py_ssize_t first, Py_ssize_t length,
                          char *spare) noexcept nogil:
    """The transpose of `count` lines' numbers from `first` on, in pairs along the depth."""
    cdef Py_ssize_t pair_lines = ceil_div(count, 2) if by_depth else count, i = 0, k
    cdef Py_ssize_t pair_length = length if by_depth else ceil_div(length, 2)
    cdef const float *rows[AT_ONCE]
    cdef int m, some
    while i < pair_lines:
        some = <int>min(AT_ONCE, pair_lines - i)
        for m in range(some):
            rows[m] = <const float *>(spare + m * SPARE_ROW)
            k = i + m
            if by_depth:
                pairs_across(<float *>rows[m], lines[2 * k] + first,
                             lines[2 * k + 1] + first if 2 * k + 1 < count else NULL, length)
            else:
                pairs_along(<float *>rows[m], lines[k] + first, length)
        transpose[float](to + i, ld, rows, some, 0, pair_length)
        i += some


cdef void pack_pairs(float *panels, Py_ssize_t width, const float **b, bint by_depth,
                     Py_ssize_t k0, Py_ssize_t k1, Py_ssize_t n0, Py_ssize_t n1,
                     char *spare) noexcept nogil:
    """What pack does, in pairs: the first of them is that of line k0, which is even."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // 4, depth = ceil_div(k1 - k0, 2), k, j, last, taken
    cdef const float *next_line
    last = n0 + (n1 - n0 - 1) // width * width  # where the last panel begins
    taken = ceil_div(n1 - last, lanes) * lanes
    if n1 - last < taken:
        memset(panels + (last - n0) * depth, 0, depth * taken * 4)
    for k in range(depth if by_depth else 0):
        next_line = b[k0 + 2 * k + 1] if k0 + 2 * k + 1 < k1 else NULL
        j = n0
        while j <= last:
            pairs_across(panels + (j - n0) * depth + k * (width if j < last else taken),
                         b[k0 + 2 * k] + j, next_line + j if next_line != NULL else NULL,
                         min(width, n1 - j))
            j += width
    j = n0
    while j <= last and not by_depth:
        transpose_pairs(panels + (j - n0) * depth, width if j < last else taken, b + j, False,
                        min(width, n1 - j), k0, k1 - k0, spare)
        j += width


cdef void pair_rows(float *rows, Py_ssize_t ld, const float **a, bint by_depth, Py_ssize_t k0,
                    Py_ssize_t k1, Py_ssize_t m0, Py_ssize_t m1, char *spare) noexcept nogil:
    """A's rows m0 to m1, from k0 (even) to k1 along the depth."""
    cdef Py_ssize_t m
    if by_depth:
        transpose_pairs(rows, ld, a + k0, True, k1 - k0, m0, m1 - m0, spare)
        return
    for m in range(m0, m1):
        pairs_along(rows + (m - m0) * ld, a[m] + k0, k1 - k0)
