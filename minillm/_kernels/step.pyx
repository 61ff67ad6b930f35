# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""A few tokens of each text through all blocks of a Transformer, in one call: the twin of its original.

The weights say what a block is: with layer norms or RMS norms, with biases, rotated or not, with a source to
look at or without, gated or not.  Their addresses are found once, and not at every token.  A weight is floats, or
packed (quantised.pxi).  A translator begins each search with new weights: for it and for an output layer, floats
are copied into panels, which a step reads in one stream.  The threads divide the work in one of two ways.

- Few rows, packed weights, or more weights than a cache keeps: reading the weights takes most of the time.  Each
  thread has its columns of every product, and its heads.  A block has some phases, each of which needs everything
  that the phase before has computed.  Each thread computes the input of a phase, a norm or a gated row, for
  itself: this takes less time than waiting for another phase.  Where the result of a branch is normalised before
  it is added, which needs whole rows of it, the sum is a phase of its own.
- Many rows otherwise, or a few if the weights are panels: the arithmetic takes most of the time.  A part is a
  group of rows, which passes through all blocks at once, since no row needs another.  Its activations stay in
  the second-level cache.

The logits are a last phase, divided by columns.
"""

from libc.math cimport INFINITY
from libc.stdlib cimport calloc, free
from libc.string cimport memmove

include "topic.pxi"
include "gemm.pxi"
include "attention.pxi"
include "normalisation.pxi"
include "activations.pxi"
include "rotary.pxi"
include "quantised.pxi"

cdef extern from "dots.h" nogil:
    void dots(Py_ssize_t n, Py_ssize_t width, double scale, const void *x, const void *lines, Py_ssize_t first,
              void *out)

cdef extern from *:
    """
    /* Columns n0 to n1 of y (O,) = x W, with x (I,), W (I, O): in the order of tile.h; sum (O,) is memory. */
    static void times_row(Py_ssize_t I, Py_ssize_t O, Py_ssize_t n0, Py_ssize_t n1, const float *restrict x,
                          const float *restrict W, float *restrict sum, float *restrict y) {
        for (Py_ssize_t i = 0, n; i < I;) {
            const Py_ssize_t first = i, last = I - i < STRETCH ? I : i + STRETCH;
            for (n = n0; n < n1; n++) sum[n] = 0;
            for (; i < last; i++)
                for (n = n0; n < n1; n++) sum[n] = ADD_PRODUCT(sum[n], x[i], W[i * O + n]);
            for (n = n0; n < n1; n++) y[n] = first > 0 ? y[n] + sum[n] : sum[n];
        }
    }
    """
    void times_row(Py_ssize_t I, Py_ssize_t O, Py_ssize_t n0, Py_ssize_t n1, const float *x, const float *W,
                   float *sum, float *y) noexcept nogil

cdef enum:
    WORTH_THREADS = 400000    # multiply-adds a token, below which threads would wait for each other
    FEW_WEIGHTS = 5000000     # of a block, for which two parts of a phase are enough for each thread
    PACKED = 3                # vectors: a tile of so many has the most rows, so that it loads least
    PACKED_BYTES = 262144     # of panels, that all rows pass over while the second-level cache keeps them
    GROUP = 32                # rows at most, whose activations fit into the second-level cache
    PACKED_GROUP = 128        # the same for panels: of one block alone, whose weights are read less often
    KEYS = 4                  # vectors of a panel of keys
    LEAST_GROUP = 4           # rows for which it is worth reading all weights
    CACHE = 16777216          # bytes of weights that the last cache keeps
    WORTH_PACKING = 67108864  # bytes of weights at most, which are then in memory twice

cdef enum:                    # the places of weights, as StepWeights names them; a norm has a gain and a bias
    OUTPUT = 2                # of the model, after its last norm: the matrix, and then its bias
    OF_MODEL = 4
    NORM_1 = 0                # of a block; behind each matrix is its bias
    W_QKV = 2
    W_O = 4
    NORM_Q = 6                # of each head
    NORM_K = 7
    NORM_OF_ATTENTION = 8     # of its result
    NORM_2 = 9
    W_Q = 11                  # from here on for the source
    W_OF_CROSS = 13
    NORM_3 = 15
    W_1 = 17
    W_2 = 19
    NORM_OF_FEED_FORWARD = 21
    OF_BLOCK = 22


cdef struct Sizes:
    Py_ssize_t D, V, L, F
    Py_ssize_t C, A              # columns of W_qkv, rows of W_o
    Py_ssize_t Q, T, K           # rows; those of a text, those that share a source
    Py_ssize_t N, M, width, S    # heads, heads of keys, their width; S: the most positions that a query looks at
    bint gated, crosses, four_norms
    bint floats, panels          # whether no weight is packed; whether all are panels


cdef struct Weight:              # a matrix (I, O), or a vector (O,); zeros: there is none
    Py_ssize_t inputs, outputs
    const void *numbers          # NULL: it is packed
    bint by_outputs              # the numbers are of the transpose
    const void *packed           # a Matrix
    const void *panels           # the numbers once more, as gemm.pxi's pack lays them out; NULL: they are not
    Py_ssize_t rank              # of what is added to a packed matrix, x A B: A (I, r), B (r, O); 0: nothing is
    const float *A
    const float *B


cdef struct Kept:                # keys or values (texts, M, positions, width), with the numbers between the next
    Output start
    Py_ssize_t text, head, line


cdef enum Phase:                 # of a block
    PROJECT
    ATTEND                       # PROJECT does it where each thread has whole heads
    JOIN
    ADD_ATTENTION                # if the results of branches are normalised; else JOIN adds its columns
    ASK                          # the source
    LOOK_BACK
    JOIN_SOURCE
    EXPAND
    CONTRACT
    ADD_FEED_FORWARD
    PHASES
    PREDICT                      # the logits, after all blocks


cdef struct Step:
    Sizes sizes
    Py_ssize_t first             # of the rows, if they are a group of all
    const Weight *weights
    double eps
    Phase[PHASES] phases         # that a block has
    Py_ssize_t count             # of them
    Py_ssize_t parts             # of a phase
    bint post_norm, relu, gelu
    bint cached                  # whether the weights stay in a cache from token to token
    bint whole_heads, by_rows
    Kept *past                   # keys and values of each block
    const int64_t *start         # of each text, the positions of the past
    const int64_t *rows          # (Q, beams) of the one text's past; NULL: each text has its own past
    Py_ssize_t beams
    Kept *memory                 # keys and values of the source
    const int64_t *lengths       # of the source
    Py_ssize_t shown             # the layer whose attention to the source is returned
    const int64_t *windows       # (L,) of each layer; 0: none
    const int64_t *sinks         # (L,) first positions that a layer's queries see in front of the window
    const int64_t *tables        # (L,) which cos and sin a layer has; -1: none
    Input cos, sin               # (tables, Q, width / 2)
    Py_ssize_t angles            # of a table
    Output x, residual           # (Q, D); the residual is x, but for post-norm
    Output qkv, context          # (Q, C), (Q, A)
    Output branch                # (Q, D), which is added to x
    Output hidden                # (Q, 2 F)
    Output logits                # (Q, V)
    Output attention             # (Q, N, S of the memory)
    Py_ssize_t source            # S of the memory
    char *own                    # memory of each thread for itself
    Py_ssize_t own_each


# --- the addresses of the weights ---------------------------------------------------


cdef int check(bint fits, str what) except -1:
    if not fits:
        raise ValueError(f"step: the shape of {what} does not fit the others")
    return 0


cdef class Addresses:
    """The addresses of the weights, checked; and the arrays, so that the addresses stay valid."""

    cdef Weight *weights
    cdef Sizes sizes
    cdef Py_ssize_t size     # multiply-adds of a token, but for attention
    cdef list arrays, parts
    cdef object dtype
    cdef bint post_norm, relu, gelu
    cdef double eps
    cdef const int64_t[::1] windows, sinks, tables  # of the layers

    def __cinit__(self, weights, dtype):
        self.arrays, self.parts, self.dtype = list(weights.arrays), [], dtype
        self.weights = <Weight *>calloc(len(self.arrays) + 1, sizeof(Weight))
        if self.weights == NULL:
            raise MemoryError()
        self.sizes.gated = weights.activation in ("silu gate", "gelu gate")
        self.relu, self.gelu = weights.activation == "relu", weights.activation == "gelu gate"
        self.post_norm, self.eps = weights.post_norm, weights.eps
        self.windows, self.sinks, self.tables = weights.windows, weights.sinks, weights.tables
        if dtype == np.float32:
            find_weights[float](self, weights.tied, 0)
        else:
            find_weights[double](self, weights.tied, 0)
        check(self.sizes.L == len(weights.windows) == len(weights.sinks) == len(weights.tables), "the layers")

    def __dealloc__(self):
        free(self.weights)

    def __reduce__(self):
        return type(None), ()  # whoever loads or copies a model looks for them again


cdef int find_weights(Addresses found, bint tied, floating zero) except -1:
    cdef Py_ssize_t count = len(found.arrays), i, j
    cdef Sizes *s = &found.sizes
    cdef Weight *w
    cdef const Weight *first = found.weights + OF_MODEL
    cdef bint is_matrix
    s.L, s.floats = (count - OF_MODEL) // OF_BLOCK, True
    check(count >= OF_MODEL and OF_MODEL + s.L * OF_BLOCK == count, "the list of weights")
    for i in range(count):
        j = (i - OF_MODEL) % OF_BLOCK if i >= OF_MODEL else -1
        is_matrix = i == OUTPUT or j in (W_QKV, W_O, W_Q, W_OF_CROSS, W_1, W_2)
        if found.arrays[i] is not None:
            find_weight(found, found.weights + i, found.arrays[i], is_matrix, i == OUTPUT and tied, zero)
    w = found.weights
    s.D, s.V = w[OUTPUT].inputs, w[OUTPUT].outputs
    check(s.D > 0 and is_norm(w, s.D) and w[OUTPUT + 1].outputs in (0, 0 if tied else s.V), "the output")
    found.size = s.D * s.V
    if s.L > 0:
        s.C, s.A, s.F, s.crosses = first[W_QKV].outputs, first[W_O].inputs, first[W_2].inputs, first[W_Q].outputs > 0
        s.four_norms = first[NORM_OF_ATTENTION].outputs > 0
    for i in range(s.L):
        w = found.weights + OF_MODEL + i * OF_BLOCK
        fits = (
            is_norm(w + NORM_1, s.D) and is_norm(w + NORM_2, s.D) and is_norm(w + NORM_3, s.D)
            and is_affine(w + W_QKV, s.D, s.C) and is_affine(w + W_O, s.A, s.D)
            and is_affine(w + W_1, s.D, 2 * s.F if s.gated else s.F) and is_affine(w + W_2, s.F, s.D)
            and w[NORM_Q].outputs == w[NORM_K].outputs == first[NORM_Q].outputs
            and w[NORM_OF_ATTENTION].outputs == w[NORM_OF_FEED_FORWARD].outputs == (s.D if s.four_norms else 0)
            and is_affine(w + W_Q, s.D if s.crosses else 0, s.A if s.crosses else 0)
            and is_affine(w + W_OF_CROSS, s.A if s.crosses else 0, s.D if s.crosses else 0)
        )
        check(fits, f"the weights of block {i}")
        found.size += s.D * (s.C + s.A * (3 if s.crosses else 1) + w[W_1].outputs + s.F)
    s.panels = (s.crosses or s.L == 0) and s.floats and found.size * <Py_ssize_t>sizeof(floating) <= WORTH_PACKING
    for i in range(count if s.panels else 0):
        if found.weights[i].inputs > 0:
            pack_weight(found, found.weights + i, zero)
    return 0


cdef inline bint is_norm(const Weight *w, Py_ssize_t D) noexcept:
    """A gain, and for a layer norm a bias; or nothing."""
    return w[0].outputs in (0, D) and w[1].outputs in (0, w[0].outputs)


cdef inline bint is_affine(const Weight *w, Py_ssize_t inputs, Py_ssize_t outputs) noexcept:
    """A matrix, and with or without a bias."""
    return w[0].inputs == inputs and w[0].outputs == outputs and w[1].outputs in (0, outputs)


cdef int find_weight(Addresses found, Weight *w, array, bint is_matrix, bint by_outputs, floating zero) except -1:
    cdef const floating[:, ::1] matrix
    cdef const floating[::1] vector
    cdef const float[:, ::1] A, B
    cdef Parts parts
    W = getattr(array, "W", array)
    check(W.ndim == (2 if is_matrix else 1) and W.size > 0, "a weight")
    if hasattr(W, "parts"):
        check(sizeof(floating) == 4 and W.transposed == by_outputs, "a packed weight")
        parts = Parts(W.parts)
        found.parts.append(parts)
        found.sizes.floats = False
        w.packed, w.inputs, w.outputs = &parts.matrix, parts.matrix.blocks * BLOCK, parts.matrix.outputs
        if W is not array:
            A, B = array.A, array.B
            fits = A.shape[0] == w.inputs and B.shape[1] == w.outputs and 0 < A.shape[1] == B.shape[0]
            check(fits, "what is added to a weight")
            w.rank, w.A, w.B = A.shape[1], &A[0, 0], &B[0, 0]
    elif is_matrix:
        matrix = array
        w.by_outputs, w.inputs, w.outputs = by_outputs, matrix.shape[by_outputs], matrix.shape[not by_outputs]
        w.numbers = &matrix[0, 0]
    else:
        vector = array
        w.outputs, w.numbers = vector.shape[0], &vector[0]
    return 0


cdef int pack_weight(Addresses found, Weight *w, floating zero) except -1:
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), count = w.outputs if w.by_outputs else w.inputs
    # A thread's first columns may begin within a panel, so that a tile reads past the end.
    cdef Py_ssize_t size = (w.inputs * ceil_div(w.outputs, lanes) + 1) * VECTOR_BYTES
    cdef Workspace panels = Workspace(size), work = Workspace(lines_size(1, count))
    w.panels = panels.take(size)
    pack(<floating *>w.panels, PACKED * lanes,
         lines_of(work, <const floating *>w.numbers, count, w.inputs if w.by_outputs else w.outputs),
         not w.by_outputs, 0, w.inputs, 0, w.outputs)
    found.parts.append(panels)
    return 0


# --- products -----------------------------------------------------------------------


cdef void multiply_numbers(
    const Weight *W, bint cached, Py_ssize_t M, Py_ssize_t n0, Py_ssize_t n1, const floating *x,
    const floating *residual, floating *y, char *own,
) noexcept nogil:
    """Columns n0 to n1 of y (M, O) = x (M, I) W + b, plus the residual (M, O), which may be NULL.

    cached: W comes from a cache, and not from memory, which gives long streams fastest.
    """
    cdef bint by_outputs = W.by_outputs, add = residual != NULL
    cdef Py_ssize_t I = W.inputs, O = W.outputs, count, i, j
    cdef Py_ssize_t lines_of_W = O if by_outputs else I, length = I if by_outputs else O
    cdef const floating **rows = <const floating **>cut(&own, M * sizeof(void *))
    cdef floating **out = <floating **>cut(&own, M * sizeof(void *))
    cdef const floating **lines = <const floating **>cut(&own, lines_of_W * sizeof(void *))
    cdef const floating *numbers = <const floating *>W.numbers
    cdef const floating *bias = <const floating *>W[1].numbers
    if n1 <= n0:
        return
    for i in range(M):
        rows[i], out[i] = x + i * I, y + i * O
        for j in range(n0, n1 if add else n0):
            out[i][j] = residual[i * O + j] + (bias[j] if bias != NULL else 0)
    for i in range(0 if W.panels != NULL else lines_of_W):
        lines[i] = numbers + i * length
    if W.panels != NULL:
        multiply_packed(M, n0, n1, I, O, rows, <const floating *>W.panels, bias, add, out, <floating *>own)
    elif M <= TILE_ROWS(4) and by_outputs:
        while n0 < n1:  # lines of W by dozens: all rows of x pass over them while they are near
            count = min(32, n1 - n0)
            for i in range(M):
                dots(count, I, <floating>1, rows[i], lines + n0, 0, out[i] + n0)
            n0 += count
    elif cached and not by_outputs:  # some hundred rows gain less by packing W than that would take
        multiply_few(M, n0, n1, I, rows, lines, bias, add, out)
    elif M <= TILE_ROWS(4):
        multiply_lines(LINES, M, n0, n1, I, rows, lines, bias, add, out)
    else:
        multiply_part(0, M, n0, n1, I, rows, False, lines, not by_outputs, bias, add, out, own, False)


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


cdef Py_ssize_t column_of(const Matrix *W, Py_ssize_t panel) noexcept nogil:
    """The column with which a panel begins; panels are counted over all parts."""
    cdef Py_ssize_t column = 0, p = 0
    while p < W.count and panel >= panels_of(W.parts + p):
        panel -= panels_of(W.parts + p)
        column += W.parts[p].outputs
        p += 1
    return column + panel * PANEL


cdef inline Py_ssize_t first_column(
    Py_ssize_t N, Py_ssize_t floats, Py_ssize_t part, Py_ssize_t parts
) noexcept nogil:
    """The first of N columns that are of this part: they are divided by whole vectors."""
    return min(N, part * ceil_div(N, floats) // parts * floats)


cdef void multiply_columns(
    const Step *step, const Weight *W, Py_ssize_t part, bint is_first, const floating *x, const floating *residual,
    floating *y, char *own, Py_ssize_t *n0, Py_ssize_t *n1,
) noexcept nogil:
    """The columns n0 to n1 of y (Q, O) = x (Q, I) W + b that are of this part, plus the residual, if there is one.

    In the first part that a thread computes, it rounds x; its memory still has these numbers in the others.
    """
    cdef const Matrix *packed = <const Matrix *>W.packed
    cdef Py_ssize_t Q = step.sizes.Q, O = W.outputs, lanes = VECTOR_BYTES // sizeof(floating), first, last, q, n, i
    cdef const float *b = <const float *>W[1].numbers
    cdef Rounded rows
    cdef float *h
    cdef float *sum
    cdef float *added
    cdef float *sums
    cdef float *product = <float *>(y if residual == NULL else step.branch)
    if packed == NULL:
        lanes *= PACKED if step.sizes.panels else 1
        n0[0], n1[0] = first_column(O, lanes, part, step.parts), first_column(O, lanes, part + 1, step.parts)
        if residual == NULL or step.sizes.floats:
            multiply_numbers(W, step.cached, Q, n0[0], n1[0], x, residual, y, own)
            return
        multiply_numbers(W, step.cached, Q, n0[0], n1[0], x, <const floating *>NULL, <floating *>step.branch, own)
        for q in range(Q):  # the bias comes first, as in the layers
            for n in range(n0[0], n1[0]):
                y[q * O + n] = (<floating *>step.branch)[q * O + n] + residual[q * O + n]
    elif floating is float:
        first, last = part * packed.panels // step.parts, (part + 1) * packed.panels // step.parts
        n0[0], n1[0] = column_of(packed, first), O if last == packed.panels else column_of(packed, last)
        h = <float *>cut(&own, Q * W.rank * sizeof(float))
        sum = <float *>cut(&own, max(W.rank, O) * sizeof(float))
        added = <float *>cut(&own, O * sizeof(float))
        sums = <float *>cut(&own, Q * PANEL * sizeof(float))
        rows = rows_in(own, packed, Q)
        if is_first:
            round_rows(packed, Q, 0, Q, x, &rows)
            round_rests(packed, Q, 0, packed.blocks, x, &rows)
        for q in range(Q if is_first and W.rank > 0 else 0):
            times_row(W.inputs, W.rank, 0, W.rank, x + q * W.inputs, W.A, sum, h + q * W.rank)
        multiply_panels(packed, Q, first, last, &rows, sums, product)
        for q in range(Q if b != NULL or W.rank > 0 or residual != NULL else 0):
            if W.rank > 0:
                times_row(W.rank, O, n0[0], n1[0], h + q * W.rank, W.B, sum, added)
            for n in range(n0[0], n1[0]):  # the sum (x W + b) + (x A) B of the layers, and then the residual
                i = q * O + n
                y[i] = (product[i] + (b[n] if b != NULL else 0) + (added[n] if W.rank > 0 else 0)
                        + (residual[i] if residual != NULL else 0))


cdef Py_ssize_t product_size(const Weight *W, Py_ssize_t Q, Py_ssize_t itemsize) noexcept nogil:
    """The bytes of memory that multiply_columns needs."""
    cdef const Matrix *packed = <const Matrix *>W.packed
    if packed != NULL:
        return (rows_size(packed, Q) + 5 * 64
                + (Q * (W.rank + PANEL) + max(W.rank, W.outputs) + W.outputs) * sizeof(float))
    return ((2 * Q + max(W.inputs, W.outputs)) * sizeof(void *) + scratch_size(Q, W.inputs, False, itemsize)
            + 4 * 64)


# --- attention ----------------------------------------------------------------------


cdef void note_lines(
    Py_ssize_t n, const int64_t *rows, const Kept *kept, Py_ssize_t text, const floating **lines
) noexcept nogil:
    """Addresses of the given n rows of a text, or (NULL) of the first n: of its first head."""
    cdef Py_ssize_t i
    for i in range(n):
        lines[i] = <const floating *>kept.start + text * kept.text + (i if rows == NULL else rows[i]) * kept.line


cdef void look(
    Py_ssize_t end, Py_ssize_t sinks, Py_ssize_t begin, Py_ssize_t width, const floating *query,
    const floating **keys, Py_ssize_t key_head, const floating **values, Py_ssize_t value_head,
    floating *weights, floating *context,
) noexcept nogil:
    """The attention of one query of one head to the sinks, and to the keys from `begin` to `end`."""
    cdef Py_ssize_t i, rest = end - begin, n = rest + sinks, whole = whole_lanes(n)
    cdef const floating *weights_ = weights
    cdef floating *out = context - value_head
    cdef floating scale = <floating>(<double>width ** -0.5)
    if sinks > 0:
        dots(sinks, width, scale, query, keys, key_head, weights)
    dots(rest, width, scale, query, keys + begin, key_head, weights + sinks)
    for i in range(n, whole):
        weights[i] = <floating>-INFINITY
    softmax(whole, weights)
    if sinks > 0:
        multiply_lines(sinks, 1, value_head, value_head + width, sinks, &weights_, values, <const floating *>NULL,
                       False, &out)
        weights_ += sinks
    multiply_lines(rest, 1, value_head, value_head + width, rest, &weights_, values + begin,
                   <const floating *>NULL, sinks > 0, &out)


cdef void look_as_blocks(
    Py_ssize_t end, Py_ssize_t sinks, Py_ssize_t begin, Py_ssize_t left_out, Py_ssize_t width, floating *query,
    const floating *panels, Py_ssize_t columns, const floating **values, Py_ssize_t value_head,
    floating *weights, floating *context,
) noexcept nogil:
    """The same with the bits of attention_blocks.pxi, which reads whole prompts: all sums are in its order.

    The panels have the keys as columns; so a number of a vector is the score of one key, a sum over the width.
    A sum over positions has stretches, which begin at the same positions for all queries: of these, the lines of
    values leave some out behind the sinks.
    """
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), n, first
    cdef int vectors
    cdef const floating *x = query
    cdef floating *out = weights
    for n in range(width):
        query[n] *= <floating>(<double>width ** -0.5)
    n = 0
    while n < end:
        vectors = <int>min(<Py_ssize_t>KEYS, ceil_div(columns - n, lanes))
        tile(1, vectors, width, &x, 1, panels + n * width, vectors * lanes, <const floating **>NULL, &out)
        n += KEYS * lanes
        out += KEYS * lanes
    memmove(<void *>(weights + begin - sinks), <void *>weights, sinks * sizeof(floating))
    x, out = weights + begin - sinks, context - value_head
    softmax_row(end - begin + sinks, weights + begin - sinks)
    if sinks > 0:
        multiply_lines(STRETCH, 1, value_head, value_head + width, sinks, &x, values, <const floating *>NULL, False,
                       &out)
    x += sinks
    first = min(end - begin, STRETCH - (begin + left_out) % STRETCH)
    multiply_lines(STRETCH, 1, value_head, value_head + width, first, &x, values + begin, <const floating *>NULL,
                   sinks > 0, &out)
    x += first
    if begin + first < end:
        multiply_lines(STRETCH, 1, value_head, value_head + width, end - begin - first, &x, values + begin + first,
                       <const floating *>NULL, True, &out)


cdef void attend(const Step *step, Py_ssize_t layer, Py_ssize_t first, Py_ssize_t last, floating *of_type,
                 char *own) noexcept nogil:
    """The context of some heads of some rows; those that share a head of keys follow each other.

    The new keys and values are written into the past by one of the threads that need them.  So all take
    them from the projection.
    """
    cdef Sizes s = step.sizes
    cdef Py_ssize_t w = s.width, G = s.N // s.M, lanes = VECTOR_BYTES // sizeof(floating), i, n, m, b, t, q, of_keys
    cdef Py_ssize_t noted = -1, text = -1, of_past = 0, count = 0, lines = 0, left_out = 0, key, position, begin
    cdef const Kept *keys = step.past + 2 * layer
    cdef const Kept *values = keys + 1
    cdef Py_ssize_t W = step.windows[layer], sinks = step.sinks[layer] if W > 0 else 0
    cdef const int64_t *rows = NULL
    cdef const Weight *of_block = step.weights + OF_MODEL + layer * OF_BLOCK
    cdef floating *query = <floating *>cut(&own, w * sizeof(floating))
    cdef floating *spare = <floating *>cut(&own, w * sizeof(floating))
    cdef floating *new_keys = <floating *>cut(&own, s.T * w * sizeof(floating))
    cdef floating *weights = <floating *>cut(&own, whole_lanes(s.S) * sizeof(floating))
    cdef floating *panels = <floating *>cut(&own, panels_size(&s, sizeof(floating)))
    cdef const floating **key_lines = <const floating **>cut(&own, s.S * sizeof(void *))
    cdef const floating **value_lines = <const floating **>cut(&own, s.S * sizeof(void *))
    cdef floating *context
    for i in range(first, last):
        of_keys, t, n = i // (G * s.T), i // G % s.T, i % G
        b, m = of_keys // s.M, of_keys % s.M
        n += m * G
        if b != text:
            text, count = b, step.start[step.first // s.T + b]
            if step.rows != NULL:
                rows = step.rows + (step.first + b) * step.beams
            of_past = 0 if step.rows != NULL else step.first // s.T + b
            note_lines(count, rows, keys, of_past, key_lines)
            note_lines(count, rows, values, of_past, value_lines)
            # Without the lines between the sinks and the first window.  (No sum here overflows.)
            left_out = max(0, max(0, count + 1 - W) - sinks) if W > 0 else 0
            lines = count - left_out
            if left_out > 0:
                memmove(<void *>(key_lines + sinks), <void *>(key_lines + sinks + left_out),
                        (lines - sinks) * sizeof(void *))
                memmove(<void *>(value_lines + sinks), <void *>(value_lines + sinks + left_out),
                        (lines - sinks) * sizeof(void *))
        if of_keys != noted:
            noted = of_keys
            for q in range(s.T):  # the lines of all others are of the first head
                prepared(step, layer, b * s.T + q, s.N + m, of_block + NORM_K, spare, new_keys + q * w)
                key_lines[lines + q] = new_keys + q * w - m * keys.head
                value_lines[lines + q] = projected(step, b * s.T + q, s.N + s.M + m, of_type) - m * values.head
            if not s.floats:
                pack(panels, KEYS * lanes, key_lines, False, m * keys.head, m * keys.head + w, 0, lines + s.T)
        if n == m * G:
            key = count + t if rows == NULL else rows[count]
            memcpy(<floating *>keys.start + of_past * keys.text + m * keys.head + key * keys.line,
                   key_lines[lines + t] + m * keys.head, w * sizeof(floating))
            memcpy(<floating *>values.start + of_past * values.text + m * values.head + key * values.line,
                   value_lines[lines + t] + m * values.head, w * sizeof(floating))
        prepared(step, layer, b * s.T + t, n, of_block + NORM_Q, spare, query)
        position, context = lines + t + 1, <floating *>step.context + ((b * s.T + t) * s.N + n) * w
        q = min(sinks, position)
        begin = max(q, position - W) if W > 0 else 0
        if s.floats:
            look(position, q, begin, w, <const floating *>query, key_lines, m * keys.head, value_lines,
                 m * values.head, weights, context)
        else:
            look_as_blocks(position, q, begin, left_out, w, query, <const floating *>panels, lines + s.T,
                           value_lines, m * values.head, weights, context)


cdef void look_back(const Step *step, Py_ssize_t layer, Py_ssize_t q, Py_ssize_t n0, Py_ssize_t n1,
                    floating *of_type, char *own) noexcept nogil:
    """The context of heads n0 to n1 of a row, of its source."""
    cdef Sizes s = step.sizes
    cdef const Kept *keys = step.memory + 2 * layer
    cdef const Kept *values = keys + 1
    cdef Py_ssize_t n, text = (step.first + q) // s.K, count = step.lengths[text]
    cdef floating *weights = <floating *>cut(&own, whole_lanes(s.S) * sizeof(floating))
    cdef const floating **key_lines = <const floating **>cut(&own, s.S * sizeof(void *))
    cdef const floating **value_lines = <const floating **>cut(&own, s.S * sizeof(void *))
    note_lines(count, NULL, keys, text, key_lines)
    note_lines(count, NULL, values, text, value_lines)
    for n in range(n0, n1):
        look(count, 0, 0, s.width, <const floating *>step.qkv + q * s.A + n * s.width, key_lines, n * keys.head,
             value_lines, n * values.head, weights, <floating *>step.context + q * s.A + n * s.width)
        if layer == step.shown:
            memcpy(<floating *>step.attention + ((step.first + q) * s.N + n) * step.source, weights,
                   count * sizeof(floating))


cdef inline const floating *projected(
    const Step *step, Py_ssize_t q, Py_ssize_t head, floating *of_type
) noexcept nogil:
    """A head of row q: the N of queries come first, then M of keys and M of values."""
    return <const floating *>step.qkv + q * step.sizes.C + head * step.sizes.width


cdef inline void prepared(
    const Step *step, Py_ssize_t layer, Py_ssize_t q, Py_ssize_t head, const Weight *gain, floating *spare,
    floating *y,
) noexcept nogil:
    """A query or a key of row q, normalised and rotated as the layer does it."""
    cdef Py_ssize_t w = step.sizes.width, table = step.tables[layer], at
    cdef const floating *x = projected(step, q, head, y)
    cdef floating inverse_rms
    if gain.outputs > 0:
        rms_norm_row(w, x, <const floating *>gain.numbers, step.eps, spare, &inverse_rms)
        x = spare
    if table < 0:
        memcpy(y, x, w * sizeof(floating))
        return
    at = table * step.angles + (step.first + q) * (w // 2)
    rotate(w // 2, x, <const floating *>step.cos + at, <const floating *>step.sin + at, y)


# --- the phases of a step -----------------------------------------------------------


cdef void norm_row(const Step *step, const floating *x, const Weight *norm, floating *y) noexcept nogil:
    """y = the layer norm of a row or, without a bias, its RMS norm; or x, if there is none."""
    cdef floating mean, inverse
    if norm.numbers == NULL:
        memcpy(y, x, step.sizes.D * sizeof(floating))
    elif norm[1].numbers == NULL:
        rms_norm_row(step.sizes.D, x, <const floating *>norm.numbers, step.eps, y, &inverse)
    else:
        layer_norm_row(step.sizes.D, x, <const floating *>norm.numbers, <const floating *>norm[1].numbers,
                       step.eps, y, &mean, &inverse)


cdef void add_normed(const Step *step, const Weight *gain, Py_ssize_t part, floating *h) noexcept nogil:
    """x += norm(branch), in some rows; h is memory for a row."""
    cdef Py_ssize_t D = step.sizes.D, Q = step.sizes.Q, q, j
    cdef floating *x = <floating *>step.x
    cdef floating inverse_rms
    for q in range(part * Q // step.parts, (part + 1) * Q // step.parts):
        rms_norm_row(D, <const floating *>step.branch + q * D, <const floating *>gain.numbers, step.eps, h,
                     &inverse_rms)
        for j in range(D):
            x[q * D + j] += h[j]


cdef void gate(const Step *step, const floating *hidden, floating *h) noexcept nogil:
    """h (F,) = gate(first half of a row) * its second half."""
    cdef Py_ssize_t F = step.sizes.F, j
    if not step.gelu:
        swiglu_row(F, hidden, h)
        return
    gelu_block(F, hidden, h)
    for j in range(F):
        h[j] *= hidden[F + j]


cdef void part_of_block(
    const Step *step, Py_ssize_t layer, Phase phase, Py_ssize_t part, bint is_first, floating *of_type, char *own
) noexcept nogil:
    """A part of one phase: some columns, heads or rows.  `is_first`: the thread has not had a part of it."""
    cdef Sizes s = step.sizes
    cdef Py_ssize_t n0, n1, n, q, all = s.Q * s.N
    cdef Py_ssize_t m0 = part * s.M // step.parts, m1 = (part + 1) * s.M // step.parts  # its heads
    cdef Py_ssize_t group = s.N // max(1, s.M) * s.width, keys = s.N * s.width, values = keys + s.M * s.width
    cdef const Weight *w = step.weights + OF_MODEL + layer * OF_BLOCK
    cdef const Weight *norm = NULL
    cdef const Weight *W
    cdef floating *h = <floating *>cut(&own, s.Q * max(s.D, s.F) * sizeof(floating))
    cdef const floating *x = h
    cdef const floating *residual = NULL
    cdef floating *y = <floating *>step.x
    if phase == ATTEND:
        attend(step, layer, part * all // step.parts, (part + 1) * all // step.parts, of_type, own)
        return
    if phase == LOOK_BACK:
        for q in range(s.Q):
            look_back(step, layer, q, part * s.N // step.parts, (part + 1) * s.N // step.parts, of_type, own)
        return
    if phase == ADD_ATTENTION or phase == ADD_FEED_FORWARD:
        w += NORM_OF_ATTENTION if phase == ADD_ATTENTION else NORM_OF_FEED_FORWARD
        add_normed(step, w, part, h)
        return
    if phase == PROJECT:
        norm, W, y = w + NORM_1, w + W_QKV, <floating *>step.qkv
    elif phase == ASK:
        norm, W, y = w + NORM_2, w + W_Q, <floating *>step.qkv
    elif phase == EXPAND:
        norm, W, y = w + NORM_3, w + W_1, <floating *>step.hidden
    elif phase == PREDICT:
        norm, W, y = step.weights, step.weights + OUTPUT, <floating *>step.logits
    elif phase == CONTRACT:
        W = w + W_2
        if not s.gated:
            x = <const floating *>step.hidden + s.Q * s.F
    else:
        W, x = w + (W_O if phase == JOIN else W_OF_CROSS), <const floating *>step.context
    if phase == PREDICT and step.by_rows:
        norm, x = NULL, <const floating *>step.x
    for q in range(s.Q if is_first else 0):
        if norm != NULL:
            norm_row(step, <const floating *>step.x + q * s.D, norm, h + q * s.D)
        elif phase == CONTRACT and s.gated:
            gate(step, <const floating *>step.hidden + 2 * q * s.F, h + q * s.F)
    if norm == NULL and phase != PREDICT:  # a branch ends
        if s.four_norms:
            y = <floating *>step.branch
        else:
            residual = <const floating *>step.residual
    elif step.post_norm and phase != PREDICT:  # it begins, and its input is added to its result
        n0, n1 = part * s.D // step.parts, (part + 1) * s.D // step.parts
        for q in range(s.Q):
            memcpy(<floating *>step.residual + q * s.D + n0, h + q * s.D + n0, (n1 - n0) * sizeof(floating))
    if phase == PROJECT and step.whole_heads and step.parts > 1:
        multiply_numbers(W, step.cached, s.Q, m0 * group, m1 * group, x, residual, y, own)
        multiply_numbers(W, step.cached, s.Q, keys + m0 * s.width, keys + m1 * s.width, x, residual, y, own)
        multiply_numbers(W, step.cached, s.Q, values + m0 * s.width, values + m1 * s.width, x, residual, y, own)
    else:
        multiply_columns(step, W, part, is_first, x, residual, y, own, &n0, &n1)
    if phase == PROJECT and step.whole_heads:
        group = s.T * s.N // s.M
        for q in range(s.Q // s.T):
            attend(step, layer, (q * s.M + m0) * group, (q * s.M + m1) * group, of_type, own)
    for q in range(s.Q if phase == EXPAND and not s.gated else 0):
        x, h = y + q * s.F, y + (s.Q + q) * s.F
        if not step.relu:
            gelu_block(n1 - n0, x + n0, h + n0)
        for n in range(n0, n1 if step.relu else n0):
            h[n] = 0 if x[n] < 0 else x[n]  # NaN stays NaN


cdef void group_of_rows(const Step *step, Py_ssize_t group, floating *of_type, char *own) noexcept nogil:
    """All blocks and the last norm, for a group of rows: they are a step of one part."""
    cdef Step rows = step[0]
    cdef Py_ssize_t D = step.sizes.D, layer, i
    cdef floating *h
    rows.first = group * step.sizes.Q // step.parts
    rows.sizes.Q = (group + 1) * step.sizes.Q // step.parts - rows.first
    rows.parts, rows.x = 1, <floating *>step.x + rows.first * D
    take_activations(&rows, &own, sizeof(floating))
    for layer in range(step.sizes.L):
        for i in range(step.count):
            part_of_block(&rows, layer, step.phases[i], 0, True, of_type, own)
    h = <floating *>own
    for i in range(rows.sizes.Q):
        norm_row(step, <const floating *>rows.x + i * D, step.weights, h)
        memcpy(<floating *>rows.x + i * D, h, D * sizeof(floating))


cdef void parts_of_step(floating *of_type, void *work, Part part) noexcept nogil:
    cdef const Step *step = <const Step *>work
    cdef char *own = step.own + part.me * step.own_each
    cdef Py_ssize_t *noted = <Py_ssize_t *>cut(&own, sizeof(Py_ssize_t))  # this thread's last phase
    cdef Py_ssize_t i, n, last = 1 if step.by_rows else step.count * step.sizes.L
    cdef bint is_first
    for i in range(part.first, part.last):
        n = i // step.parts
        is_first, noted[0] = noted[0] != n, n
        if n == last:
            part_of_block(step, 0, PREDICT, i % step.parts, is_first, of_type, own)
        elif step.by_rows:
            group_of_rows(step, i % step.parts, of_type, own)
        else:
            part_of_block(step, n // step.count, step.phases[n % step.count], i % step.parts, is_first, of_type, own)


# --- the memory of a step -----------------------------------------------------------


cdef inline Py_ssize_t panels_size(const Sizes *s, Py_ssize_t item) noexcept nogil:
    """The bytes of a head's keys in panels, for packed weights."""
    return 0 if s.floats else whole_lanes(s.S) * s.width * item


cdef void take_activations(Step *step, char **room, Py_ssize_t item) noexcept nogil:
    """Memory for the activations of the rows, but for x."""
    cdef Sizes s = step.sizes
    step.residual = cut(room, s.Q * s.D * item) if step.post_norm else step.x
    step.branch = cut(room, s.Q * s.D * item)
    step.qkv, step.context = cut(room, s.Q * s.C * item), cut(room, s.Q * s.A * item)
    step.hidden = cut(room, s.Q * 2 * s.F * item)


cdef inline Py_ssize_t activations_size(const Sizes *s, Py_ssize_t Q, Py_ssize_t item) noexcept nogil:
    return Q * (2 * s.D + s.C + s.A + 2 * s.F) * item + 5 * 64


cdef Py_ssize_t own_size(const Step *step, Py_ssize_t Q, Py_ssize_t all, Py_ssize_t item) noexcept nogil:
    """The bytes of memory that each thread needs for itself, for Q of all rows: whole cache lines."""
    cdef Sizes s = step.sizes
    cdef Py_ssize_t each = ((2 + s.T) * s.width + whole_lanes(s.S)) * item + 2 * s.S * sizeof(void *) + 7 * 64, i
    each += panels_size(&s, item)
    for i in range(OF_MODEL + s.L * OF_BLOCK):
        if step.weights[i].inputs > 0:
            each = max(each, product_size(step.weights + i, all if i == OUTPUT else Q, item))
    each += max(all * s.D, Q * s.F) * item + (activations_size(&s, Q, item) if step.by_rows else 0)
    return ceil_div(each, 64) * 64 + 3 * 64


cdef void choose_phases(Step *step) noexcept nogil:
    cdef Sizes s = step.sizes
    cdef Py_ssize_t phase
    step.count = 0
    for phase in range(PHASES):
        if (phase == ATTEND and step.whole_heads) or (phase in (ASK, LOOK_BACK, JOIN_SOURCE) and not s.crosses):
            continue
        if phase in (ADD_ATTENTION, ADD_FEED_FORWARD) and not s.four_norms:
            continue
        step.phases[step.count] = <Phase>phase
        step.count += 1


# --- the call -----------------------------------------------------------------------


cdef int find_kept(
    list arrays, Py_ssize_t count, Py_ssize_t *shape, Kept *kept, bint written, floating zero
) except -1:
    """The addresses of arrays (texts, M, positions, width), which all have the shape of the first."""
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


def block_step(
    weights, x, cos, sin, list past, const int64_t[::1] start, const int64_t[:, ::1] rows=None, memory=(),
    const int64_t[::1] lengths=None, Py_ssize_t shown=-1,
):
    if not isinstance(weights.addresses, Addresses):
        weights.addresses = Addresses(weights, x.dtype)  # which serve for many steps
    cdef Addresses found = weights.addresses
    if found.dtype == np.float32:
        return run[float](found, x, cos, sin, past, start, rows, memory, lengths, shown)
    return run[double](found, x, cos, sin, past, start, rows, memory, lengths, shown)


cdef run(
    Addresses found, const floating[:, ::1] x, const floating[:, :, ::1] cos,
    const floating[:, :, ::1] sin, list past, const int64_t[::1] start, const int64_t[:, ::1] rows, memory,
    const int64_t[::1] lengths, Py_ssize_t shown,
):
    cdef Step step
    cdef Sizes s = found.sizes
    cdef const Weight *w = found.weights + OF_MODEL
    cdef Py_ssize_t item = sizeof(floating), B = start.shape[0], i, j, Q, groups
    cdef Py_ssize_t[4] kept = [0, 1, 0, 1]
    cdef Py_ssize_t[4] source = [0, 0, 0, 0]
    cdef int threads = threads_for(x.shape[0] * found.size, WORTH_THREADS)
    s.Q, s.S, s.K = x.shape[0], 1, 1
    check(B > 0 and s.Q > 0 and s.Q % B == 0 and x.shape[1] == s.D, "x")
    s.T = s.Q // B
    cdef Workspace addressed = Workspace((4 * s.L + 2) * sizeof(Kept) + 2 * 64)
    step.past = <Kept *>addressed.take((2 * s.L + 1) * sizeof(Kept))
    step.memory = <Kept *>addressed.take((2 * s.L + 1) * sizeof(Kept))
    find_kept(past, 2 * s.L, kept, step.past, True, <floating>0)
    s.M, s.width = kept[1], kept[3]
    s.N = s.A // s.width
    if s.L > 0:
        check(s.N * s.width == s.A and s.N % s.M == 0 and (s.N + 2 * s.M) * s.width == s.C
              and kept[0] == (B if rows is None else 1), "the cache")
        check(w[NORM_Q].outputs in (0, s.width), "the norms of heads")
        check(cos.shape[0] == sin.shape[0] and (cos.shape[0] == 0 or (
            cos.shape[1] == s.Q == sin.shape[1] and 2 * cos.shape[2] == s.width == 2 * sin.shape[2])), "the angles")
    for i in range(s.L):
        check(found.windows[i] >= 0 and found.sinks[i] >= 0 and -1 <= found.tables[i] < cos.shape[0], "the layers")
    check(rows is None or (s.T == 1 and rows.shape[0] == s.Q and rows.shape[1] > 0), "the rows")
    step.rows, step.beams = NULL, 0
    if rows is not None:
        step.rows, step.beams = &rows[0, 0], rows.shape[1]
    for i in range(B if s.L > 0 else 0):
        check(0 <= start[i] <= (kept[2] if rows is None else step.beams) - s.T, "the rows")
        s.S = max(s.S, start[i] + s.T)
        for j in range(start[i] + 1 if rows is not None else 0):
            check(0 <= rows[i, j] < kept[2], "the rows")
    attention = None
    if s.crosses:
        find_kept(list(memory), 2 * s.L, source, step.memory, False, <floating>0)
        check(s.M == s.N == source[1] and source[3] == s.width and s.Q % source[0] == 0 and s.T == 1, "the memory")
        check(lengths is not None and lengths.shape[0] == source[0], "the lengths")
        s.K, step.source, step.lengths = s.Q // source[0], source[2], &lengths[0]
        for i in range(source[0]):
            check(0 <= lengths[i] <= source[2], "the lengths")
            s.S = max(s.S, lengths[i])
        attention = np.zeros((s.Q, s.N, source[2]), found.dtype)
        step.attention, step.shown = address(attention), shown
    step.start, step.first, step.eps = &start[0], 0, found.eps
    if s.L > 0:
        step.windows, step.sinks, step.tables = &found.windows[0], &found.sinks[0], &found.tables[0]
    step.cos = step.sin = NULL
    step.angles = s.Q * (s.width // 2)
    if cos.shape[0] > 0:
        step.cos, step.sin = &cos[0, 0, 0], &sin[0, 0, 0]
    step.post_norm, step.relu, step.gelu = found.post_norm, found.relu, found.gelu
    step.weights, step.cached = found.weights, s.floats and found.size * item <= CACHE
    step.by_rows = s.T == 1 and s.floats and s.L > 0 and (
        s.Q >= LEAST_GROUP * threads if s.panels else step.cached and s.Q > TILE_ROWS(4))
    groups = max(1, min(threads, s.Q // LEAST_GROUP))  # or several times as many
    groups *= ceil_div(s.Q, groups * (PACKED_GROUP if s.panels else GROUP))
    if step.by_rows:
        step.parts = groups
    elif threads == 1 or step.cached:
        step.parts = threads
    else:  # a thread that is late leaves some parts of a phase to others
        step.parts = threads * min(8, 2 + found.size // max(1, s.L) // FEW_WEIGHTS)
    step.whole_heads = s.floats and (step.by_rows or s.M >= step.parts)
    Q, step.sizes = ceil_div(s.Q, groups) if step.by_rows else s.Q, s
    choose_phases(&step)
    step.own_each = own_size(&step, Q, s.Q, item)
    cdef Py_ssize_t size = s.Q * s.D * item + 64 + (0 if step.by_rows else activations_size(&s, s.Q, item))
    cdef Workspace work = Workspace(size + threads * step.own_each + 2 * 64)
    cdef char *room = work.take(size)
    step.own, step.x = work.take(threads * step.own_each), cut(&room, s.Q * s.D * item)
    memcpy(step.x, &x[0, 0], s.Q * s.D * item)
    if not step.by_rows:
        take_activations(&step, &room, item)
    for i in range(threads):
        (<Py_ssize_t *>(step.own + i * step.own_each))[0] = -1
    result = empty((s.Q, s.V), found.dtype)
    step.logits = address(result)
    with nogil:
        share_phases(<Body>parts_of_step[floating], &step, 2 if step.by_rows else step.count * s.L + 1, step.parts,
                     threads)
    return result, attention
