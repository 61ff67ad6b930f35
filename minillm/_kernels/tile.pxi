# tile.h, for either precision.
cdef extern from "tile.h" nogil:
    enum:
        VECTOR_BYTES
        TILE_SIZE
        LINES
    int TILE_ROWS(int vectors)
    int SQUARE_SIDE(int itemsize)
    void PREFETCH(const void *address)
    void tile_f32(int rows, int vectors, Py_ssize_t depth, const float **a, Py_ssize_t step,
                  const float *b, Py_ssize_t ldb, const float **start, float **out)
    void tile_f64(int rows, int vectors, Py_ssize_t depth, const double **a, Py_ssize_t step,
                  const double *b, Py_ssize_t ldb, const double **start, double **out)
    void tile_f32_lines(int rows, Py_ssize_t count, Py_ssize_t n0, Py_ssize_t n1, const float **a,
                        const float **b, Py_ssize_t ahead, float **out)
    void tile_f64_lines(int rows, Py_ssize_t count, Py_ssize_t n0, Py_ssize_t n1, const double **a,
                        const double **b, Py_ssize_t ahead, double **out)
    void transpose_4x4_f32(float *to, Py_ssize_t ld, const float **lines, Py_ssize_t start)
    void transpose_4x4_f64(double *to, Py_ssize_t ld, const double **lines, Py_ssize_t start)
    void transpose_square_f32(float *to, Py_ssize_t ld, const float **lines, Py_ssize_t start)
    void transpose_square_f64(double *to, Py_ssize_t ld, const double **lines, Py_ssize_t start)


cdef inline void tile_apart(int rows, int vectors, Py_ssize_t depth, const floating **a,
                            Py_ssize_t step, const floating *b, Py_ssize_t ldb,
                            const floating **start, floating **out) noexcept nogil:
    """A tile; the numbers of a row of a lie `step` apart: a may be a transpose."""
    if floating is float:
        tile_f32(rows, vectors, depth, a, step, b, ldb, start, out)
    else:
        tile_f64(rows, vectors, depth, a, step, b, ldb, start, out)


cdef inline void tile(int rows, int vectors, Py_ssize_t depth, const floating **a,
                      const floating *b, Py_ssize_t ldb, const floating **start,
                      floating **out) noexcept nogil:
    tile_apart(rows, vectors, depth, a, 1, b, ldb, start, out)


cdef inline void tile_lines(int rows, Py_ssize_t count, Py_ssize_t n0, Py_ssize_t n1,
                            const floating **a, const floating **b, Py_ssize_t ahead,
                            floating **out) noexcept nogil:
    if floating is float:
        tile_f32_lines(rows, count, n0, n1, a, b, ahead, out)
    else:
        tile_f64_lines(rows, count, n0, n1, a, b, ahead, out)


cdef inline void transpose_4x4(floating *to, Py_ssize_t ld, const floating **lines,
                               Py_ssize_t start) noexcept nogil:
    if floating is float:
        transpose_4x4_f32(to, ld, lines, start)
    else:
        transpose_4x4_f64(to, ld, lines, start)


cdef inline void transpose_square(floating *to, Py_ssize_t ld, const floating **lines,
                                  Py_ssize_t start) noexcept nogil:
    if floating is float:
        transpose_square_f32(to, ld, lines, start)
    else:
        transpose_square_f64(to, ld, lines, start)
