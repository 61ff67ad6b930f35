# Products of rounded activations and quantised weights: quantised.h, by tiles of rows and by panels.
from libc.stdint cimport int8_t, int32_t, uint8_t, uint16_t
from libc.stdlib cimport free, malloc

from minillm._kernels._cpu import has_vnni

cdef extern from "quantised.h" nogil:
    enum:
        PANEL, BLOCK, WORDS, SUPER
        MOST_ROWS
    ctypedef struct Format:
        const uint8_t *codes
        const void *scale
        const void *offset
        const uint16_t *d
        const uint16_t *e
        const uint8_t *levels
        int bits, words, zero
        Py_ssize_t outputs
    ctypedef struct Rows:
        int32_t *a
        float *t
        int32_t *start
        float *total
    ctypedef struct Rest:
        Rows rows
        double *least
        int32_t *count
        int32_t *which
    bint has_dot_products
    bint is_known(const Format *f)
    int tile_rows(Py_ssize_t rows)
    int a_words()
    void quantised_panel(const Format *f, Py_ssize_t blocks, Py_ssize_t panel, Py_ssize_t M, const Rows *x,
                         const Rest *rest, float *y)
    float round_block(const float *x, int8_t *a, int32_t *sums)
    float round_rest(const float *x, int8_t *a, int32_t *sums)
    void place_block(const int8_t *a, int rows, int r, int32_t *words)
    void add_up_block(const Format *f, Py_ssize_t b, int rows, int r, float t, const int32_t *sums,
                      int32_t *start, float *total)
    void weights_of(const Format *f, Py_ssize_t blocks, Py_ssize_t output, float *w)

cdef double TWICE = 1.75  # times the mean t^2 of a row: quantised/codes.py has it

has_dot_products = has_vnni()


cdef struct Matrix:          # with I = 32 blocks inputs
    Py_ssize_t blocks, outputs, panels
    int count                # of its parts
    const Format *parts


cdef inline Py_ssize_t panels_of(const Format *f) noexcept nogil:
    return (f.outputs + PANEL - 1) // PANEL


cdef struct Rounded:         # M rows
    Rows rows
    Rest rest


cdef Py_ssize_t rows_size(const Matrix *W, Py_ssize_t M) noexcept nogil:
    """The bytes of M rows, rounded."""
    cdef Py_ssize_t size = M * W.blocks
    return 2 * size * (WORDS * a_words() * 4 + 4 + W.count * 2 * 8) + size * 4 + M * 8 + W.blocks * 4 + 12 * 64


cdef Rows take_rows(char **room, const Matrix *W, Py_ssize_t M) noexcept nogil:
    cdef Rows rows
    cdef Py_ssize_t size = M * W.blocks
    rows.a = <int32_t *>cut(room, size * WORDS * a_words() * 4)
    rows.t = <float *>cut(room, size * 4)
    rows.start = <int32_t *>cut(room, size * W.count * 2 * 4)
    rows.total = <float *>cut(room, size * W.count * 2 * 4)
    return rows


cdef Rounded rows_in(char *room, const Matrix *W, Py_ssize_t M) noexcept nogil:
    cdef Rounded rounded
    rounded.rows, rounded.rest.rows = take_rows(&room, W, M), take_rows(&room, W, M)
    rounded.rest.least = <double *>cut(&room, M * 8)
    rounded.rest.count = <int32_t *>cut(&room, W.blocks * 4)
    rounded.rest.which = <int32_t *>cut(&room, M * W.blocks * 4)
    return rounded


cdef inline void place(
    const Matrix *W, Py_ssize_t M, const Rows *rows, Py_ssize_t before, Py_ssize_t block, int count, int r,
    const int8_t *a, float t, const int32_t *sums,
) noexcept nogil:
    """A block of row r of a tile of `count` rows: the tile begins after some blocks of rows."""
    cdef Py_ssize_t at
    cdef int p
    rows.t[before + block * count + r] = t
    place_block(a, count, r, rows.a + (before + block * count) * WORDS * a_words())
    for p in range(W.count):
        at = 2 * p * M * W.blocks + before * WORDS // W.parts[p].words
        add_up_block(W.parts + p, block, count, r, t, sums, rows.start + at, rows.total + at)


cdef void round_rows(
    const Matrix *W, Py_ssize_t M, Py_ssize_t first, Py_ssize_t last, const float *x, const Rounded *to
) noexcept nogil:
    """Rounded rows first to last of x (M, I), whole tiles of them."""
    cdef Py_ssize_t B = W.blocks, m = first, b
    cdef int8_t[BLOCK] a
    cdef int32_t[2] sums
    cdef float t
    cdef double squares
    cdef int count, r
    while m < last:
        count = tile_rows(M - m)
        for r in range(count):
            squares = 0
            for b in range(B):
                t = round_block(x + ((m + r) * B + b) * BLOCK, a, sums)
                place(W, M, &to.rows, m * B, b, count, r, a, t, sums)
                squares += <double>t * t
            to.rest.least[m + r] = TWICE * squares / B
        m += count


cdef void round_rests(
    const Matrix *W, Py_ssize_t M, Py_ssize_t first, Py_ssize_t last, const float *x, const Rounded *to
) noexcept nogil:
    """What was left of blocks first to last of all rows, where t is large."""
    cdef Py_ssize_t B = W.blocks, b, m, k
    cdef int8_t[BLOCK] a
    cdef int32_t[2] sums
    cdef int32_t *which
    cdef float t
    cdef int count, r, n
    for b in range(first, last):
        which, m, n = to.rest.which + b * M, 0, 0
        while m < M:
            count = tile_rows(M - m)
            for r in range(count):
                t = to.rows.t[m * B + b * count + r]
                if <double>t * t > to.rest.least[m + r]:
                    which[n] = m + r
                    n += 1
            m += count
        to.rest.count[b], k = n, 0
        while k < n:
            count = tile_rows(n - k)
            for r in range(count):
                t = round_rest(x + (which[k + r] * B + b) * BLOCK, a, sums)
                place(W, M, &to.rest.rows, b * M + k, 0, count, r, a, t, sums)
            k += count


cdef void multiply_panels(
    const Matrix *W, Py_ssize_t M, Py_ssize_t first, Py_ssize_t last, const Rounded *rounded, float *sums, float *y,
) noexcept nogil:
    """Panels first to last, counted over all parts, of y (M, O) = x W, with memory for sums (M, PANEL)."""
    cdef Py_ssize_t B = W.blocks, before = 0, column = 0, panel, at, count, m, n
    cdef const Format *part
    cdef Rounded x = rounded[0]
    cdef int p
    for p in range(W.count):
        part = W.parts + p
        for panel in range(max(first - before, 0), min(last - before, panels_of(part))):
            quantised_panel(part, B, panel, M, &x.rows, &x.rest, sums)
            at, count = column + panel * PANEL, min(PANEL, part.outputs - panel * PANEL)
            for m in range(M):
                for n in range(count):
                    y[m * W.outputs + at + n] = sums[m * PANEL + n]
        before += panels_of(part)
        column += part.outputs
        x.rows.start, x.rows.total = x.rows.start + 2 * M * B, x.rows.total + 2 * M * B
        x.rest.rows.start, x.rest.rows.total = x.rest.rows.start + 2 * M * B, x.rest.rows.total + 2 * M * B


cdef class Parts:
    """The addresses of a Quantised's arrays, checked; and the arrays, so that the addresses stay valid."""

    cdef Matrix matrix
    cdef Format *formats
    cdef list arrays

    def __cinit__(self, parts):
        cdef int i
        cdef Format *f
        cdef const uint8_t[:, :, :, :, ::1] codes
        cdef Py_ssize_t P
        self.formats = <Format *>malloc((len(parts) + 1) * sizeof(Format))
        if self.formats == NULL:
            raise MemoryError()
        self.arrays = []
        self.matrix.parts, self.matrix.count = self.formats, len(parts)
        self.matrix.outputs = self.matrix.panels = self.matrix.blocks = 0
        for i, part in enumerate(parts):
            f = self.formats + i
            codes, scale, offset, d, e, levels = (
                part.codes, part.scale, part.offset, part.d, part.e, part.levels
            )
            P, f.outputs, f.bits, f.zero = codes.shape[0], part.outputs, codes.shape[2], part.zero
            f.words = WORDS if scale.shape[1] == codes.shape[1] else WORDS // 2
            if i == 0:
                self.matrix.blocks = codes.shape[1]
            factors = (P, codes.shape[1] // SUPER, PANEL)
            fits = (
                f.bits > 0 and codes.shape[3] == PANEL and codes.shape[4] == 4
                and self.matrix.blocks == codes.shape[1] and 0 <= f.zero < 256
                and scale.shape == (P, codes.shape[1] * WORDS // f.words, PANEL)
                and scale.dtype == (np.float16 if d is None else np.int8)
                and 0 < P * PANEL - f.outputs + 1 <= PANEL
                and (offset is None or (offset.shape == scale.shape and offset.dtype == scale.dtype))
                and all(a is None or (a.shape == factors and a.dtype == np.float16) for a in (d, e))
                and (d is None or codes.shape[1] % SUPER == 0)
                and (e is None) == (d is None or offset is None)
                and (levels is None or (levels.shape == (16,) and levels.dtype == np.uint8))
            )
            if fits:
                f.codes, f.scale, f.offset = &codes[0, 0, 0, 0, 0], address(scale), address(offset)
                f.d, f.e = <const uint16_t *>address(d), <const uint16_t *>address(e)
                f.levels = <const uint8_t *>address(levels)
            if not fits or not is_known(f):
                raise ValueError(f"quantised: the arrays of part {i} do not fit each other")
            self.arrays += [codes, scale, offset, d, e, levels]
            self.matrix.outputs += f.outputs
            self.matrix.panels += P

    def __dealloc__(self):
        free(self.formats)
