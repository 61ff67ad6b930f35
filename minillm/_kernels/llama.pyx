# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""A Llama for a few tokens of each text, in one call: the twin of its original.

The time is that of reading the weights, which are packed (quantised.pxi) or floats.  Each thread has its
columns of every product, and its heads.  A block has five phases, each of which needs all that the one
before has computed.  What a phase reads, a norm or a gated row, each thread computes for itself: that takes
less time than to wait for another phase.
"""

from libc.math cimport INFINITY
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free, malloc
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
include "rotary.pxi"
include "quantised.pxi"

cdef enum:
    OF_MODEL = 3    # weights, in the order of llama_step.MODEL_WEIGHTS
    OF_BLOCK = 6    # in the order of llama_step.BLOCK_WEIGHTS
    WORTH_THREADS = 400000  # multiply-adds a token, below which threads would wait for each other

cdef struct Weight:          # a matrix (I, O), or a gain (O,)
    Py_ssize_t inputs, outputs
    const void *numbers      # NULL: it is packed
    bint by_outputs          # the numbers are those of the transpose
    Matrix packed

cdef struct Sizes:
    Py_ssize_t Q, T, D, F, N, M, width, V, S, L  # S: the most positions that a query looks at


cdef class Addresses:
    """Where the weights lie, checked; and the arrays, so that they go on lying there."""

    cdef Weight *weights
    cdef Sizes sizes
    cdef Py_ssize_t size     # multiply-adds of a token
    cdef object arrays, parts, dtype

    def __cinit__(self, arrays, x):
        cdef Py_ssize_t count = len(arrays), i
        cdef bint tied = count > 1 and arrays[1] is not None
        self.arrays, self.parts, self.dtype = list(arrays), [], x.dtype
        check(count > OF_MODEL and (count - OF_MODEL) % OF_BLOCK == 0, "the list of weights")
        self.weights = <Weight *>calloc(count, sizeof(Weight))
        if self.weights == NULL:
            raise MemoryError()
        self.sizes.L = (count - OF_MODEL) // OF_BLOCK
        for i in range(count):
            if self.dtype == np.float32:
                find_weight[float](self, i, <float>0)
            else:
                find_weight[double](self, i, <double>0)
        check(tied == (arrays[2] is None), "the output")
        cdef Weight *w = self.weights
        cdef Sizes *s = &self.sizes
        s.D, s.V = w[0].outputs, w[1 if tied else 2].outputs
        check(w[1 if tied else 2].inputs == s.D, "the output")
        self.size = s.D * s.V
        for i in range(s.L):
            w = self.weights + OF_MODEL + i * OF_BLOCK
            s.F = w[5].inputs
            fits = (
                w[0].outputs == s.D and w[1].inputs == s.D and w[2].outputs == s.D and w[3].outputs == s.D and w[4].inputs == s.D
                and w[4].outputs == 2 * s.F and w[5].outputs == s.D
                and w[5].inputs == self.weights[OF_MODEL + 5].inputs and w[1].outputs == self.weights[OF_MODEL + 1].outputs
                and w[2].inputs == self.weights[OF_MODEL + 2].inputs
            )
            check(fits, f"the weights of block {i}")
            self.size += s.D * w[1].outputs + w[2].inputs * s.D + 3 * s.D * s.F

    def __dealloc__(self):
        free(self.weights)

    def __reduce__(self):
        return type(None), ()  # whoever loads or copies a model looks for them again


cdef int find_weight(Addresses found, Py_ssize_t i, floating zero) except -1:
    cdef const floating[:, ::1] matrix
    cdef const floating[::1] vector
    cdef Weight *w = found.weights + i
    cdef Parts parts
    array = found.arrays[i]
    if array is None:
        check(i in (1, 2), f"weight {i}")
        return 0
    is_gain = i == 0 or (i >= OF_MODEL and (i - OF_MODEL) % OF_BLOCK in (0, 3))
    check(array.ndim == (1 if is_gain else 2) and array.size > 0, f"weight {i}")
    if is_gain:
        vector = array
        w.outputs, w.numbers = vector.shape[0], &vector[0]
    elif hasattr(array, "parts"):
        check(sizeof(floating) == 4 and array.transposed == (i == 1), f"weight {i}")
        parts = Parts(array.parts, array.twice)
        found.parts.append(parts)
        w.packed, w.inputs, w.outputs = parts.matrix, parts.matrix.blocks * BLOCK, parts.matrix.outputs
    else:
        matrix = array
        w.by_outputs = i == 1
        w.inputs, w.outputs = matrix.shape[i == 1], matrix.shape[i != 1]
        w.numbers = &matrix[0, 0]
    return 0


cdef enum Phase:  # of a block; the last phase of the step is that of the logits
    PROJECT
    ATTEND
    JOIN
    EXPAND
    CONTRACT
    PHASES


cdef struct Step:
    Sizes sizes
    const Weight *weights
    double epsilon
    Py_ssize_t parts             # of a phase
    Kept *past                   # keys and values of each block
    const int64_t *start         # (B,) positions of the past
    Input cos, sin               # (Q, width / 2)
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


cdef void multiply_floats(
    const Weight *W, Py_ssize_t Q, Py_ssize_t n0, Py_ssize_t n1, const floating *x, floating *y, char *own
) noexcept nogil:
    """Columns n0 to n1 of y (Q, O) = x (Q, I) W."""
    cdef Py_ssize_t lines_of_W = W.outputs if W.by_outputs else W.inputs, length = W.inputs if W.by_outputs else W.outputs, i, q
    cdef const floating **rows = <const floating **>cut(&own, Q * sizeof(void *))
    cdef floating **out = <floating **>cut(&own, Q * sizeof(void *))
    cdef const floating **lines = <const floating **>cut(&own, lines_of_W * sizeof(void *))
    if n1 <= n0:
        return
    for q in range(Q):
        rows[q], out[q] = x + q * W.inputs, y + q * W.outputs
    for i in range(lines_of_W):
        lines[i] = <const floating *>W.numbers + i * length
    if Q > TILE_ROWS(4):
        multiply_part(0, Q, n0, n1, W.inputs, rows, False, lines, not W.by_outputs, <const floating *>NULL, False,
                      out, own, False)
    elif not W.by_outputs:
        multiply_lines(LINES, Q, n0, n1, W.inputs, rows, lines, <const floating *>NULL, False, out)
    else:
        while n0 < n1:  # lines of W by dozens: all rows of x pass over them while they are near
            i = min(32, n1 - n0)
            for q in range(Q):
                dots(i, W.inputs, <floating>1, rows[q], lines + n0, 0, out[q] + n0)
            n0 += i


cdef void multiply_columns(
    const Weight *W, Py_ssize_t Q, Py_ssize_t part, Py_ssize_t parts, const floating *x, floating *y,
    char *own, Py_ssize_t *n0, Py_ssize_t *n1,
) noexcept nogil:
    """The columns n0 to n1 of y (Q, O) = x (Q, I) W that are of this part."""
    cdef Py_ssize_t panels = ceil_div(W.outputs, PANEL) if W.numbers != NULL else W.packed.panels
    cdef Py_ssize_t first = part * panels // parts, last = (part + 1) * panels // parts
    cdef Rows rows
    cdef char *spare
    if W.numbers != NULL:
        n0[0], n1[0] = min(W.outputs, first * PANEL), min(W.outputs, last * PANEL)
        multiply_floats(W, Q, n0[0], n1[0], x, y, own)
    elif floating is float:
        n0[0], n1[0] = column_of(&W.packed, first), column_of(&W.packed, last)
        if last == panels:
            n1[0] = W.outputs
        spare = cut(&own, spare_size(&W.packed))
        rows = rows_in(own, &W.packed, Q)
        if first < last:
            round_rows(&W.packed, Q, 0, rounded_rows(&W.packed, Q), x, &rows, spare)
            multiply_panels(&W.packed, Q, first, last, &rows, y, W.outputs)


cdef Py_ssize_t product_size(const Weight *W, Py_ssize_t Q, Py_ssize_t itemsize) noexcept nogil:
    """The bytes of memory that multiply_columns needs."""
    cdef Py_ssize_t word = sizeof(void *)
    if W.numbers == NULL:
        return rows_size(&W.packed, Q) + spare_size(&W.packed) + 64
    return (2 * Q + max(W.outputs, W.inputs)) * word + scratch_size(Q, W.inputs, False, itemsize) + 4 * 64


# --- the phases of a step -----------------------------------------------------------


cdef const floating *normed(
    const Step *step, const Weight *gain, floating *y
) noexcept nogil:
    """The RMS norm of the rows x, in y."""
    cdef Py_ssize_t D = step.sizes.D, q
    cdef const floating *x = <const floating *>step.x
    cdef floating inverse_rms
    for q in range(step.sizes.Q):
        rms_norm_row(D, x + q * D, <const floating *>gain.numbers, step.epsilon, y + q * D, &inverse_rms)
    return y


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
    cdef floating *query = <floating *>cut(&own, w * sizeof(floating))
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
            note_lines_of(count, keys, b, m, key_lines)
            note_lines_of(count, values, b, m, value_lines)
            for q in range(s.T):
                rotated(step, b * s.T + q, s.N + m, new_keys + q * w)
                key_lines[count + q] = new_keys + q * w
                value_lines[count + q] = projected(step, b * s.T + q, s.N + s.M + m, of_type)
        if n == m * G:
            memcpy(place(keys, b, m, count + t, of_type), key_lines[count + t], w * sizeof(floating))
            memcpy(place(values, b, m, count + t, of_type), value_lines[count + t], w * sizeof(floating))
        rotated(step, b * s.T + t, n, query)
        look(count + t + 1, w, <const floating *>query, key_lines, 0, value_lines, 0, weights,
             <floating *>step.context + ((b * s.T + t) * s.N + n) * w)


cdef inline const floating *projected(
    const Step *step, Py_ssize_t q, Py_ssize_t head, floating *of_type
) noexcept nogil:
    """A head of row q: the N of queries come first, then M of keys and M of values."""
    return <const floating *>step.qkv + (q * (step.sizes.N + 2 * step.sizes.M) + head) * step.sizes.width


cdef inline void rotated(const Step *step, Py_ssize_t q, Py_ssize_t head, floating *y) noexcept nogil:
    cdef Py_ssize_t pairs = step.sizes.width // 2
    rotate(pairs, projected(step, q, head, y), <const floating *>step.cos + q * pairs,
           <const floating *>step.sin + q * pairs, y)


cdef inline floating *place(
    const Kept *kept, Py_ssize_t b, Py_ssize_t m, Py_ssize_t position, floating *of_type
) noexcept nogil:
    return <floating *>kept.start + b * kept.text + m * kept.head + position * kept.line


cdef void note_lines_of(
    Py_ssize_t n, const Kept *kept, Py_ssize_t b, Py_ssize_t m, const floating **lines
) noexcept nogil:
    """Where the first n keys or values of a head begin."""
    cdef Py_ssize_t i
    for i in range(n):
        lines[i] = place(kept, b, m, i, <floating *>NULL)


cdef void part_of_block(
    const Step *step, Py_ssize_t layer, int phase, Py_ssize_t part, floating *of_type, char *own
) noexcept nogil:
    """A part of one phase of a block: some columns or heads."""
    cdef Sizes s = step.sizes
    cdef Py_ssize_t n0, n1, q, j
    cdef const Weight *w = step.weights + OF_MODEL + layer * OF_BLOCK
    cdef floating *h = <floating *>cut(&own, s.Q * max(s.D, s.F) * sizeof(floating))
    cdef floating *x = <floating *>step.x
    cdef const floating *y
    if phase == PROJECT:
        y = normed(step, w, h)
        multiply_columns(w + 1, s.Q, part, step.parts, y, <floating *>step.qkv, own, &n0, &n1)
        return
    if phase == ATTEND:
        attend(step, layer, part * s.Q * s.N // step.parts, (part + 1) * s.Q * s.N // step.parts, of_type, own)
        return
    if phase == EXPAND:
        y = normed(step, w + 3, h)
        multiply_columns(w + 4, s.Q, part, step.parts, y, <floating *>step.hidden, own, &n0, &n1)
        return
    y = <const floating *>step.context
    if phase == CONTRACT:
        for q in range(s.Q):
            swiglu_row(s.F, <const floating *>step.hidden + 2 * q * s.F, h + q * s.F)
        y = h
    multiply_columns(w + (2 if phase == JOIN else 5), s.Q, part, step.parts, y, <floating *>step.branch, own,
                     &n0, &n1)
    for q in range(s.Q):
        for j in range(n0, n1):
            x[q * s.D + j] += (<const floating *>step.branch)[q * s.D + j]


cdef void parts_of_step(floating *of_type, void *work, Part part) noexcept nogil:
    cdef const Step *step = <const Step *>work
    cdef char *own = step.own + part.me * step.own_each
    cdef const Weight *output = step.weights + (1 if step.weights[2].outputs == 0 else 2)
    cdef Py_ssize_t i, phase, n0, n1
    cdef char *front
    cdef floating *h
    for i in range(part.first, part.last):
        phase = i // step.parts
        if phase < PHASES * step.sizes.L:
            part_of_block(step, phase // PHASES, <int>(phase % PHASES), i % step.parts, of_type, own)
        else:
            front = own
            h = <floating *>cut(&front, step.sizes.Q * step.sizes.D * sizeof(floating))
            multiply_columns(output, step.sizes.Q, i % step.parts, step.parts, normed(step, step.weights, h),
                             <floating *>step.logits, front, &n0, &n1)


# --- the call -----------------------------------------------------------------------


def llama_step(weights, x, cos, sin, list past, const int64_t[::1] start, double epsilon):
    if not isinstance(weights.addresses, Addresses):
        weights.addresses = Addresses(weights.arrays, x)
    if (<Addresses>weights.addresses).dtype == np.float32:
        return run[float](weights.addresses, x, cos, sin, past, start, epsilon)
    return run[double](weights.addresses, x, cos, sin, past, start, epsilon)


cdef run(
    Addresses found, const floating[:, ::1] x, const floating[:, ::1] cos, const floating[:, ::1] sin,
    list past, const int64_t[::1] start, double epsilon,
):
    cdef Step step
    cdef Sizes s = found.sizes
    cdef const Weight *w = found.weights + OF_MODEL
    cdef Py_ssize_t item = sizeof(floating), each = 0, B = start.shape[0], i
    cdef Py_ssize_t[4] kept = [0, 0, 0, 0]
    cdef int threads = max_threads()
    cdef floating[:, ::1] logits
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
    check(cos.shape[0] == s.Q and sin.shape[0] == s.Q and 2 * cos.shape[1] == s.width
          and 2 * sin.shape[1] == s.width, "the rows")
    for i in range(B):
        check(0 <= start[i] <= kept[2] - s.T, "the rows")
        s.S = max(s.S, start[i] + s.T)
    if s.Q * found.size < WORTH_THREADS or are_cores_shared():
        threads = 1
    for i in range(OF_MODEL + s.L * OF_BLOCK):
        each = max(each, product_size(found.weights + i, s.Q, item))
    each = max(each, ((1 + s.T) * s.width + whole_lanes(s.S)) * item + 2 * s.S * sizeof(void *) + 5 * 64)
    each = ceil_div(each + s.Q * max(s.D, s.F) * item, 64) * 64 + 64
    cdef Py_ssize_t rows = s.Q * (2 * s.D + w[1].outputs + w[2].inputs + 2 * s.F) * item + 5 * 64
    cdef Workspace work = Workspace(rows + threads * each + 2 * 64)
    cdef char *room = work.take(rows)
    step.own, step.own_each = work.take(threads * each), each
    step.x, step.branch = cut(&room, s.Q * s.D * item), cut(&room, s.Q * s.D * item)
    step.qkv, step.context = cut(&room, s.Q * w[1].outputs * item), cut(&room, s.Q * w[2].inputs * item)
    step.hidden = cut(&room, s.Q * 2 * s.F * item)
    memcpy(step.x, &x[0, 0], s.Q * s.D * item)
    step.sizes, step.weights, step.epsilon, step.parts = s, found.weights, epsilon, threads
    step.cos, step.sin, step.start = &cos[0, 0], &sin[0, 0], &start[0]
    result = empty((s.Q, s.V), found.dtype)
    logits = result
    step.logits = &logits[0, 0]
    with nogil:
        share_phases(<Body>parts_of_step[floating], &step, PHASES * s.L + 1, step.parts, threads)
    return result
