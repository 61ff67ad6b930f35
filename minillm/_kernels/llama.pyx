# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""A Llama for a few tokens of each text, in one call: the twin of its original.

Reading the weights, which are packed (quantised.pxi) or floats, takes most of the time.  Each thread has its
columns of every product, and its heads.  A block has five phases.  A phase needs everything that the phase
before has computed.  Each thread computes the input of a phase, a norm or a gated row, for itself: this takes
less time than waiting for another phase.  Where the result of a branch is normalised before it is added, which
needs whole rows of it, the sum is a phase of its own.
"""

cdef extern from *:
    """
    /* Columns n0 to n1 of y (Q, O) += x W, with x (Q, I), W (I, O). */
    static void add_product(Py_ssize_t Q, Py_ssize_t I, Py_ssize_t O, Py_ssize_t n0, Py_ssize_t n1,
                            const float *restrict x, const float *restrict W, float *restrict y) {
        for (Py_ssize_t q = 0; q < Q; q++, x += I, y += O)
            for (Py_ssize_t i = 0; i < I; i++)
                for (Py_ssize_t n = n0; n < n1; n++) y[n] += x[i] * W[i * O + n];
    }
    """
    void add_product(Py_ssize_t Q, Py_ssize_t I, Py_ssize_t O, Py_ssize_t n0, Py_ssize_t n1, const float *x,
                     const float *W, float *y) noexcept nogil

cdef enum:
    OF_MODEL = 3    # weights, in the order of LlamaWeights.arrays
    OF_BLOCK = 11   # of each block, in that order; 3 to 7 of them need not be there
    FEW_WEIGHTS = 5000000  # of a block, for which two parts of a phase are enough for each thread
    NORM_1 = 0
    W_QKV = 1
    W_O = 2
    NORM_2 = 3
    W_GATE_UP = 4
    W_DOWN = 5
    B_QKV = 6
    NORM_Q = 7
    NORM_K = 8
    NORM_OF_ATTENTION = 9
    NORM_OF_FEED_FORWARD = 10

cdef struct Sizes:
    Py_ssize_t Q, T, D, F, N, M, width, V, S, L  # S: the most positions that a query looks at

include "step.pxi"
include "rotary.pxi"
include "quantised.pxi"


cdef int find_weights(Addresses found, floating zero) except -1:
    cdef Py_ssize_t count = len(found.arrays), L = (count - OF_MODEL) // OF_BLOCK, i
    cdef Weight *w
    cdef const Weight *first = found.weights + OF_MODEL
    cdef const Weight *output
    cdef Sizes *s = &found.sizes
    cdef Parts parts
    check(L > 0 and OF_MODEL + L * OF_BLOCK == count, "the list of weights")
    for i in range(count):
        w, array = found.weights + i, found.arrays[i]
        if array is None:
            check(i in (1, 2) or (i >= OF_MODEL and (i - OF_MODEL) % OF_BLOCK >= B_QKV), f"weight {i}")
            continue
        W = getattr(array, "W", array)
        is_matrix = i > 0 and (i < OF_MODEL or (i - OF_MODEL) % OF_BLOCK in (W_QKV, W_O, W_GATE_UP, W_DOWN))
        check(W.ndim == (2 if is_matrix else 1) and W.size > 0, f"weight {i}")
        if hasattr(W, "parts"):
            check(sizeof(floating) == 4 and W.transposed == (i == 1), f"weight {i}")
            parts = Parts(W.parts)
            found.parts.append(parts)
            w.packed, w.inputs, w.outputs = &parts.matrix, parts.matrix.blocks * BLOCK, parts.matrix.outputs
            if W is not array:
                find_additions(w, array.A, array.B, i)
        else:
            find_numbers(w, array, i == 1, zero)
    check((found.arrays[1] is None) != (found.arrays[2] is None), "the output")
    output = output_of(found.weights)
    s.L, s.D, s.V = L, found.weights.outputs, output.outputs
    check(output.inputs == s.D, "the output")
    found.size = s.D * s.V
    for i in range(L):
        w = found.weights + OF_MODEL + i * OF_BLOCK
        s.F = w[5].inputs
        fits = (
            w[0].outputs == s.D and w[1].inputs == s.D and w[2].outputs == s.D and w[3].outputs == s.D
            and w[4].inputs == s.D and w[4].outputs == 2 * s.F and w[5].outputs == s.D
            and w[5].inputs == first[5].inputs and w[1].outputs == first[1].outputs
            and w[2].inputs == first[2].inputs
            and w[B_QKV].outputs in (0, w[W_QKV].outputs) and w[NORM_OF_ATTENTION].outputs in (0, s.D)
            and w[NORM_OF_FEED_FORWARD].outputs == w[NORM_OF_ATTENTION].outputs
            and (w[NORM_OF_ATTENTION].outputs > 0) == (first[NORM_OF_ATTENTION].outputs > 0)
            and w[NORM_Q].outputs == w[NORM_K].outputs == first[NORM_Q].outputs
        )
        check(fits, f"the weights of block {i}")
        found.size += s.D * w[1].outputs + w[2].inputs * s.D + 3 * s.D * s.F
    return 0


cdef int find_additions(Weight *w, const float[:, ::1] A, const float[:, ::1] B, Py_ssize_t i) except -1:
    fits = A.shape[0] == w.inputs and B.shape[1] == w.outputs and 0 < A.shape[1] == B.shape[0]
    check(fits, f"the additions to weight {i}")
    w.rank, w.A, w.B = A.shape[1], &A[0, 0], &B[0, 0]
    return 0


cdef inline const Weight *output_of(const Weight *weights) noexcept nogil:
    return weights + (1 if weights[2].outputs == 0 else 2)


cdef enum Phase:  # of a block
    PROJECT
    ATTEND
    JOIN
    ADD_ATTENTION     # if the results of branches are normalised; else JOIN adds its columns, as does CONTRACT
    EXPAND
    CONTRACT
    ADD_FEED_FORWARD
    PHASES
    PREDICT           # the logits, after all blocks

cdef Phase[5] IN_FIVE = [PROJECT, ATTEND, JOIN, EXPAND, CONTRACT]


cdef struct Step:
    Sizes sizes
    const Weight *weights
    double eps
    Py_ssize_t parts             # of a phase
    Kept *past                   # keys and values of each block
    const int64_t *start         # (B,) positions of the past
    const int64_t *windows       # (L,) of each layer; 0: none
    const int64_t *tables        # (L,) which cos and sin a layer has; -1: none
    Input cos, sin               # (A, Q, width / 2)
    bint is_gelu                 # the gate
    bint four_norms              # results of branches are normalised
    Output x                     # (Q, D), in place
    Output qkv, context          # (Q, (N + 2 M) width), (Q, N width)
    Output branch                # (Q, D), which is added to x
    Output hidden                # (Q, 2 F)
    Output logits                # (Q, V)
    char *own                    # memory of each thread for itself
    Py_ssize_t own_each


# --- products -----------------------------------------------------------------------


cdef Py_ssize_t column_of(const Matrix *W, Py_ssize_t panel) noexcept nogil:
    """The column with which a panel begins; panels are counted over all parts."""
    cdef Py_ssize_t column = 0, p = 0
    while p < W.count and panel >= panels_of(W.parts + p):
        panel -= panels_of(W.parts + p)
        column += W.parts[p].outputs
        p += 1
    return column + panel * PANEL


cdef void multiply_columns(
    const Weight *W, Py_ssize_t Q, Py_ssize_t part, Py_ssize_t parts, bint is_first, const floating *x,
    floating *y, char *own, Py_ssize_t *n0, Py_ssize_t *n1,
) noexcept nogil:
    """The columns n0 to n1 of y (Q, O) = x (Q, I) W that are of this part.

    In the first part that a thread computes, it rounds x; its memory still has these numbers in the others.
    """
    cdef const Matrix *packed = <const Matrix *>W.packed
    cdef Py_ssize_t panels = ceil_div(W.outputs, PANEL) if packed == NULL else packed.panels
    cdef Py_ssize_t first = part * panels // parts, last = (part + 1) * panels // parts
    cdef Rows rows
    cdef float *h
    if packed == NULL:
        n0[0], n1[0] = min(W.outputs, first * PANEL), min(W.outputs, last * PANEL)
        multiply_numbers(W, NULL, False, Q, n0[0], n1[0], x, NULL, y, own)
    elif floating is float:
        n0[0], n1[0] = column_of(packed, first), column_of(packed, last)
        if last == panels:
            n1[0] = W.outputs
        h = <float *>cut(&own, Q * W.rank * sizeof(float))
        rows = rows_in(own, packed, Q)
        if is_first:
            round_rows(packed, Q, 0, Q, x, &rows)
            memset(h, 0, Q * W.rank * sizeof(float))
            add_product(Q, W.inputs, W.rank, 0, W.rank, x, W.A, h)
        multiply_panels(packed, Q, first, last, &rows, y, W.outputs)
        add_product(Q, W.rank, W.outputs, n0[0], n1[0], h, W.B, y)


cdef Py_ssize_t product_size(const Weight *W, Py_ssize_t Q, Py_ssize_t itemsize) noexcept nogil:
    """The bytes of memory that multiply_columns needs."""
    cdef const Matrix *packed = <const Matrix *>W.packed
    if packed == NULL:
        return numbers_size(Q, W.inputs, W.outputs, itemsize)
    return rows_size(packed, Q) + 64 + Q * W.rank * sizeof(float)


# --- the phases of a step -----------------------------------------------------------


cdef void norm_row(const Step *step, Py_ssize_t q, const Weight *gain, floating *y) noexcept nogil:
    """y = the RMS norm of row q of x."""
    cdef floating inverse_rms
    rms_norm_row(step.sizes.D, <const floating *>step.x + q * step.sizes.D, <const floating *>gain.numbers, step.eps,
                 y, &inverse_rms)


cdef void attend(const Step *step, Py_ssize_t layer, Py_ssize_t first, Py_ssize_t last, floating *of_type,
                 char *own) noexcept nogil:
    """The context of some heads of some rows; those that share a head of keys follow each other.

    The new keys and values are written into the past by one of the threads that need them.  So all take
    them from the projection.
    """
    cdef Sizes s = step.sizes
    cdef Py_ssize_t w = s.width, G = s.N // s.M, i, n, m, b, t, q, of_keys, noted = -1, count = 0
    cdef const Kept *keys = step.past + 2 * layer
    cdef const Kept *values = keys + 1
    cdef Py_ssize_t W = step.windows[layer], skipped
    cdef const Weight *of_block = step.weights + OF_MODEL + layer * OF_BLOCK
    cdef floating *query = <floating *>cut(&own, w * sizeof(floating))
    cdef floating *spare = <floating *>cut(&own, w * sizeof(floating))
    cdef floating *new_keys = <floating *>cut(&own, s.T * w * sizeof(floating))
    cdef floating *weights = <floating *>cut(&own, whole_lanes(s.S) * sizeof(floating))
    cdef const floating **key_lines = <const floating **>cut(&own, s.S * sizeof(void *))
    cdef const floating **value_lines = <const floating **>cut(&own, s.S * sizeof(void *))
    for i in range(first, last):
        of_keys, t, n = i // (G * s.T), i // G % s.T, i % G
        b, m = of_keys // s.M, of_keys % s.M
        n += m * G
        if of_keys != noted:
            noted, count = of_keys, step.start[b]
            note_lines(count, NULL, keys, b * keys.text + m * keys.head, key_lines)
            note_lines(count, NULL, values, b * values.text + m * values.head, value_lines)
            for q in range(s.T):
                prepared(step, layer, b * s.T + q, s.N + m, of_block + NORM_K, spare, new_keys + q * w)
                key_lines[count + q] = new_keys + q * w
                value_lines[count + q] = projected(step, b * s.T + q, s.N + s.M + m, of_type)
        if n == m * G:
            memcpy(place(keys, b, m, count + t, of_type), key_lines[count + t], w * sizeof(floating))
            memcpy(place(values, b, m, count + t, of_type), value_lines[count + t], w * sizeof(floating))
        prepared(step, layer, b * s.T + t, n, of_block + NORM_Q, spare, query)
        skipped = max(0, count + t + 1 - W) if W > 0 else 0
        look(count + t + 1 - skipped, w, <const floating *>query, key_lines + skipped, 0, value_lines + skipped, 0,
             weights, <floating *>step.context + ((b * s.T + t) * s.N + n) * w)


cdef inline const floating *projected(
    const Step *step, Py_ssize_t q, Py_ssize_t head, floating *of_type
) noexcept nogil:
    """A head of row q: the N of queries come first, then M of keys and M of values."""
    return <const floating *>step.qkv + (q * (step.sizes.N + 2 * step.sizes.M) + head) * step.sizes.width


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
    at = (table * step.sizes.Q + q) * (w // 2)
    rotate(w // 2, x, <const floating *>step.cos + at, <const floating *>step.sin + at, y)


cdef inline floating *place(
    const Kept *kept, Py_ssize_t b, Py_ssize_t m, Py_ssize_t position, floating *of_type
) noexcept nogil:
    return <floating *>kept.start + b * kept.text + m * kept.head + position * kept.line


cdef void add_normed(
    const Step *step, const Weight *gain, Py_ssize_t part, floating *h
) noexcept nogil:
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
    if not step.is_gelu:
        swiglu_row(F, hidden, h)
        return
    gelu_block(F, hidden, h)
    for j in range(F):
        h[j] *= hidden[F + j]


cdef void part_of_block(
    const Step *step, Py_ssize_t layer, int phase, Py_ssize_t part, bint is_first, floating *of_type, char *own
) noexcept nogil:
    """A part of one phase: some columns, heads or rows.  `is_first`: the thread has not had a part of it."""
    cdef Sizes s = step.sizes
    cdef Py_ssize_t n0, n1, q, j
    cdef const Weight *w = step.weights + OF_MODEL + layer * OF_BLOCK
    cdef const Weight *gain = NULL
    cdef const Weight *W
    cdef floating *h = <floating *>cut(&own, s.Q * max(s.D, s.F) * sizeof(floating))
    cdef const floating *x = h
    cdef floating *y = <floating *>step.branch
    if phase == ATTEND:
        attend(step, layer, part * s.Q * s.N // step.parts, (part + 1) * s.Q * s.N // step.parts, of_type, own)
        return
    if phase == ADD_ATTENTION or phase == ADD_FEED_FORWARD:
        w += NORM_OF_ATTENTION if phase == ADD_ATTENTION else NORM_OF_FEED_FORWARD
        add_normed(step, w, part, h)
        return
    if phase == PROJECT:
        gain, W, y = w + NORM_1, w + W_QKV, <floating *>step.qkv
    elif phase == EXPAND:
        gain, W, y = w + NORM_2, w + W_GATE_UP, <floating *>step.hidden
    elif phase == PREDICT:
        gain, W, y = step.weights, output_of(step.weights), <floating *>step.logits
    elif phase == JOIN:
        W, x = w + W_O, <const floating *>step.context
    else:
        W = w + W_DOWN
    for q in range(s.Q if is_first else 0):
        if gain != NULL:
            norm_row(step, q, gain, h + q * s.D)
        elif phase == CONTRACT:
            gate(step, <const floating *>step.hidden + 2 * q * s.F, h + q * s.F)
    multiply_columns(W, s.Q, part, step.parts, is_first, x, y, own, &n0, &n1)
    for q in range(s.Q):
        if phase == PROJECT and w[B_QKV].outputs > 0:
            for j in range(n0, n1):
                y[q * W.outputs + j] += (<const floating *>w[B_QKV].numbers)[j]
        elif gain == NULL and not step.four_norms:
            for j in range(n0, n1):
                (<floating *>step.x)[q * s.D + j] += y[q * s.D + j]


cdef void parts_of_step(floating *of_type, void *work, Part part) noexcept nogil:
    cdef const Step *step = <const Step *>work
    cdef char *own = step.own + part.me * step.own_each
    cdef Py_ssize_t *noted = <Py_ssize_t *>cut(&own, sizeof(Py_ssize_t))  # this thread's last phase
    cdef Py_ssize_t i, n, layer, each = PHASES if step.four_norms else 5
    cdef int phase
    cdef bint is_first
    for i in range(part.first, part.last):
        n = i // step.parts
        is_first, noted[0] = noted[0] != n, n
        layer, phase = n // each, <int>(n % each)
        phase = PREDICT if layer == step.sizes.L else phase if step.four_norms else IN_FIVE[phase]
        part_of_block(step, layer, phase, i % step.parts, is_first, of_type, own)


# --- the call -----------------------------------------------------------------------


def llama_step(weights, x, cos, sin, list past, const int64_t[::1] start, double eps):
    cdef Addresses found = addresses_of(weights, x)
    if found.dtype == np.float32:
        return run[float](weights, found, x, cos, sin, past, start, eps)
    return run[double](weights, found, x, cos, sin, past, start, eps)


cdef run(
    weights, Addresses found, const floating[:, ::1] x, const floating[:, :, ::1] cos,
    const floating[:, :, ::1] sin, list past, const int64_t[::1] start, double eps,
):
    cdef Step step
    cdef Sizes s = found.sizes
    cdef const Weight *w = found.weights + OF_MODEL
    cdef Py_ssize_t item = sizeof(floating), each = 0, B = start.shape[0], i
    cdef Py_ssize_t[4] kept = [0, 0, 0, 0]
    cdef int threads = threads_for(x.shape[0] * found.size, WORTH_THREADS)
    cdef const int64_t[::1] windows = weights.windows, tables = weights.tables
    s.Q, s.S = x.shape[0], 1
    check(B > 0 and s.Q > 0 and s.Q % B == 0 and x.shape[1] == s.D, "x")
    s.T = s.Q // B
    cdef Workspace addressed = Workspace((2 * s.L + 1) * sizeof(Kept) + 64)
    step.past = <Kept *>addressed.take((2 * s.L + 1) * sizeof(Kept))
    find_kept(past, 2 * s.L, kept, step.past, True, <floating>0)
    s.M, s.width = kept[1], kept[3]
    s.N = w[2].inputs // s.width
    check(kept[0] == B and s.width % 2 == 0 and s.N * s.width == w[2].inputs and s.N % s.M == 0
          and (s.N + 2 * s.M) * s.width == w[1].outputs, "the cache")
    check(cos.shape[1] == s.Q and sin.shape[1] == s.Q and 2 * cos.shape[2] == s.width
          and 2 * sin.shape[2] == s.width and cos.shape[0] == sin.shape[0], "the rows")
    check(windows.shape[0] == s.L and tables.shape[0] == s.L and w[NORM_Q].outputs in (0, s.width), "the layers")
    for i in range(s.L):
        check(windows[i] >= 0 and -1 <= tables[i] < cos.shape[0], "the layers")
    for i in range(B):
        check(0 <= start[i] <= kept[2] - s.T, "the rows")
        s.S = max(s.S, start[i] + s.T)
    for i in range(OF_MODEL + s.L * OF_BLOCK):
        each = max(each, product_size(found.weights + i, s.Q, item))
    each = max(each, ((2 + s.T) * s.width + whole_lanes(s.S)) * item + 2 * s.S * sizeof(void *) + 6 * 64)
    each = ceil_div(each + s.Q * max(s.D, s.F) * item, 64) * 64 + 2 * 64
    cdef Py_ssize_t rows = s.Q * (2 * s.D + w[1].outputs + w[2].inputs + 2 * s.F) * item + 5 * 64
    cdef Workspace work = Workspace(rows + threads * each + 2 * 64)
    cdef char *room = work.take(rows)
    step.own, step.own_each = work.take(threads * each), each
    step.x, step.branch = cut(&room, s.Q * s.D * item), cut(&room, s.Q * s.D * item)
    step.qkv, step.context = cut(&room, s.Q * w[1].outputs * item), cut(&room, s.Q * w[2].inputs * item)
    step.hidden = cut(&room, s.Q * 2 * s.F * item)
    memcpy(step.x, &x[0, 0], s.Q * s.D * item)
    for i in range(threads):
        (<Py_ssize_t *>(step.own + i * each))[0] = -1
    step.sizes, step.weights, step.eps = s, found.weights, eps
    # A thread that is late leaves some parts of a phase to others.
    step.parts = threads * min(8, 2 + found.size // s.L // FEW_WEIGHTS) if threads > 1 else 1
    step.start, step.windows, step.tables = &start[0], &windows[0], &tables[0]
    step.cos = step.sin = NULL
    if cos.shape[0] > 0:
        step.cos, step.sin = &cos[0, 0, 0], &sin[0, 0, 0]
    step.is_gelu, step.four_norms = weights.is_gelu, w[NORM_OF_ATTENTION].outputs > 0
    result = empty((s.Q, s.V), found.dtype)
    step.logits = address(result)
    with nogil:
        share_phases(<Body>parts_of_step[floating], &step, (PHASES if step.four_norms else 5) * s.L + 1, step.parts,
                     threads)
    return result
