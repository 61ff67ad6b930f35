# tile.h, whose functions take floats or doubles.
cdef extern from "tile.h" nogil:
    enum:
        VECTOR_BYTES
        TILE_SIZE
        LINES
        STRETCH
        PANEL_BYTES
        TILES_TOGETHER
        FEW_ROWS
        BLOCK_BYTES
    int TILE_ROWS(int vectors)
    int SQUARE_SIDE(int itemsize)
    void PREFETCH(const void *address)
    void tile(int rows, int vectors, Py_ssize_t depth, const void *a, Py_ssize_t step, const void *b,
              Py_ssize_t ldb, const void *start, void *out)
    void tile_lines(int rows, Py_ssize_t count, Py_ssize_t n0, Py_ssize_t n1, const void *a, const void *b,
                    Py_ssize_t ahead, void *out)
    void transpose_4x4(void *to, Py_ssize_t ld, const void *lines, Py_ssize_t start)
    void transpose_square(void *to, Py_ssize_t ld, const void *lines, Py_ssize_t start)


cdef inline void prefetch(const floating *start, Py_ssize_t count) noexcept nogil:
    """Fetch `count` numbers into the cache, while something else is computed."""
    cdef Py_ssize_t j = 0
    while j < count:
        PREFETCH(start + j)
        j += 64 // <Py_ssize_t>sizeof(floating)


cdef inline void add_line(Py_ssize_t n, const floating *x, floating *sums) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        sums[j] += x[j]
