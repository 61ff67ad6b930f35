# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""A whole GPT for one token of each row, in one call: the twin of its original.

When a model writes, each weight is used once a token, and the time is that of reading it; the
calls from Python would take longer than the arithmetic of a small model.  So there is one call
for all blocks, and the addresses of the weights are found once, and not at every token.

The threads are woken once a token, too.  A block has four phases, each of which needs all that the
one before has computed.  Each part of a phase has columns of a product, or heads of the attention: it
mostly is the same thread's, whose cache may still hold these columns of the weights.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from minillm._kernels._pool cimport Workspace, cut, empty
from minillm._kernels._threads cimport (
    Body, Input, Output, Part, are_cores_shared, max_threads, share, share_phases)

include "floating.pxi"
include "gemm.pxi"
include "decoder.pxi"
include "attention.pxi"
include "normalisation.pxi"
include "activations.pxi"

cdef enum:
    OF_MODEL = 4    # weights: E, P, and the two of the last norm
    OF_BLOCK = 12   # in the order of gpt_step.BLOCK_WEIGHTS
    WORTH_THREADS = 400000   # multiply-adds a token, below which threads would wait for each other

cdef struct Sizes:
    Py_ssize_t B, V, C, D, F, N, S, L


cdef int check(bint fits, str what) except -1:
    if not fits:
        raise ValueError(f"gpt_step: the shape of {what} does not fit the others")
    return 0


cdef class Addresses:
    """Where the weights lie, checked; and the arrays, so that they go on lying there."""

    cdef const void **weights
    cdef Sizes sizes
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
    cdef Py_ssize_t count = len(found.arrays), i
    cdef const floating[:, ::1] matrix
    cdef const floating[::1] vector
    check(count >= OF_MODEL + OF_BLOCK and (count - OF_MODEL) % OF_BLOCK == 0, "the list of weights")
    V, D = found.arrays[0].shape
    C, F = found.arrays[1].shape[0], found.arrays[OF_MODEL + 8].shape[1]
    shapes = [(V, D), (C, D), (D,), (D,)]
    of_block = [(D,), (D,), (D, 3 * D), (3 * D,), (D, D), (D,), (D,), (D,), (D, F), (F,), (F, D), (D,)]
    shapes += of_block * ((count - OF_MODEL) // OF_BLOCK)
    for i in range(count):
        array = found.arrays[i]
        check(array.shape == shapes[i] and array.size > 0, f"weight {i}")
        if array.ndim == 2:
            matrix = array
            found.weights[i] = &matrix[0, 0]
        else:
            vector = array
            found.weights[i] = &vector[0]
    found.sizes.V, found.sizes.C, found.sizes.D, found.sizes.F = V, C, D, F
    found.sizes.L = (count - OF_MODEL) // OF_BLOCK
    return 0


# --- the phases of a step -----------------------------------------------------------


cdef enum Phase:  # of a block; the last phase of the step is that of the logits
    ATTEND
    PROJECT
    EXPAND
    CONTRACT
    PHASES


cdef struct Step:
    Sizes sizes
    Py_ssize_t parts         # of a phase
    const void **weights
    void **past              # keys and values of each block
    const int64_t *start
    Output x                     # (B, D), the activations, in place
    Output qkv, context          # (B, 3 D), (B, D)
    Output hidden, activated     # (B, F)
    Output logits                # (B, V)
    char *own                # memory of each thread for itself
    Py_ssize_t own_each


cdef inline Py_ssize_t first_column(
    Py_ssize_t N, Py_ssize_t floats, Py_ssize_t part, Py_ssize_t parts
) noexcept nogil:
    """The first of N columns that are of this part: they are divided by whole vectors."""
    return min(N, part * ceil_div(N, floats) // parts * floats)


cdef Py_ssize_t own_size(const Sizes *s, Py_ssize_t itemsize) noexcept nogil:
    """The bytes of memory that each thread needs for itself."""
    cdef Py_ssize_t widest = max(s.D, s.F), word = sizeof(void *)
    return (s.B * s.D * itemsize + s.S * itemsize + (max(s.S, widest) + 2 * s.B) * word
            + scratch_size(s.B, widest, False, itemsize, False) + 6 * 64)


cdef void affine_columns(
    Py_ssize_t M, Py_ssize_t K, Py_ssize_t N, Py_ssize_t n0, Py_ssize_t n1, const floating *x,
    const floating *W, const floating *b, bint add, floating *y, char *own,
) noexcept nogil:
    """Columns n0 to n1 of y (M, N) = x (M, K) W (K, N) + b, or (add) of y += x W + b."""
    cdef const floating **rows = <const floating **>cut(&own, M * sizeof(void *))
    cdef floating **out = <floating **>cut(&own, M * sizeof(void *))
    cdef const floating **lines = <const floating **>cut(&own, K * sizeof(void *))
    cdef Py_ssize_t i, j
    if n1 <= n0:
        return
    for i in range(M):
        rows[i], out[i] = x + i * K, y + i * N
        if add:
            for j in range(n0, n1):
                out[i][j] += b[j]
    for i in range(K):
        lines[i] = W + i * N
    if is_few(M, n1 - n0, K, False, True, sizeof(floating)):
        multiply_few(M, n0, n1, K, rows, lines, b, add, out)
    else:
        multiply_part(0, M, n0, n1, K, rows, False, lines, True, b, add, out, own, False)


cdef void attend_to_all(
    Py_ssize_t n, Py_ssize_t width, floating scale, const floating *query, const floating *keys,
    const floating *values, const floating **lines, floating *weights, floating *context,
) noexcept nogil:
    """One query and the n keys before it, of one head."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), s
    dots(n, width, scale, query, keys, weights)
    softmax(n, weights)
    if width % lanes == 0 and width // lanes <= 4:  # the context stays in registers
        tile(1, <int>(width // lanes), n, <const floating **>&weights, values, width,
             <const floating **>NULL, &context)
        return
    for s in range(n):
        lines[s] = values + s * width
    multiply_few(1, 0, width, n, <const floating **>&weights, lines, <const floating *>NULL, False,
                 &context)


cdef void norm_rows(
    const Sizes *s, const void *x, const void *gain, const void *bias, floating *y
) noexcept nogil:
    cdef floating mean, inverse_std
    cdef Py_ssize_t b
    for b in range(s.B):
        layer_norm_row(s.D, <const floating *>x + b * s.D, <const floating *>gain,
                       <const floating *>bias, 1e-5, y + b * s.D, &mean, &inverse_std)


cdef void attend(
    const Step *step, const void **w, void **past, Py_ssize_t part, floating *h, char *own
) noexcept nogil:
    """The part's heads: their columns of q, k and v, and their context."""
    cdef Sizes s = step.sizes
    cdef Py_ssize_t width = s.D // s.N, D = s.D, row, n, at, third
    cdef Py_ssize_t n0 = part * s.N // step.parts, n1 = (part + 1) * s.N // step.parts
    cdef floating scale = <floating>(<double>width ** -0.5)
    cdef floating *qkv = <floating *>step.qkv
    cdef floating *keys = <floating *>past[0]
    cdef floating *values = <floating *>past[1]
    cdef floating *q
    cdef floating *weights
    cdef const floating **lines
    norm_rows(&s, step.x, w[0], w[1], h)
    if step.parts == 1:
        affine_columns(s.B, D, 3 * D, 0, 3 * D, <const floating *>h, <const floating *>w[2],
                       <const floating *>w[3], False, qkv, own)
    else:
        for third in range(3):
            affine_columns(s.B, D, 3 * D, third * D + n0 * width, third * D + n1 * width,
                           <const floating *>h, <const floating *>w[2], <const floating *>w[3], False,
                           qkv, own)
    weights = <floating *>cut(&own, s.S * sizeof(floating))
    lines = <const floating **>cut(&own, s.S * sizeof(void *))
    for row in range(s.B):
        for n in range(n0, n1):
            q = qkv + row * 3 * D + n * width
            at = (row * s.N + n) * s.S * width
            memcpy(keys + at + step.start[row] * width, q + D, width * sizeof(floating))
            memcpy(values + at + step.start[row] * width, q + 2 * D, width * sizeof(floating))
            attend_to_all(
                step.start[row] + 1, width, scale, <const floating *>q, <const floating *>keys + at,
                <const floating *>values + at, lines, weights,
                <floating *>step.context + row * D + n * width)


cdef void part_of_block(
    const Step *step, Py_ssize_t layer, int phase, Py_ssize_t part, floating *of_type, char *own
) noexcept nogil:
    """A part of one phase of a block."""
    cdef Sizes s = step.sizes
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), D = s.D, F = s.F, b
    cdef const void **w = step.weights + OF_MODEL + layer * OF_BLOCK
    cdef floating *h = <floating *>cut(&own, s.B * D * sizeof(floating))
    cdef floating *x = <floating *>step.x
    cdef floating *hidden = <floating *>step.hidden
    cdef floating *activated = <floating *>step.activated
    cdef Py_ssize_t d0 = first_column(D, lanes, part, step.parts)
    cdef Py_ssize_t d1 = first_column(D, lanes, part + 1, step.parts)
    cdef Py_ssize_t f0 = first_column(F, lanes, part, step.parts)
    cdef Py_ssize_t f1 = first_column(F, lanes, part + 1, step.parts)
    if phase == ATTEND:
        attend(step, w, step.past + 2 * layer, part, h, own)
    elif phase == PROJECT:
        affine_columns(s.B, D, D, d0, d1, <const floating *>step.context, <const floating *>w[4],
                       <const floating *>w[5], True, x, own)
    elif phase == EXPAND:
        norm_rows(&s, x, w[6], w[7], h)
        affine_columns(s.B, D, F, f0, f1, <const floating *>h, <const floating *>w[8],
                       <const floating *>w[9], False, hidden, own)
        for b in range(s.B):
            gelu_block(f1 - f0, <const floating *>hidden + b * F + f0, activated + b * F + f0)
    else:
        affine_columns(s.B, F, D, d0, d1, <const floating *>activated, <const floating *>w[10],
                       <const floating *>w[11], True, x, own)


cdef void part_of_logits(
    const Step *step, Py_ssize_t part, floating *of_type, char *own
) noexcept nogil:
    """The last norm, and columns of the logits y E^T."""
    cdef Sizes s = step.sizes
    cdef const floating *E = <const floating *>step.weights[0]
    cdef floating *y = <floating *>own
    cdef Py_ssize_t v0 = part * s.V // step.parts, v1 = (part + 1) * s.V // step.parts, b, count
    norm_rows(&s, step.x, step.weights[2], step.weights[3], y)
    while v0 < v1:  # rows of E by dozens: all rows of y pass over them while they are near
        count = min(32, v1 - v0)
        for b in range(s.B):
            dots(count, s.D, <floating>1, <const floating *>y + b * s.D, E + v0 * s.D,
                 <floating *>step.logits + b * s.V + v0)
        v0 += count


cdef void parts_of_step(floating *of_type, void *work, Part part) noexcept nogil:
    cdef const Step *step = <const Step *>work
    cdef Py_ssize_t i, phase
    for i in range(part.first, part.last):
        phase = i // step.parts
        if phase < PHASES * step.sizes.L:
            part_of_block(step, phase // PHASES, <int>(phase % PHASES), i % step.parts, of_type,
                          step.own + part.me * step.own_each)
        else:
            part_of_logits(step, i % step.parts, of_type, step.own + part.me * step.own_each)


# --- the call -----------------------------------------------------------------------


def gpt_step(weights, const int64_t[::1] ids, const int64_t[::1] start, list past):
    addresses = weights.addresses
    if not isinstance(addresses, Addresses):
        addresses = weights.addresses = Addresses(weights.arrays)
    if (<Addresses>addresses).dtype == np.float32:
        return run(<Addresses>addresses, ids, start, past, <float>0)
    return run(<Addresses>addresses, ids, start, past, <double>0)


cdef run(
    Addresses addresses, const int64_t[::1] ids, const int64_t[::1] start, list past, floating zero
):
    cdef Sizes s = addresses.sizes
    cdef const floating **w = <const floating **>addresses.weights
    cdef floating[:, :, :, ::1] kept
    cdef floating[:, ::1] logits
    cdef Py_ssize_t item = sizeof(floating), i, j
    cdef int threads = max_threads()
    s.B = ids.shape[0]
    check(s.B > 0 and start.shape[0] == s.B and len(past) == 2 * s.L, "the cache")
    kept = past[0]
    s.N, s.S = kept.shape[1], kept.shape[2]
    check(s.N * kept.shape[3] == s.D, "the cache")
    for i in range(s.B):
        check(0 <= ids[i] < s.V, "ids")
        check(0 <= start[i] < min(s.S, s.C), "start")
    if s.B * s.D * (s.V + s.L * (4 * s.D + 2 * s.F)) < WORTH_THREADS or are_cores_shared():
        threads = 1
    cdef Py_ssize_t each = own_size(&s, item)
    cdef Workspace work = Workspace(
        2 * s.L * sizeof(void *) + s.B * (5 * s.D + 2 * s.F) * item + threads * each + 7 * 64)
    cdef floating *x = <floating *>work.take(s.B * s.D * item)
    cdef Step step
    step.sizes, step.parts, step.weights, step.start = s, threads, addresses.weights, &start[0]
    step.x, step.qkv, step.context = x, work.take(s.B * 3 * s.D * item), work.take(s.B * s.D * item)
    step.hidden, step.activated = work.take(s.B * s.F * item), work.take(s.B * s.F * item)
    step.past, step.own = <void **>work.take(2 * s.L * sizeof(void *)), work.take(threads * each)
    step.own_each = each
    for i in range(2 * s.L):
        kept = past[i]
        check(kept.shape[0] == s.B and kept.shape[1] == s.N and kept.shape[2] == s.S
              and kept.shape[3] * s.N == s.D, "the cache")
        step.past[i] = &kept[0, 0, 0, 0]
    for i in range(s.B):
        for j in range(s.D):
            x[i * s.D + j] = w[0][ids[i] * s.D + j] + w[1][start[i] * s.D + j]
    result = empty((s.B, s.V), addresses.dtype)
    logits = result
    step.logits = &logits[0, 0]
    with nogil:
        share_phases(<Body>parts_of_step[floating], &step, PHASES * s.L + 1, threads, threads)
    return result
