# The shared parts of decoders' steps: the addresses of the weights, columns of a product, the keys and values
# of past tokens, and the attention of one new token to them.  A topic that includes this has `Sizes`, and
# `find_weights`, which fills Addresses in.

from libc.math cimport INFINITY
from libc.stdlib cimport calloc, free

include "topic.pxi"
include "gemm.pxi"
include "attention.pxi"
include "normalisation.pxi"
include "activations.pxi"

cdef extern from "decoder.h" nogil:
    void dots(Py_ssize_t n, Py_ssize_t width, double scale, const void *x, const void *lines, Py_ssize_t first,
              void *out)

cdef enum:
    WORTH_THREADS = 400000  # multiply-adds a token, below which threads would wait for each other
    PACKED = 3              # vectors: a tile of so many has the most rows, so that it loads least
    PACKED_BYTES = 262144   # of panels, that all rows pass over while the second-level cache keeps them


cdef int check(bint fits, str what) except -1:
    if not fits:
        raise ValueError(f"step: the shape of {what} does not fit the others")
    return 0


cdef struct Weight:          # a matrix (I, O), or a vector (O,); zeros: there is none
    Py_ssize_t inputs, outputs
    const void *numbers      # NULL: it is packed
    bint by_outputs          # the numbers are of the transpose
    const void *packed       # a Matrix
    const void *panels       # the numbers once more, as gemm.pxi's pack lays them out; NULL: they are not
    Py_ssize_t rank          # of what is added to a packed matrix, x A B: A (I, r), B (r, O); 0: nothing is
    const float *A
    const float *B


cdef class Addresses:
    """The addresses of the weights, checked; and the arrays, so that the addresses stay valid."""

    cdef Weight *weights
    cdef Sizes sizes
    cdef Py_ssize_t size     # multiply-adds of a token, but for attention
    cdef list arrays, parts
    cdef object dtype

    def __cinit__(self, arrays, dtype):
        self.arrays, self.parts, self.dtype = list(arrays), [], dtype
        self.weights = <Weight *>calloc(len(self.arrays), sizeof(Weight))
        if self.weights == NULL:
            raise MemoryError()
        if dtype == np.float32:
            find_weights[float](self, 0)
        else:
            find_weights[double](self, 0)

    def __dealloc__(self):
        free(self.weights)

    def __reduce__(self):
        return type(None), ()  # whoever loads or copies a model looks for them again


cdef Addresses addresses_of(weights, x):
    """The addresses of the arrays of FoundWeights, which keep them for many steps."""
    if not isinstance(weights.addresses, Addresses):
        weights.addresses = Addresses(weights.arrays, x.dtype)
    return weights.addresses


cdef int find_numbers(Weight *w, array, bint by_outputs, floating zero) except -1:
    cdef const floating[:, ::1] matrix
    cdef const floating[::1] vector
    if array.ndim == 1:
        vector = array
        w.outputs, w.numbers = vector.shape[0], &vector[0]
    else:
        matrix = array
        w.by_outputs, w.inputs, w.outputs = by_outputs, matrix.shape[by_outputs], matrix.shape[not by_outputs]
        w.numbers = &matrix[0, 0]
    return 0


cdef void multiply_numbers(
    const Weight *W, Input b, bint cached, Py_ssize_t M, Py_ssize_t n0, Py_ssize_t n1, Input x, Input residual,
    floating *y, char *own,
) noexcept nogil:
    """Columns n0 to n1 of y (M, O) = x (M, I) W + b, plus the residual (M, O).  b and the residual may be NULL.

    cached: W comes from a cache, and not from memory, which gives long streams fastest.
    """
    cdef bint by_outputs = W.by_outputs
    cdef Py_ssize_t I = W.inputs, O = W.outputs, count, i, j
    cdef Py_ssize_t lines_of_W = O if by_outputs else I, length = I if by_outputs else O
    cdef const floating **rows = <const floating **>cut(&own, M * sizeof(void *))
    cdef floating **out = <floating **>cut(&own, M * sizeof(void *))
    cdef const floating **lines = <const floating **>cut(&own, lines_of_W * sizeof(void *))
    cdef const floating *numbers = <const floating *>W.numbers
    cdef const floating *bias = <const floating *>b
    if n1 <= n0:
        return
    for i in range(M):
        rows[i], out[i] = <const floating *>x + i * I, y + i * O
        if residual != NULL:
            for j in range(n0, n1):
                out[i][j] = (<const floating *>residual)[i * O + j] + bias[j]
    for i in range(0 if W.panels != NULL else lines_of_W):
        lines[i] = numbers + i * length
    if W.panels != NULL:
        multiply_packed(M, n0, n1, I, O, rows, <const floating *>W.panels, bias, residual != NULL, out,
                        <floating *>own)
    elif M <= TILE_ROWS(4) and by_outputs:
        while n0 < n1:  # lines of W by dozens: all rows of x pass over them while they are near
            count = min(32, n1 - n0)
            for i in range(M):
                dots(count, I, <floating>1, rows[i], lines + n0, 0, out[i] + n0)
            n0 += count
    elif cached and not by_outputs:  # some hundred rows gain less by packing W than that would take
        multiply_few(M, n0, n1, I, rows, lines, bias, residual != NULL, out)
    elif M <= TILE_ROWS(4):
        multiply_lines(LINES, M, n0, n1, I, rows, lines, bias, residual != NULL, out)
    else:
        multiply_part(0, M, n0, n1, I, rows, False, lines, not by_outputs, bias, residual != NULL, out, own,
                      False)


cdef void multiply_packed(
    Py_ssize_t M, Py_ssize_t n0, Py_ssize_t n1, Py_ssize_t I, Py_ssize_t O, const floating **rows,
    const floating *panels, const floating *bias, bint add, floating **out, floating *acc,
) noexcept nogil:
    """All rows pass over some panels at a time."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), width = PACKED * lanes, most = TILE_ROWS(PACKED)
    cdef Py_ssize_t block = max(1, PACKED_BYTES // (I * PACKED * VECTOR_BYTES)) * width
    cdef Py_ssize_t first, last, start, end, n, m
    while n0 < n1:
        first = n0 // width * width  # where the panel begins
        last, m = min(n1, first + block), 0
        while m < M:
            n, start = n0, first
            while n < last:
                end = min(last, start + width)
                multiply_tile(m, min(M, m + most), n, end, <int>ceil_div(end - n, lanes), I, rows + m,
                              panels + start * I + n - start, min(width, ceil_div(O - start, lanes) * lanes),
                              bias, add, out, acc, False)
                n, start = end, end
            m += most
        n0 = last


cdef Py_ssize_t numbers_size(Py_ssize_t M, Py_ssize_t inputs, Py_ssize_t outputs, Py_ssize_t itemsize) noexcept nogil:
    """The bytes of memory that multiply_numbers needs."""
    return ((2 * M + max(inputs, outputs)) * sizeof(void *) + scratch_size(M, inputs, False, itemsize)
            + 4 * 64)


# --- attention to the past ------------------------------------------------------------


cdef struct Kept:  # keys or values (texts, N, positions, D/N), with the numbers from one to the next
    Output start
    Py_ssize_t text, head, line


cdef void note_lines(
    Py_ssize_t n, const int64_t *rows, const Kept *kept, Py_ssize_t first, const floating **lines
) noexcept nogil:
    """Addresses of the given n rows of a text, or (NULL) of the first n; row 0 begins at `first`."""
    cdef Py_ssize_t i
    for i in range(n):
        lines[i] = <const floating *>kept.start + first + (i if rows == NULL else rows[i]) * kept.line


cdef void look(
    Py_ssize_t n, Py_ssize_t width, const floating *query, const floating **keys, Py_ssize_t key_head,
    const floating **values, Py_ssize_t value_head, floating *weights, floating *context,
) noexcept nogil:
    """The attention of one query of one head to n keys."""
    cdef Py_ssize_t i, whole = whole_lanes(n)
    cdef const floating *weights_ = weights
    cdef floating *out = context - value_head
    dots(n, width, <floating>(<double>width ** -0.5), query, keys, key_head, weights)
    for i in range(n, whole):
        weights[i] = <floating>-INFINITY
    softmax(whole, weights)
    multiply_lines(n, 1, value_head, value_head + width, n, &weights_, values, <const floating *>NULL,
                   False, &out)


cdef int find_kept(
    list arrays, Py_ssize_t count, Py_ssize_t *shape, Kept *kept, bint written, floating zero
) except -1:
    """The addresses of arrays (texts, N, positions, D/N), which all have the shape of the first."""
    cdef const floating[:, :, :, :] array
    cdef Py_ssize_t i, j, item = sizeof(floating)
    check(len(arrays) == count, "the cache")
    for i in range(count):
        array = arrays[i]
        check(array.strides[3] == item or array.shape[3] == 1, "the cache")
        check(not written or arrays[i].flags.writeable, "the cache")
        for j in range(4):  # of an axis of one, the distance has no meaning
            check(array.shape[j] == 1 or (array.shape[j] > 0 and array.strides[j] % item == 0), "the cache")
            if i == 0:
                shape[j] = array.shape[j]
            check(array.shape[j] == shape[j], "the cache")
        kept[i].start = <void *>&array[0, 0, 0, 0]
        kept[i].text, kept[i].head = array.strides[0] // item, array.strides[1] // item
        kept[i].line = array.strides[2] // item
    return 0
