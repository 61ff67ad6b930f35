# Products of rounded activations and quantised weights: quantised.h, by tiles of rows and by panels.
from libc.stdint cimport int32_t, uint8_t, uint16_t

from minillm._kernels import _compiled

cdef extern from "quantised.h" nogil:
    enum:
        PANEL, BLOCK, WORDS
    ctypedef struct Format:
        const uint8_t *codes
        const void *scale
        const void *offset
        int bits, words, halves, zero
        Py_ssize_t outputs
    ctypedef struct Rounded:
        const int32_t *a
        const float *t
        const int32_t *start
        const float *total
    bint has_dot_products
    int tile_rows(Py_ssize_t rows)
    int a_words()
    int most_rows()
    void quantised_tile(const Format *f, Py_ssize_t blocks, Py_ssize_t panel, int rows, const Rounded *x,
                        float *y, Py_ssize_t ldy, int outputs)
    void round_row(Py_ssize_t blocks, const float *x, int rows, int r, int32_t *words, float *t, int32_t *sums)
    void weights_of(const Format *f, Py_ssize_t blocks, Py_ssize_t output, float *w)
    void add_up_row(const Format *f, Py_ssize_t blocks, int rows, int r, const float *t, const int32_t *sums,
                    int32_t *start, float *total)

has_dot_products = _compiled("_cpu").has_vnni()


cdef struct Matrix:          # with I = 32 blocks inputs
    Py_ssize_t blocks, outputs, panels
    int count                # of its parts
    const Format *parts


cdef struct Rows:            # M rows of activations, rounded for one matrix
    int32_t *a
    float *t
    int32_t *start           # of each part, one after the other
    float *total


cdef inline Py_ssize_t panels_of(const Format *f) noexcept nogil:
    return (f.outputs + PANEL - 1) // PANEL


cdef Py_ssize_t rows_size(Py_ssize_t M, Py_ssize_t blocks, int parts) noexcept nogil:
    """The bytes of M rounded rows."""
    return M * blocks * (WORDS * a_words() * 4 + 4 + parts * 2 * 8) + 4 * 64


cdef Rows rows_in(char *room, Py_ssize_t M, Py_ssize_t blocks, int parts) noexcept nogil:
    cdef Rows rows
    rows.a = <int32_t *>cut(&room, M * blocks * WORDS * a_words() * 4)
    rows.t = <float *>cut(&room, M * blocks * 4)
    rows.start = <int32_t *>cut(&room, M * blocks * parts * 2 * 4)
    rows.total = <float *>cut(&room, M * blocks * parts * 2 * 4)
    return rows


cdef void round_rows(
    const Matrix *W, Py_ssize_t M, Py_ssize_t first, Py_ssize_t last, const float *x, const Rows *rows,
    int32_t *sums,
) noexcept nogil:
    """Round rows first to last of x (M, I), whole tiles of them; `sums` has room for 2 numbers a block."""
    cdef Py_ssize_t m = first, B = W.blocks, scales
    cdef const Format *part
    cdef int count, r, p
    while m < last:
        count = tile_rows(M - m)
        for r in range(count):
            round_row(B, x + (m + r) * B * BLOCK, count, r, rows.a + m * B * WORDS * a_words(),
                      rows.t + m * B, sums)
            for p in range(W.count):
                part = W.parts + p
                scales = B * WORDS // part.words
                add_up_row(part, B, count, r, rows.t + m * B, sums, rows.start + 2 * p * M * B + m * scales,
                           rows.total + 2 * p * M * B + m * scales)
        m += count


cdef void multiply_panels(
    const Matrix *W, Py_ssize_t M, Py_ssize_t first, Py_ssize_t last, const Rows *rows, float *y, Py_ssize_t ldy,
) noexcept nogil:
    """Panels first to last, counted over all parts, of y (M, O) = x W."""
    cdef Py_ssize_t panel, m, scales, before = 0, column = 0, outputs, B = W.blocks
    cdef const Format *part
    cdef Rounded x
    cdef int count, p
    for p in range(W.count):
        part = W.parts + p
        scales = B * WORDS // part.words
        for panel in range(max(first - before, 0), min(last - before, panels_of(part))):
            outputs = min(PANEL, part.outputs - panel * PANEL)
            m = 0
            while m < M:
                count = tile_rows(M - m)
                x.a, x.t = rows.a + m * B * WORDS * a_words(), rows.t + m * B
                x.start = rows.start + 2 * p * M * B + m * scales
                x.total = rows.total + 2 * p * M * B + m * scales
                quantised_tile(part, B, panel, count, &x, y + m * ldy + column + panel * PANEL, ldy, <int>outputs)
                m += count
        before += panels_of(part)
        column += part.outputs


cdef class Parts:
    """Where the arrays of a Quantised lie, checked; and the arrays, so that they go on lying there."""

    cdef Matrix matrix
    cdef Format *formats
    cdef list arrays

    def __cinit__(self, parts):
        cdef int i
        cdef Format *f
        cdef const uint8_t[:, :, :, :, ::1] codes
        cdef Py_ssize_t scales, P
        self.formats = <Format *>malloc((len(parts) + 1) * sizeof(Format))
        if self.formats == NULL:
            raise MemoryError()
        self.arrays = []
        self.matrix.parts, self.matrix.count = self.formats, len(parts)
        self.matrix.outputs = self.matrix.panels = self.matrix.blocks = 0
        for i, part in enumerate(parts):
            f = self.formats + i
            codes, scale, offset = part.codes, part.scale, part.offset
            P, f.outputs, f.bits, f.zero = codes.shape[0], part.outputs, codes.shape[2], part.zero
            f.codes, f.halves = &codes[0, 0, 0, 0, 0], scale.dtype == np.float16
            scales = scale.shape[1]
            f.words = WORDS if scales == codes.shape[1] else WORDS // 2
            if i == 0:
                self.matrix.blocks = codes.shape[1]
            fits = (
                f.bits in (4, 8) and codes.shape[3] == PANEL and codes.shape[4] == 4
                and self.matrix.blocks == codes.shape[1] and 0 <= f.zero < 256
                and scale.shape == (P, codes.shape[1] * WORDS // f.words, PANEL)
                and (f.words == WORDS or f.bits == 8) and 0 < P * PANEL - f.outputs + 1 <= PANEL
                and (offset is None or (offset.shape == scale.shape and offset.dtype == scale.dtype))
            )
            if not fits:
                raise ValueError(f"quantised: the arrays of part {i} do not fit each other")
            f.scale = address_of(scale)
            f.offset = NULL if offset is None else address_of(offset)
            self.arrays += [codes, scale, offset]
            self.matrix.outputs += f.outputs
            self.matrix.panels += P

    def __dealloc__(self):
        free(self.formats)


cdef void *address_of(array) except NULL:
    cdef const uint16_t[:, :, ::1] halves
    cdef const float[:, :, ::1] floats
    if array.dtype == np.float16:
        halves = array.view(np.uint16)
        return <void *>&halves[0, 0, 0]
    floats = array
    return <void *>&floats[0, 0, 0]
