# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The decoder of a Transformer for one token of each row, in one call: the twin of its original.

A GPT is a decoder without cross-attention.  The addresses of the weights are found once, and not at
every token.  The work is divided among the threads in one of two ways.

- Few rows, or more weights than a cache keeps: the time is that of reading the weights.  Each thread has
  its columns of every product, and its heads.  A block has four phases, or six with cross-attention, each
  of which needs all that the one before has computed.  Each part mostly is the same thread's, whose cache
  may still hold these columns of the weights.
- Many rows otherwise: the time is that of the arithmetic.  A part is a group of rows, which passes through all
  blocks at once, since no row needs another.  Its activations stay in the second-level cache.

The logits are a last phase, divided by columns.
"""

from libc.math cimport INFINITY
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from minillm._kernels._pool cimport Workspace, cut, empty
from minillm._kernels._threads cimport (
    Body, Input, Output, Part, are_cores_shared, max_threads, share, share_phases)

include "floating.pxi"
include "gemm.pxi"
include "decoder.pxi"
include "attention.pxi"
include "past.pxi"
include "normalisation.pxi"
include "activations.pxi"

cdef enum:
    OF_MODEL = 5    # weights, in the order of decoder_step.MODEL_WEIGHTS
    OF_BLOCK = 18   # in the order of decoder_step.BLOCK_WEIGHTS
    WORTH_THREADS = 400000   # multiply-adds a token, below which threads would wait for each other
    GROUP = 32      # rows at most, whose activations fit into the second-level cache
    LEAST_GROUP = 4  # rows for which it is worth reading all weights
    CACHE = 16777216  # bytes of weights that the last cache keeps

cdef struct Sizes:
    Py_ssize_t Q, K, D, F, V, N, S, L  # S: the most positions that a query looks at


cdef class Addresses:
    """Where the weights lie, checked; and the arrays, so that they go on lying there."""

    cdef const void **weights
    cdef Sizes sizes
    cdef bint crosses
    cdef object arrays, dtype

    def __cinit__(self, arrays):
        self.arrays = list(arrays)
        self.weights = <const void **>malloc((len(self.arrays) + 1) * sizeof(void *))
        if self.weights == NULL:
            raise MemoryError()
        self.dtype = self.arrays[0].dtype
        if self.dtype == np.float32:
            find_weights[float](self, 0)
        else:
            find_weights[double](self, 0)

    def __dealloc__(self):
        free(self.weights)

    def __reduce__(self):
        return type(None), ()  # whoever loads or copies a model looks for them again


cdef int find_weights(Addresses found, floating zero) except -1:
    cdef Py_ssize_t count = len(found.arrays), i, j
    cdef const floating[:, ::1] matrix
    cdef const floating[::1] vector
    arrays = found.arrays
    check(count >= OF_MODEL + OF_BLOCK and (count - OF_MODEL) % OF_BLOCK == 0, "the list of weights")
    tied, found.crosses = arrays[3] is None, arrays[OF_MODEL + 8] is not None
    check(tied or arrays[2] is None, "the output")
    V, D = arrays[2].shape if tied else arrays[3].shape[::-1]
    F = arrays[OF_MODEL + 14].shape[1]
    norm, affine = [(D,), (D,)], [(D, D), (D,)]
    shapes = [*norm, (V, D), (D, V), (V,)]
    shapes += [*norm, (D, 3 * D), (3 * D,), *affine, *norm, *affine, *affine, *norm, (D, F), (F,), (F, D), (D,)] * (
        (count - OF_MODEL) // OF_BLOCK)
    for i in range(count):
        array = arrays[i]
        found.weights[i] = NULL
        j = (i - OF_MODEL) % OF_BLOCK if i >= OF_MODEL else -1
        if array is None:
            # A norm may be missing; so may the output's other weights, and all of cross-attention.
            norms = i < 2 or j in (0, 1, 6, 7, 12, 13)
            check(norms or 2 <= i < OF_MODEL or (not found.crosses and 6 <= j < 12), f"weight {i}")
            continue
        check(array.shape == shapes[i] and array.size > 0, f"weight {i}")
        check(found.crosses or not 6 <= j < 12, f"weight {i}")
        if array.ndim == 2:
            matrix = array
            found.weights[i] = &matrix[0, 0]
        else:
            vector = array
            found.weights[i] = &vector[0]
    for i in range(count):
        j = (i - OF_MODEL) % OF_BLOCK if i >= OF_MODEL else i
        if i == 0 or (i >= OF_MODEL and j in (0, 6, 12)):
            check((arrays[i] is None) == (arrays[i + 1] is None), f"weight {i}")
    check(not tied or arrays[4] is None, "the output")
    found.sizes.V, found.sizes.D, found.sizes.F = V, D, F
    found.sizes.L = (count - OF_MODEL) // OF_BLOCK
    return 0


cdef enum Phase:  # of a block; the last phase of the step is that of the logits
    ATTEND
    PROJECT
    LOOK_BACK     # at the source
    PROJECT_THAT
    EXPAND
    CONTRACT
    PHASES


cdef struct Step:
    Sizes sizes
    bint crosses, post_norm, relu
    bint cached                  # whether the weights stay in a cache from token to token
    bint by_rows
    Py_ssize_t parts             # of a phase
    const void **weights
    Kept *past                   # keys and values of each block
    Kept *memory
    const int64_t *rows          # (Q, T) of the past; NULL: each row has its own text
    Py_ssize_t T
    const int64_t *counts        # (Q,) positions of the past, the new one included
    const int64_t *lengths       # of the memory
    Py_ssize_t shown             # the layer whose cross-attention is returned
    Output x                     # (Q, D), the activations, in place
    Output logits                # (Q, V)
    Output attention             # (Q, N, S of the memory)
    Py_ssize_t source            # S of the memory
    char *room                   # for the activations of all rows
    char *own                    # memory of each thread for itself
    Py_ssize_t own_each


cdef struct Activations:  # of the M rows of a part, or of all
    Py_ssize_t M
    Output x                     # (M, D), in place
    Output residual              # (M, D), to which a branch is added: x itself, but for post-norm
    Output qkv, context          # (M, 3 D), (M, D)
    Output hidden, activated     # (M, F)


cdef inline Py_ssize_t first_column(
    Py_ssize_t N, Py_ssize_t floats, Py_ssize_t part, Py_ssize_t parts
) noexcept nogil:
    """The first of N columns that are of this part: they are divided by whole vectors."""
    return min(N, part * ceil_div(N, floats) // parts * floats)


cdef Py_ssize_t room_size(const Sizes *s, Py_ssize_t M, Py_ssize_t itemsize) noexcept nogil:
    """The bytes for the activations of M rows: whole cache lines, as another piece may follow."""
    return ceil_div(M * (5 * s.D + 2 * s.F) * itemsize, 64) * 64 + 6 * 64


cdef Py_ssize_t own_size(
    const Sizes *s, Py_ssize_t M, bint by_rows, Py_ssize_t itemsize
) noexcept nogil:
    """The bytes of memory that each thread needs for itself: whole cache lines."""
    cdef Py_ssize_t widest = max(s.D, s.F), word = sizeof(void *)
    cdef Py_ssize_t size = (
        M * s.D * itemsize + whole_lanes(s.S) * itemsize + (widest + 2 * s.S + 4 * s.Q + s.V) * word
        + scratch_size(s.Q, widest, False, itemsize))
    return ceil_div(size, 64) * 64 + 10 * 64 + (room_size(s, M, itemsize) if by_rows else 0)


# --- products -----------------------------------------------------------------------


cdef void affine_columns(
    bint cached, Py_ssize_t M, Py_ssize_t K, Py_ssize_t N, Py_ssize_t n0, Py_ssize_t n1,
    const floating *x, const floating *W, const floating *b, const floating *residual, floating *y,
    char *own,
) noexcept nogil:
    """Columns n0 to n1 of y (M, N) = x (M, K) W (K, N) + b, plus the residual (M, N) if there is one.

    cached: W comes from a cache, and not from memory, which gives long streams fastest.
    """
    cdef Py_ssize_t i, j
    cdef const floating **rows = <const floating **>cut(&own, M * sizeof(void *))
    cdef floating **out = <floating **>cut(&own, M * sizeof(void *))
    cdef const floating **lines = <const floating **>cut(&own, K * sizeof(void *))
    if n1 <= n0:
        return
    for i in range(M):
        rows[i], out[i] = x + i * K, y + i * N
        if residual != NULL:
            for j in range(n0, n1):
                out[i][j] = residual[i * N + j] + b[j]
    for i in range(K):
        lines[i] = W + i * N
    if cached:  # some hundred rows gain less by packing W than that would take
        multiply_few(M, n0, n1, K, rows, lines, b, residual != NULL, out)
    elif M <= TILE_ROWS(4):
        multiply_lines(LINES, M, n0, n1, K, rows, lines, b, residual != NULL, out)
    else:
        multiply_part(0, M, n0, n1, K, rows, False, lines, True, b, residual != NULL, out, own, False)


# --- the phases of a step -----------------------------------------------------------


cdef const floating *normed(
    Py_ssize_t M, Py_ssize_t D, const floating *x, const void *gain, const void *bias, floating *y
) noexcept nogil:
    """The layer norm of M rows, in y; or x, if there is none."""
    cdef floating mean, inverse_std
    cdef Py_ssize_t i
    if gain == NULL:
        return x
    for i in range(M):
        layer_norm_row(D, x + i * D, <const floating *>gain, <const floating *>bias, 1e-5,
                       y + i * D, &mean, &inverse_std)
    return y


cdef const floating *branch_input(
    const Step *step, const Activations *a, const void **w, Py_ssize_t d0, Py_ssize_t d1, floating *h
) noexcept nogil:
    """What a branch reads; its columns d0 to d1 become those of the residual, with post-norm."""
    cdef Py_ssize_t D = step.sizes.D, i
    cdef const floating *y = normed(a.M, D, <const floating *>a.x, w[0], w[1], h)
    if step.post_norm:
        for i in range(a.M):
            memcpy(<floating *>a.residual + i * D + d0, y + i * D + d0, (d1 - d0) * sizeof(floating))
    return y


cdef void attend(
    const Step *step, const Activations *a, Py_ssize_t q0, Py_ssize_t layer, Py_ssize_t n0,
    Py_ssize_t n1, floating *of_type, char *own,
) noexcept nogil:
    """Heads n0 to n1: the new keys and values, and the context."""
    cdef Py_ssize_t D = step.sizes.D, width = D // step.sizes.N, S = step.sizes.S, i, n, count, text
    cdef const Kept *keys = step.past + 2 * layer
    cdef const Kept *values = keys + 1
    cdef const int64_t *rows = NULL
    cdef floating *weights = <floating *>cut(&own, whole_lanes(S) * sizeof(floating))
    cdef const floating **key_lines = <const floating **>cut(&own, S * sizeof(void *))
    cdef const floating **value_lines = <const floating **>cut(&own, S * sizeof(void *))
    cdef floating *q
    for i in range(a.M):
        text, count = q0 + i, step.counts[q0 + i]
        if step.rows != NULL:
            text, rows = 0, step.rows + (q0 + i) * step.T
        note_lines(count, rows, keys, text, key_lines)
        note_lines(count, rows, values, text, value_lines)
        for n in range(n0, n1):
            q = <floating *>a.qkv + i * 3 * D + n * width
            memcpy(<floating *>key_lines[count - 1] + n * keys.head, q + D, width * sizeof(floating))
            memcpy(<floating *>value_lines[count - 1] + n * values.head, q + 2 * D,
                   width * sizeof(floating))
            look(count, width, <const floating *>q, key_lines, n * keys.head, value_lines,
                 n * values.head, weights, <floating *>a.context + i * D + n * width)


cdef void look_back(
    const Step *step, const Activations *a, Py_ssize_t q0, Py_ssize_t layer, Py_ssize_t n0,
    Py_ssize_t n1, floating *of_type, char *own,
) noexcept nogil:
    """Heads n0 to n1 of cross-attention: the context of the source."""
    cdef Py_ssize_t D = step.sizes.D, N = step.sizes.N, width = D // N, S = step.sizes.S
    cdef Py_ssize_t i, n, text, length
    cdef const Kept *keys = step.memory + 2 * layer
    cdef const Kept *values = keys + 1
    cdef floating *weights = <floating *>cut(&own, whole_lanes(S) * sizeof(floating))
    cdef const floating **key_lines = <const floating **>cut(&own, S * sizeof(void *))
    cdef const floating **value_lines = <const floating **>cut(&own, S * sizeof(void *))
    for i in range(a.M):
        text = (q0 + i) // step.sizes.K
        length = step.lengths[text]
        note_lines(length, NULL, keys, text, key_lines)
        note_lines(length, NULL, values, text, value_lines)
        for n in range(n0, n1):
            look(length, width, <const floating *>a.qkv + i * D + n * width, key_lines, n * keys.head,
                 value_lines, n * values.head, weights, <floating *>a.context + i * D + n * width)
            if layer == step.shown:
                memcpy(<floating *>step.attention + ((q0 + i) * N + n) * step.source, weights,
                       length * sizeof(floating))


cdef void activate(bint relu, Py_ssize_t n, const floating *x, floating *y) noexcept nogil:
    cdef Py_ssize_t j
    if relu:
        for j in range(n):
            y[j] = 0 if x[j] < 0 else x[j]  # NaN stays NaN
    else:
        gelu_block(n, x, y)


cdef void part_of_block(
    const Step *step, const Activations *a, Py_ssize_t q0, Py_ssize_t layer, int phase,
    Py_ssize_t part, Py_ssize_t parts, floating *of_type, char *own,
) noexcept nogil:
    """A part of one phase of a block: some columns or heads, of the rows from q0 on."""
    cdef Sizes s = step.sizes
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), M = a.M, D = s.D, F = s.F, i
    cdef Py_ssize_t n0 = part * s.N // parts, n1 = (part + 1) * s.N // parts, third
    cdef Py_ssize_t c0 = n0 * (D // s.N), c1 = n1 * (D // s.N)  # the columns of these heads
    cdef Py_ssize_t d0 = first_column(D, lanes, part, parts), d1 = first_column(D, lanes, part + 1, parts)
    cdef Py_ssize_t f0 = first_column(F, lanes, part, parts), f1 = first_column(F, lanes, part + 1, parts)
    cdef const void **w = step.weights + OF_MODEL + layer * OF_BLOCK
    cdef floating *h = <floating *>cut(&own, M * D * sizeof(floating))
    cdef const floating *y
    if phase == ATTEND:
        y = branch_input(step, a, w, d0, d1, h)
        if parts == 1:
            affine_columns(step.cached, M, D, 3 * D, 0, 3 * D, y, <const floating *>w[2],
                           <const floating *>w[3], <const floating *>NULL, <floating *>a.qkv, own)
        else:
            for third in range(3):
                affine_columns(step.cached, M, D, 3 * D, third * D + c0, third * D + c1, y,
                               <const floating *>w[2], <const floating *>w[3], <const floating *>NULL,
                               <floating *>a.qkv, own)
        attend(step, a, q0, layer, n0, n1, of_type, own)
    elif phase == LOOK_BACK:
        y = branch_input(step, a, w + 6, d0, d1, h)
        affine_columns(step.cached, M, D, D, c0, c1, y, <const floating *>w[8], <const floating *>w[9],
                       <const floating *>NULL, <floating *>a.qkv, own)
        look_back(step, a, q0, layer, n0, n1, of_type, own)
    elif phase == PROJECT or phase == PROJECT_THAT:
        w += 4 if phase == PROJECT else 10
        affine_columns(step.cached, M, D, D, d0, d1, <const floating *>a.context, <const floating *>w[0],
                       <const floating *>w[1], <const floating *>a.residual, <floating *>a.x, own)
    elif phase == EXPAND:
        y = branch_input(step, a, w + 12, d0, d1, h)
        affine_columns(step.cached, M, D, F, f0, f1, y, <const floating *>w[14], <const floating *>w[15],
                       <const floating *>NULL, <floating *>a.hidden, own)
        for i in range(M):
            activate(step.relu, f1 - f0, <const floating *>a.hidden + i * F + f0,
                     <floating *>a.activated + i * F + f0)
    else:
        affine_columns(step.cached, M, F, D, d0, d1, <const floating *>a.activated, <const floating *>w[16],
                       <const floating *>w[17], <const floating *>a.residual, <floating *>a.x, own)


cdef Activations activations_of(
    const Step *step, Py_ssize_t q0, Py_ssize_t M, char *room, floating *of_type
) noexcept nogil:
    cdef Activations a
    cdef Py_ssize_t D = step.sizes.D, F = step.sizes.F
    a.M, a.x = M, <floating *>step.x + q0 * D
    a.residual = cut(&room, M * D * sizeof(floating)) if step.post_norm else a.x
    a.qkv, a.context = cut(&room, 3 * M * D * sizeof(floating)), cut(&room, M * D * sizeof(floating))
    a.hidden, a.activated = cut(&room, M * F * sizeof(floating)), cut(&room, M * F * sizeof(floating))
    return a


cdef void group_of_rows(const Step *step, Py_ssize_t group, floating *of_type, char *own) noexcept nogil:
    """All blocks and the last norm, for a group of rows."""
    cdef Py_ssize_t Q = step.sizes.Q, D = step.sizes.D, layer
    cdef Py_ssize_t q0 = group * Q // step.parts, M = (group + 1) * Q // step.parts - q0
    cdef Activations a = activations_of[floating](step, q0, M, own, of_type)
    cdef Py_ssize_t phase
    cdef const floating *y
    own += room_size(&step.sizes, M, sizeof(floating))
    for layer in range(step.sizes.L):
        for phase in range(PHASES):
            if step.crosses or (phase != LOOK_BACK and phase != PROJECT_THAT):
                part_of_block(step, &a, q0, layer, <int>phase, 0, 1, of_type, own)
    y = normed(M, D, <const floating *>a.x, step.weights[0], step.weights[1], <floating *>own)
    memcpy(a.x, y, M * D * sizeof(floating))


cdef void part_of_logits(const Step *step, Py_ssize_t part, floating *of_type, char *own) noexcept nogil:
    """Columns of the logits, y E^T or y W + b; few rows are not normed yet."""
    cdef Sizes s = step.sizes
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), v, q, count
    cdef Py_ssize_t v0 = first_column(s.V, lanes, part, step.parts)
    cdef Py_ssize_t v1 = first_column(s.V, lanes, part + 1, step.parts)
    cdef const floating *E = <const floating *>step.weights[2]
    cdef const floating *y = <const floating *>step.x
    cdef floating *logits = <floating *>step.logits
    cdef floating *h = <floating *>cut(&own, 0 if step.by_rows else s.Q * s.D * sizeof(floating))
    cdef const floating **rows
    cdef const floating **lines
    cdef floating **out
    if not step.by_rows:
        y = normed(s.Q, s.D, y, step.weights[0], step.weights[1], h)
    if E == NULL:
        affine_columns(step.cached, s.Q, s.D, s.V, v0, v1, y, <const floating *>step.weights[3],
                       <const floating *>step.weights[4], <const floating *>NULL, logits, own)
        return
    lines = <const floating **>cut(&own, s.V * sizeof(void *))
    for v in range(s.V):
        lines[v] = E + v * s.D
    if s.Q > TILE_ROWS(4):
        rows = <const floating **>cut(&own, s.Q * sizeof(void *))
        out = <floating **>cut(&own, s.Q * sizeof(void *))
        for q in range(s.Q):
            rows[q], out[q] = y + q * s.D, logits + q * s.V
        multiply_part(0, s.Q, v0, v1, s.D, rows, False, lines, False, <const floating *>NULL, False, out,
                      own, False)
        return
    while v0 < v1:  # rows of E by dozens: all rows of y pass over them while they are near
        count = min(32, v1 - v0)
        for q in range(s.Q):
            dots(count, s.D, <floating>1, y + q * s.D, lines + v0, 0, logits + q * s.V + v0)
        v0 += count


cdef void parts_of_step(floating *of_type, void *work, Part part) noexcept nogil:
    cdef const Step *step = <const Step *>work
    cdef Py_ssize_t of_block = PHASES if step.crosses else PHASES - 2, i, phase, of_one
    cdef Activations a
    cdef char *own = step.own + part.me * step.own_each
    for i in range(part.first, part.last):
        phase, of_one = i // step.parts, i % step.parts
        if phase == (1 if step.by_rows else of_block * step.sizes.L):
            part_of_logits(step, of_one, of_type, own)
        elif step.by_rows:
            group_of_rows(step, of_one, of_type, own)
        else:
            a = activations_of[floating](step, 0, step.sizes.Q, step.room, of_type)
            part_of_block(
                step, &a, 0, phase // of_block,
                <int>(phase % of_block + (0 if step.crosses or phase % of_block < 2 else 2)),
                of_one, step.parts, of_type, own)


# --- the call -----------------------------------------------------------------------


def decoder_step(
    weights, x, list past, const int64_t[:, ::1] rows, const int64_t[::1] counts, list memory,
    const int64_t[::1] lengths, Py_ssize_t shown,
):
    addresses = weights.addresses
    if not isinstance(addresses, Addresses):
        addresses = weights.addresses = Addresses(weights.arrays)
    cdef Step step
    step.crosses, step.shown = (<Addresses>addresses).crosses, shown
    step.post_norm, step.relu = weights.post_norm, weights.relu
    if (<Addresses>addresses).dtype == np.float32:
        return run[float](step, addresses, x, past, rows, counts, memory, lengths)
    return run[double](step, addresses, x, past, rows, counts, memory, lengths)


cdef run(
    Step step, Addresses addresses, const floating[:, ::1] x, list past, const int64_t[:, ::1] rows,
    const int64_t[::1] counts, list memory, const int64_t[::1] lengths,
):
    cdef Sizes s = addresses.sizes
    cdef floating[:, ::1] logits
    cdef floating[:, :, ::1] attention
    cdef Py_ssize_t item = sizeof(floating), i, j, each, M, groups
    cdef Py_ssize_t[4] kept
    cdef Py_ssize_t[4] source
    cdef int threads = max_threads()
    cdef Workspace addressed = Workspace(4 * s.L * sizeof(Kept) + 2 * 64)
    s.Q, s.K, s.S = x.shape[0], 1, 1
    check(s.Q > 0 and x.shape[1] == s.D, "x")
    step.past = <Kept *>addressed.take(2 * s.L * sizeof(Kept))
    step.memory = <Kept *>addressed.take(2 * s.L * sizeof(Kept))
    find_kept(past, 2 * s.L, kept, step.past, True, <floating>0)
    s.N = kept[1]
    check(kept[1] * kept[3] == s.D and kept[0] == (s.Q if rows is None else 1), "the cache")
    check(counts.shape[0] == s.Q and (rows is None or rows.shape[0] == s.Q), "the rows")
    step.T = kept[2] if rows is None else rows.shape[1]
    for i in range(s.Q):
        check(0 < counts[i] <= step.T, "the rows")
        s.S = max(s.S, counts[i])
        for j in range(counts[i] if rows is not None else 0):
            check(0 <= rows[i, j] < kept[2], "the rows")
    step.rows, step.counts = NULL, &counts[0]
    if rows is not None:
        step.rows = &rows[0, 0]
    shown = None
    if step.crosses:
        find_kept(memory, 2 * s.L, source, step.memory, False, <floating>0)
        check(source[1] == s.N and source[3] == kept[3] and s.Q % source[0] == 0, "the memory")
        check(lengths is not None and lengths.shape[0] == source[0], "the lengths")
        s.K, step.source, step.lengths = s.Q // source[0], source[2], &lengths[0]
        for i in range(source[0]):
            check(0 <= lengths[i] <= source[2], "the lengths")
            s.S = max(s.S, lengths[i])
        shown = np.zeros((s.Q, s.N, source[2]), addresses.dtype)
        attention = shown
        step.attention = &attention[0, 0, 0]
    each = s.D * (s.V + s.L * ((6 if step.crosses else 4) * s.D + 2 * s.F))  # weights
    step.cached = each * item <= CACHE
    if s.Q * each < WORTH_THREADS or are_cores_shared():
        threads = 1
    step.by_rows = step.cached and s.Q > TILE_ROWS(4)
    groups = max(ceil_div(s.Q, GROUP), min(threads, s.Q // LEAST_GROUP))
    step.parts = groups if step.by_rows else threads
    M = ceil_div(s.Q, groups) if step.by_rows else s.Q
    each = own_size(&s, M, step.by_rows, item)
    cdef Workspace work = Workspace(
        s.Q * s.D * item + (0 if step.by_rows else room_size(&s, M, item)) + threads * each + 4 * 64)
    step.sizes, step.weights, step.own_each = s, addresses.weights, each
    step.x = work.take(s.Q * s.D * item)
    memcpy(step.x, &x[0, 0], s.Q * s.D * item)
    step.room = work.take(0 if step.by_rows else room_size(&s, M, item))
    step.own = work.take(threads * each)
    result = empty((s.Q, s.V), addresses.dtype)
    logits = result
    step.logits = &logits[0, 0]
    with nogil:
        share_phases(
            <Body>parts_of_step[floating], &step,
            2 if step.by_rows else (PHASES if step.crosses else PHASES - 2) * s.L + 1, step.parts, threads)
    return result, shown
