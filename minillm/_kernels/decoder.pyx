# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""A whole GPT for one token of each row, in one call: the twin of its original.

When a model writes, each weight is used once a token, and the time is that of reading it; the
calls from Python would take longer than the arithmetic of a small model.  So there is one call
for all blocks, and the addresses of the weights are found once, and not at every token.

The threads are woken once a token, too.  Each has columns of every product, and with them heads
of the attention: it meets the others where it needs what they have computed, which are four
places in a block.
"""

from cython.parallel cimport parallel, threadid
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from minillm._kernels._pool cimport Workspace, cut, empty

include "floating.pxi"
include "threads.pxi"
include "gemm.pxi"
include "decoder.pxi"
include "attention.pxi"
include "normalisation.pxi"
include "activations.pxi"

cdef extern from "meeting.h" nogil:
    ctypedef struct Meeting:
        pass
    void open_meeting(Meeting *)
    void close_meeting(Meeting *)
    void meet(Meeting *, int team)
    int team_size()

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


# --- what one thread does -----------------------------------------------------------


cdef struct Part:
    int me, team
    Meeting *meeting
    char *own         # this thread's memory


cdef inline Py_ssize_t first_column(Py_ssize_t N, Py_ssize_t floats, int me, int team) noexcept nogil:
    """The first of N columns that are the thread's: they are divided by whole vectors."""
    return min(N, me * ceil_div(N, floats) // team * floats)


cdef Py_ssize_t own_size(const Sizes *s, Py_ssize_t itemsize) noexcept nogil:
    """The bytes of memory that each thread needs for itself."""
    cdef Py_ssize_t widest = max(s.D, s.F), word = sizeof(void *)
    return (s.B * s.D * itemsize + s.S * itemsize + (max(s.S, widest) + 2 * s.B) * word
            + scratch_size(s.B, widest, False, itemsize) + 6 * 64)


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
    if is_few(M, False, True):
        multiply_few(M, n0, n1, K, rows, lines, b, add, out)
    else:
        multiply_part(0, M, n0, n1, K, rows, False, lines, True, b, add, out, own)


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


cdef void attention_part(
    const Sizes *s, const floating *h, const floating *W, const floating *b, floating *qkv,
    floating *keys, floating *values, const int64_t *start, floating *context, Part part, char *own,
) noexcept nogil:
    """The thread's heads: their columns of q, k and v, and their context."""
    cdef Py_ssize_t width = s.D // s.N, D = s.D, row, n, at, third
    cdef Py_ssize_t n0 = part.me * s.N // part.team, n1 = (part.me + 1) * s.N // part.team
    cdef floating scale = <floating>(<double>width ** -0.5)
    cdef floating *q
    cdef floating *weights
    cdef const floating **lines
    if part.team == 1:
        affine_columns(s.B, D, 3 * D, 0, 3 * D, h, W, b, False, qkv, own)
    else:
        for third in range(3):
            affine_columns(s.B, D, 3 * D, third * D + n0 * width, third * D + n1 * width, h, W, b,
                           False, qkv, own)
    weights = <floating *>cut(&own, s.S * sizeof(floating))
    lines = <const floating **>cut(&own, s.S * sizeof(void *))
    for row in range(s.B):
        for n in range(n0, n1):
            q = qkv + row * 3 * D + n * width
            at = (row * s.N + n) * s.S * width
            memcpy(keys + at + start[row] * width, q + D, width * sizeof(floating))
            memcpy(values + at + start[row] * width, q + 2 * D, width * sizeof(floating))
            attend_to_all(
                start[row] + 1, width, scale, <const floating *>q, <const floating *>keys + at,
                <const floating *>values + at, lines, weights, context + row * D + n * width)


cdef void norm_rows(
    const Sizes *s, const floating *x, const floating *gain, const floating *bias, floating *y
) noexcept nogil:
    cdef floating mean, inverse_std
    cdef Py_ssize_t b
    for b in range(s.B):
        layer_norm_row(s.D, x + b * s.D, gain, bias, 1e-5, y + b * s.D, &mean, &inverse_std)


cdef void block_part(
    const Sizes *s, const floating **w, floating *keys, floating *values, const int64_t *start,
    floating *x, floating *shared, Part part,
) noexcept nogil:
    """One block: x (B, D) in place.  The threads begin together, and end together."""
    cdef Py_ssize_t D = s.D, F = s.F, lanes = VECTOR_BYTES // sizeof(floating), b
    cdef char *own = part.own
    cdef floating *h = <floating *>cut(&own, s.B * D * sizeof(floating))
    cdef floating *qkv = shared
    cdef floating *context = qkv + s.B * 3 * D
    cdef floating *hidden = context + s.B * D
    cdef floating *activated = hidden + s.B * F
    cdef Py_ssize_t d0 = first_column(D, lanes, part.me, part.team)
    cdef Py_ssize_t d1 = first_column(D, lanes, part.me + 1, part.team)
    cdef Py_ssize_t f0 = first_column(F, lanes, part.me, part.team)
    cdef Py_ssize_t f1 = first_column(F, lanes, part.me + 1, part.team)
    norm_rows(s, <const floating *>x, w[0], w[1], h)
    attention_part(s, <const floating *>h, w[2], w[3], qkv, keys, values, start, context, part, own)
    meet(part.meeting, part.team)
    affine_columns(s.B, D, D, d0, d1, <const floating *>context, w[4], w[5], True, x, own)
    meet(part.meeting, part.team)
    norm_rows(s, <const floating *>x, w[6], w[7], h)
    affine_columns(s.B, D, F, f0, f1, <const floating *>h, w[8], w[9], False, hidden, own)
    for b in range(s.B):
        gelu_block(f1 - f0, <const floating *>hidden + b * F + f0, activated + b * F + f0)
    meet(part.meeting, part.team)
    affine_columns(s.B, F, D, d0, d1, <const floating *>activated, w[10], w[11], True, x, own)
    meet(part.meeting, part.team)


cdef void step_part(
    const Sizes *s, const floating **w, floating **past, const int64_t *start, floating *x,
    floating *shared, floating *logits, Part part,
) noexcept nogil:
    """All blocks, the last norm, and the thread's columns of the logits y E^T."""
    cdef floating *y = <floating *>part.own
    cdef Py_ssize_t layer, b, count
    cdef Py_ssize_t v0 = part.me * s.V // part.team, v1 = (part.me + 1) * s.V // part.team
    for layer in range(s.L):
        block_part(s, w + OF_MODEL + layer * OF_BLOCK, past[2 * layer], past[2 * layer + 1], start,
                   x, shared, part)
    norm_rows(s, <const floating *>x, w[2], w[3], y)
    while v0 < v1:  # rows of E by dozens: all rows of y pass over them while they are near
        count = min(32, v1 - v0)
        for b in range(s.B):
            dots(count, s.D, <floating>1, <const floating *>y + b * s.D, w[0] + v0 * s.D,
                 logits + b * s.V + v0)
        v0 += count


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
    if s.B * s.D * (s.V + s.L * (4 * s.D + 2 * s.F)) < WORTH_THREADS:
        threads = 1
    cdef Py_ssize_t each = own_size(&s, item), shared_size = s.B * (4 * s.D + 2 * s.F) * item
    cdef Workspace work = Workspace(
        2 * s.L * sizeof(void *) + s.B * s.D * item + shared_size + threads * each + 4 * 64)
    cdef floating **pasts = <floating **>work.take(2 * s.L * sizeof(void *))
    cdef floating *x = <floating *>work.take(s.B * s.D * item)
    cdef floating *shared = <floating *>work.take(shared_size)
    cdef char *own = work.take(threads * each)
    cdef Meeting meeting
    for i in range(2 * s.L):
        kept = past[i]
        check(kept.shape[0] == s.B and kept.shape[1] == s.N and kept.shape[2] == s.S
              and kept.shape[3] * s.N == s.D, "the cache")
        pasts[i] = &kept[0, 0, 0, 0]
    for i in range(s.B):
        for j in range(s.D):
            x[i * s.D + j] = w[0][ids[i] * s.D + j] + w[1][start[i] * s.D + j]
    result = empty((s.B, s.V), addresses.dtype)
    logits = result
    open_meeting(&meeting)
    if threads == 1:
        with nogil:
            enter(&s, w, pasts, &start[0], x, shared, &logits[0, 0], 0, 1, &meeting, own)
    else:
        with nogil, parallel(num_threads=threads):
            enter(&s, w, pasts, &start[0], x, shared, &logits[0, 0], threadid(), team_size(),
                  &meeting, own + threadid() * each)
    close_meeting(&meeting)
    return result


cdef void enter(
    const Sizes *s, const floating **w, floating **past, const int64_t *start, floating *x,
    floating *shared, floating *logits, int me, int team, Meeting *meeting, char *own,
) noexcept nogil:
    cdef Part part
    part.me, part.team, part.meeting, part.own = me, team, meeting, own
    step_part(s, w, past, start, x, shared, logits, part)
