# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The decoder of a Transformer for one token of each row, in one call: the twin of its original.

A GPT is a decoder without cross-attention, and an output layer alone is one without blocks.  The addresses
of the weights are found once, and not at every token.  A translator begins each search with new ones: for it
and for an output layer, the weights are copied into panels, which a step reads in one stream.  The work is
divided among the threads in one of two ways.

- Few rows, or more weights than a cache keeps: reading the weights takes most of the time.  Each thread has
  its columns of every product, and its heads.  A block has four phases, or six with cross-attention.  A phase
  needs everything that the phase before has computed.  A part mostly goes to the same thread, whose cache
  may still hold these columns of the weights.
- Many rows otherwise, or a few if the weights are panels: the arithmetic takes most of the time.  A part is a
  group of rows, which passes through all blocks at once, since no row needs another.  Its activations stay in
  the second-level cache.

The logits are a last phase, divided by columns.
"""

cdef enum:
    OF_MODEL = 5    # weights, in the order of DecoderWeights.arrays
    OF_BLOCK = 18   # of each block, in that order
    GROUP = 32      # rows at most, whose activations fit into the second-level cache
    PACKED_GROUP = 128        # the same for panels: of one block alone, whose weights are read less often
    LEAST_GROUP = 4           # rows for which it is worth reading all weights
    CACHE = 16777216          # bytes of weights that the last cache keeps
    WORTH_PACKING = 67108864  # bytes of weights at most, which are then in memory twice

cdef struct Sizes:
    Py_ssize_t Q, K, D, F, V, N, S, L  # S: the most positions that a query looks at
    bint tied, crosses

include "step.pxi"


cdef int find_weights(Addresses found, floating zero) except -1:
    cdef Py_ssize_t count = len(found.arrays), L = (count - OF_MODEL) // OF_BLOCK, i, j
    arrays = found.arrays
    check(L >= 0 and OF_MODEL + L * OF_BLOCK == count, "the list of weights")
    tied, crosses = arrays[3] is None, L > 0 and arrays[OF_MODEL + 8] is not None
    check(tied or arrays[2] is None, "the output")
    V, D = arrays[2].shape if tied else arrays[3].shape[::-1]
    F = arrays[OF_MODEL + 14].shape[1] if L > 0 else 0
    norm, affine = [(D,), (D,)], [(D, D), (D,)]
    shapes = [*norm, (V, D), (D, V), (V,)]
    shapes += [*norm, (D, 3 * D), (3 * D,), *affine, *norm, *affine, *affine, *norm, (D, F), (F,), (F, D), (D,)] * L
    for i in range(count):
        array = arrays[i]
        j = (i - OF_MODEL) % OF_BLOCK if i >= OF_MODEL else -1
        if array is None:
            # A norm may be missing; so may the output's other weights, and all of cross-attention.
            norms = i < 2 or j in (0, 1, 6, 7, 12, 13)
            check(norms or 2 <= i < OF_MODEL or (not crosses and 6 <= j < 12), f"weight {i}")
            continue
        check(array.shape == shapes[i] and array.size > 0, f"weight {i}")
        check(crosses or not 6 <= j < 12, f"weight {i}")
        find_numbers(found.weights + i, array, i == 2, zero)
    for i in range(count):
        j = (i - OF_MODEL) % OF_BLOCK if i >= OF_MODEL else i
        if i == 0 or (i >= OF_MODEL and j in (0, 6, 12)):
            check((arrays[i] is None) == (arrays[i + 1] is None), f"weight {i}")
    check(not tied or arrays[4] is None, "the output")
    found.sizes.V, found.sizes.D, found.sizes.F, found.sizes.L = V, D, F, L
    found.sizes.tied, found.sizes.crosses = tied, crosses
    found.size = D * (V + L * ((6 if crosses else 4) * D + 2 * F))
    if (crosses or L == 0) and found.size * <Py_ssize_t>sizeof(floating) <= WORTH_PACKING:
        for i in range(count):
            if found.weights[i].inputs > 0:
                pack_weight(found, found.weights + i, zero)
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


cdef enum Phase:  # of a block; the last phase of the step computes the logits
    ATTEND
    PROJECT
    LOOK_BACK     # at the source
    PROJECT_THAT
    EXPAND
    CONTRACT
    PHASES


cdef struct Step:
    Sizes sizes
    bint post_norm, relu
    bint cached                  # whether the weights stay in a cache from token to token
    bint packed                  # whether they are panels
    bint by_rows
    Py_ssize_t parts             # of a phase
    const Weight *weights
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
    cdef Py_ssize_t size = (
        (M * s.D + whole_lanes(s.S)) * itemsize + 2 * s.S * sizeof(void *)
        + numbers_size(s.Q, max(s.D, s.F), s.V, itemsize))
    return ceil_div(size, 64) * 64 + 4 * 64 + (room_size(s, M, itemsize) if by_rows else 0)


# --- the phases of a step -----------------------------------------------------------


cdef const floating *normed(
    Py_ssize_t M, Py_ssize_t D, const floating *x, const Weight *norm, floating *y
) noexcept nogil:
    """The layer norm of M rows, in y; or x, if there is none."""
    cdef floating mean, inverse_std
    cdef Py_ssize_t i
    if norm.numbers == NULL:
        return x
    for i in range(M):
        layer_norm_row(D, x + i * D, <const floating *>norm.numbers, <const floating *>norm[1].numbers, 1e-5,
                       y + i * D, &mean, &inverse_std)
    return y


cdef void attend(
    const Step *step, const Activations *a, Py_ssize_t q0, Py_ssize_t layer, bint back, Py_ssize_t n0,
    Py_ssize_t n1, floating *of_type, char *own,
) noexcept nogil:
    """The context of heads n0 to n1: of the past, to which the new keys and values are added, or of the source."""
    cdef Py_ssize_t D = step.sizes.D, N = step.sizes.N, width = D // N, S = step.sizes.S, i, n, count, text
    cdef const Kept *keys = (step.memory if back else step.past) + 2 * layer
    cdef const Kept *values = keys + 1
    cdef const int64_t *rows = NULL
    cdef floating *weights = <floating *>cut(&own, whole_lanes(S) * sizeof(floating))
    cdef const floating **key_lines = <const floating **>cut(&own, S * sizeof(void *))
    cdef const floating **value_lines = <const floating **>cut(&own, S * sizeof(void *))
    cdef floating *q
    for i in range(a.M):
        text = (q0 + i) // step.sizes.K if back else q0 + i
        count = step.lengths[text] if back else step.counts[text]
        if step.rows != NULL and not back:
            text, rows = 0, step.rows + text * step.T
        note_lines(count, rows, keys, text * keys.text, key_lines)
        note_lines(count, rows, values, text * values.text, value_lines)
        for n in range(n0, n1):
            q = <floating *>a.qkv + i * (D if back else 3 * D) + n * width
            if not back:
                memcpy(<floating *>key_lines[count - 1] + n * keys.head, q + D, width * sizeof(floating))
                memcpy(<floating *>value_lines[count - 1] + n * values.head, q + 2 * D, width * sizeof(floating))
            look(count, width, <const floating *>q, key_lines, n * keys.head, value_lines,
                 n * values.head, weights, <floating *>a.context + i * D + n * width)
            if back and layer == step.shown:
                memcpy(<floating *>step.attention + ((q0 + i) * N + n) * step.source, weights,
                       count * sizeof(floating))


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
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), M = a.M, D = s.D, F = s.F, i, third
    cdef Py_ssize_t n0 = part * s.N // parts, n1 = (part + 1) * s.N // parts
    cdef Py_ssize_t c0 = n0 * (D // s.N), c1 = n1 * (D // s.N)  # the columns of these heads
    cdef Py_ssize_t d0 = first_column(D, lanes, part, parts), d1 = first_column(D, lanes, part + 1, parts)
    cdef Py_ssize_t f0 = first_column(F, lanes, part, parts), f1 = first_column(F, lanes, part + 1, parts)
    cdef const Weight *w = step.weights + OF_MODEL + layer * OF_BLOCK
    cdef floating *h = <floating *>cut(&own, M * D * sizeof(floating))
    cdef floating *qkv = <floating *>a.qkv
    cdef floating *hidden = <floating *>a.hidden
    cdef const floating *y = NULL
    if phase == ATTEND or phase == LOOK_BACK or phase == EXPAND:  # a branch begins
        w += 0 if phase == ATTEND else 6 if phase == LOOK_BACK else 12
        y = normed(M, D, <const floating *>a.x, w, h)
        for i in range(M if step.post_norm else 0):
            memcpy(<floating *>a.residual + i * D + d0, y + i * D + d0, (d1 - d0) * sizeof(floating))
        w += 2
    if phase == ATTEND and parts == 1:
        multiply_numbers(w, w[1].numbers, step.cached, M, 0, 3 * D, y, NULL, qkv, own)
    elif phase == ATTEND:
        for third in range(3):
            multiply_numbers(w, w[1].numbers, step.cached, M, third * D + c0, third * D + c1, y, NULL, qkv, own)
    elif phase == LOOK_BACK:
        multiply_numbers(w, w[1].numbers, step.cached, M, c0, c1, y, NULL, qkv, own)
    elif phase == EXPAND:
        multiply_numbers(w, w[1].numbers, step.cached, M, f0, f1, y, NULL, hidden, own)
        for i in range(M):
            activate(step.relu, f1 - f0, <const floating *>hidden + i * F + f0,
                     <floating *>a.activated + i * F + f0)
    else:  # it ends
        w += 4 if phase == PROJECT else 10 if phase == PROJECT_THAT else 16
        multiply_numbers(w, w[1].numbers, step.cached, M, d0, d1, a.activated if phase == CONTRACT else a.context,
                         a.residual, <floating *>a.x, own)
    if phase == ATTEND or phase == LOOK_BACK:
        attend(step, a, q0, layer, phase == LOOK_BACK, n0, n1, of_type, own)


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
            if step.sizes.crosses or (phase != LOOK_BACK and phase != PROJECT_THAT):
                part_of_block(step, &a, q0, layer, <int>phase, 0, 1, of_type, own)
    y = normed(M, D, <const floating *>a.x, step.weights, <floating *>own)
    memcpy(a.x, y, M * D * sizeof(floating))


cdef void part_of_logits(const Step *step, Py_ssize_t part, floating *of_type, char *own) noexcept nogil:
    """Columns of the logits, y E^T or y W + b; few rows are not normed yet."""
    cdef Sizes s = step.sizes
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating) * (PACKED if step.packed else 1)
    cdef const floating *y = <const floating *>step.x
    cdef floating *h = <floating *>cut(&own, 0 if step.by_rows else s.Q * s.D * sizeof(floating))
    if not step.by_rows:
        y = normed(s.Q, s.D, y, step.weights, h)
    multiply_numbers(step.weights + (2 if s.tied else 3), step.weights[4].numbers, step.cached, s.Q,
                     first_column(s.V, lanes, part, step.parts), first_column(s.V, lanes, part + 1, step.parts), y,
                     NULL, <floating *>step.logits, own)


cdef void parts_of_step(floating *of_type, void *work, Part part) noexcept nogil:
    cdef const Step *step = <const Step *>work
    cdef Py_ssize_t of_block = phases_of(&step.sizes), i, phase, of_one
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
                <int>(phase % of_block + (0 if step.sizes.crosses or phase % of_block < 2 else 2)),
                of_one, step.parts, of_type, own)


cdef inline Py_ssize_t phases_of(const Sizes *s) noexcept nogil:
    return PHASES if s.crosses else PHASES - 2


# --- the call -----------------------------------------------------------------------


def decoder_step(
    weights, x, list past, const int64_t[:, ::1] rows, const int64_t[::1] counts, list memory,
    const int64_t[::1] lengths, Py_ssize_t shown,
):
    cdef Addresses found = addresses_of(weights, x)
    cdef Step step
    step.shown, step.post_norm, step.relu = shown, weights.post_norm, weights.relu
    if found.dtype == np.float32:
        return run[float](step, found, x, past, rows, counts, memory, lengths)
    return run[double](step, found, x, past, rows, counts, memory, lengths)


cdef run(
    Step step, Addresses found, const floating[:, ::1] x, list past, const int64_t[:, ::1] rows,
    const int64_t[::1] counts, list memory, const int64_t[::1] lengths,
):
    cdef Sizes s = found.sizes
    cdef Py_ssize_t item = sizeof(floating), i, j, each, M, groups
    cdef Py_ssize_t[4] kept
    cdef Py_ssize_t[4] source
    cdef int threads
    cdef Workspace addressed = Workspace(4 * s.L * sizeof(Kept) + 2 * 64)
    s.Q, s.K, s.S = x.shape[0], 1, 1
    check(s.Q > 0 and x.shape[1] == s.D, "x")
    step.past = <Kept *>addressed.take(2 * s.L * sizeof(Kept))
    step.memory = <Kept *>addressed.take(2 * s.L * sizeof(Kept))
    kept = [1 if rows is not None else s.Q, 1, 1, s.D]
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
    if s.crosses:
        find_kept(memory, 2 * s.L, source, step.memory, False, <floating>0)
        check(source[1] == s.N and source[3] == kept[3] and s.Q % source[0] == 0, "the memory")
        check(lengths is not None and lengths.shape[0] == source[0], "the lengths")
        s.K, step.source, step.lengths = s.Q // source[0], source[2], &lengths[0]
        for i in range(source[0]):
            check(0 <= lengths[i] <= source[2], "the lengths")
            s.S = max(s.S, lengths[i])
        shown = np.zeros((s.Q, s.N, source[2]), found.dtype)
        step.attention = address(shown)
    step.cached = found.size * item <= CACHE
    threads = threads_for(s.Q * found.size, WORTH_THREADS)
    step.packed = found.parts
    step.by_rows = s.L > 0 and s.Q >= LEAST_GROUP * threads if step.packed else step.cached and s.Q > TILE_ROWS(4)
    groups = max(1, min(threads, s.Q // LEAST_GROUP))  # or several times as many
    groups *= ceil_div(s.Q, groups * (PACKED_GROUP if step.packed else GROUP))
    step.parts = groups if step.by_rows else threads
    M = ceil_div(s.Q, groups) if step.by_rows else s.Q
    each = own_size(&s, M, step.by_rows, item)
    cdef Workspace work = Workspace(
        s.Q * s.D * item + (0 if step.by_rows else room_size(&s, M, item)) + threads * each + 4 * 64)
    step.sizes, step.weights, step.own_each = s, found.weights, each
    step.x = work.take(s.Q * s.D * item)
    memcpy(step.x, &x[0, 0], s.Q * s.D * item)
    step.room = work.take(0 if step.by_rows else room_size(&s, M, item))
    step.own = work.take(threads * each)
    result = empty((s.Q, s.V), found.dtype)
    step.logits = address(result)
    with nogil:
        share_phases(<Body>parts_of_step[floating], &step, 2 if step.by_rows else phases_of(&s) * s.L + 1,
                     step.parts, threads)
    return result, shown
