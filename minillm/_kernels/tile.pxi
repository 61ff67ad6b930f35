# tile.h, for either precision.
cdef extern from "tile.h" nogil:
    enum:
        VECTOR_BYTES
        TILE_SIZE
        LINES
        SQUARE
    int TILE_ROWS(int vectors)
    void PREFETCH(const void *address)
    void tile_f32(int rows, int vectors, Py_ssize_t depth, const float **a, const float *b,
                  Py_ssize_t ldb, const float **start, float **out)
    void tile_f64(int rows, int vectors, Py_ssize_t depth, const double **a, const double *b,
                  Py_ssize_t ldb, const double **start, double **out)
    void tile_f32_apart(int rows, int vectors, Py_ssize_t depth, const float **a, Py_ssize_t step,
                        const float *b, Py_ssize_t ldb, const float **start, float **out)
    void tile_f64_apart(int rows, int vectors, Py_ssize_t depth, const double **a, Py_ssize_t step,
                        const double *b, Py_ssize_t ldb, const double **start, double **out)
    void tile_f32_lines(int rows, int count, Py_ssize_t n, const float **a, const float **b,
                        float **out)
    void tile_f64_lines(int rows, int count, Py_ssize_t n, const double **a, const double **b,
                        double **out)
    void tile_f32_row(Py_ssize_t count, Py_ssize_t n, const float *a, const float **b,
                      Py_ssize_t first, float *out)
    void tile_f64_row(Py_ssize_t count, Py_ssize_t n, const double *a, const double **b,
                      Py_ssize_t first, double *out)
    void transpose_4x4_f32(float *to, Py_ssize_t ld, const float **lines, Py_ssize_t start)
    void transpose_4x4_f64(double *to, Py_ssize_t ld, const double **lines, Py_ssize_t start)
    void transpose_square_f32(float *to, Py_ssize_t ld, const float **lines, Py_ssize_t start)
    void transpose_square_f64(double *to, Py_ssize_t ld, const double **lines, Py_ssize_t start)


cdef inline void tile(int rows, int vectors, Py_ssize_t depth, const floating **a,
                      const floating *b, Py_ssize_t ldb, const floating **start,
                      floating **out) noexcept nogil:
    if floating is float:
        tile_f32(rows, vectors, depth, a, b, ldb, start, out)
    else:
        tile_f64(rows, vectors, depth, a, b, ldb, start, out)


cdef inline void tile_apart(int rows, int vectors, Py_ssize_t depth, const floating **a,
                            Py_ssize_t step, const floating *b, Py_ssize_t ldb,
                            const floating **start, floating **out) noexcept nogil:
    if floating is float:
        tile_f32_apart(rows, vectors, depth, a, step, b, ldb, start, out)
    else:
        tile_f64_apart(rows, vectors, depth, a, step, b, ldb, start, out)


cdef inline void tile_lines(int rows, int count, Py_ssize_t n, const floating **a,
                            const floating **b, floating **out) noexcept nogil:
    if floating is float:
        tile_f32_lines(rows, count, n, a, b, out)
    else:
        tile_f64_lines(rows, count, n, a, b, out)


cdef inline void tile_row(Py_ssize_t count, Py_ssize_t n, const floating *a, const floating **b,
                          Py_ssize_t first, floating *out) noexcept nogil:
    if floating is float:
        tile_f32_row(count, n, a, b, first, out)
    else:
        tile_f64_row(count, n, a, b, first, out)


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
