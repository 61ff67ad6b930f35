# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The recurrences, forward and backward through time: the Cython twin of recurrent.py.

Structure.  The three recurrences differ in their cells alone:

    *_cell, *_cell_backward    one vector of hidden columns of one row
    forward_part               one thread's rows through all steps
    backward_part              the same from the last step to the first
    forward, backward          the matrix products before and after the loop, and the threads

Why it is fast.

- The input's share of all steps is one matrix product before the loop, and the
  weights' gradients are one each after it, as in the original.
- W_h is packed once and read at every step.  A panel of it holds the columns of
  all gates of one vector of hidden columns side by side, so that a tile's sums
  are the whole pre-activation of some cells.  The cell runs on them at once,
  while they are in the first-level cache; nothing is written out in between.
- Backwards the same: a tile of  dh = da W_h^T  goes straight into the cell's
  backward, which leaves the da of the step before.
- The cells are plain loops over point functions (maths.h) that the compiler
  turns into vector code.
- The state of a step lives in a small buffer of its own: in hs its rows are T
  steps apart, often at a distance that makes them collide in the caches.
- Rows of the batch do not depend on each other until the weights' gradients:
  each thread takes some of them through all steps, and no thread ever waits.
- Rows are taken longest first.  Those alive at a step are then the first few,
  and unequal lengths cost nothing: what is beyond a row's end is not computed.
- Ids instead of x need no product: a cell's sums begin with a line of a table.
"""


include "floating.pxi"
include "threads.pxi"
from minillm._kernels._pool cimport Workspace, empty
include "gemm.pxi"
include "maths.pxi"

ctypedef const long long[::1] Lengths
ctypedef const long long[:, ::1] Ids

cdef enum Cell:
    RNN = 1
    GRU = 3   # the value is the number of gates
    LSTM = 4


# --- the cells: one vector of columns of one row ------------------------------
#
# Gates stand one vector apart: a[j], a[lanes + j], ...  `one` is of the right
# precision, where a plain 1 is a double and takes the whole loop with it.


cdef inline void rnn_cell(floating *a, floating *h) noexcept nogil:
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), j
    for j in range(lanes):
        h[j] = tanh(a[j])


cdef inline void rnn_cell_backward(const floating *dh, const floating *h, floating *da) noexcept nogil:
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), j
    cdef floating one = 1
    for j in range(lanes):
        da[j] = dh[j] * (one - h[j] * h[j])


cdef inline void lstm_cell(floating *a, floating *c, floating *h) noexcept nogil:
    """Turn the pre-activations a into the gates i, f, g, o, and step c and h."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), j
    for j in range(lanes):
        a[j] = sigmoid(a[j])
        a[lanes + j] = sigmoid(a[lanes + j])
        a[2 * lanes + j] = tanh(a[2 * lanes + j])
        a[3 * lanes + j] = sigmoid(a[3 * lanes + j])
        c[j] = a[lanes + j] * c[j] + a[j] * a[2 * lanes + j]
        h[j] = a[3 * lanes + j] * tanh(c[j])


cdef inline void lstm_cell_backward(const floating *dh, floating *dc, const floating *gates,
                                    const floating *c, const floating *c_prev, floating *da) noexcept nogil:
    """da from dh; dc becomes that of the step before."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), j
    cdef floating one = 1
    cdef floating i, f, g, o, tanh_c, dc_t
    for j in range(lanes):
        i, f, g, o = gates[j], gates[lanes + j], gates[2 * lanes + j], gates[3 * lanes + j]
        tanh_c = tanh(c[j])
        dc_t = dc[j] + dh[j] * o * (one - tanh_c * tanh_c)
        da[j] = dc_t * g * i * (one - i)
        da[lanes + j] = dc_t * c_prev[j] * f * (one - f)
        da[2 * lanes + j] = dc_t * i * (one - g * g)
        da[3 * lanes + j] = dh[j] * tanh_c * o * (one - o)
        dc[j] = dc_t * f


cdef inline void gru_cell(floating *a, floating *n, const floating *h_prev, floating *h) noexcept nogil:
    """a: pre-activations of r and z, then h_n; n: the input's share of n.  They become r, z, h_n and n."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), j
    cdef floating one = 1
    for j in range(lanes):
        a[j] = sigmoid(a[j])
        a[lanes + j] = sigmoid(a[lanes + j])
        n[j] = tanh(n[j] + a[j] * a[2 * lanes + j])
        h[j] = (one - a[lanes + j]) * n[j] + a[lanes + j] * h_prev[j]


cdef inline void gru_cell_backward(const floating *dh_t, floating *dh, const floating *gates,
                                   const floating *h_n, const floating *h_prev, floating *da) noexcept nogil:
    """da: by r, z, by h W_hn + b_hn, by x W_xn + b_xn; dh: what passes by the gate z."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), j
    cdef floating one = 1
    cdef floating r, z, n, da_n
    for j in range(lanes):
        r, z, n = gates[j], gates[lanes + j], gates[2 * lanes + j]
        da_n = dh_t[j] * (one - z) * (one - n * n)
        da[j] = da_n * h_n[j] * r * (one - r)
        da[lanes + j] = dh_t[j] * (h_prev[j] - n) * z * (one - z)
        da[2 * lanes + j] = da_n * r
        da[3 * lanes + j] = da_n
        dh[j] = dh_t[j] * z


# --- which rows are alive when -------------------------------------------------


cdef class Schedule:
    """Rows by length, longest first, and the steps that exist at all."""
    cdef Workspace memory
    cdef Py_ssize_t B, T, steps
    cdef Py_ssize_t *order   # (B,) rows, the longest first
    cdef Py_ssize_t *length  # (B,) of each row
    cdef Py_ssize_t *alive   # (T + 1,) how many rows are alive at step t
    cdef Py_ssize_t *step    # (steps,) b * T + t of every step within its row's length

    def __cinit__(self, Lengths lengths, Py_ssize_t T):
        cdef Py_ssize_t B = lengths.shape[0], b, t, word = sizeof(Py_ssize_t)
        self.B, self.T, self.steps = B, T, 0
        self.memory = Workspace((2 * B + T + 1 + B * T) * word + 256)
        self.order = <Py_ssize_t *>self.memory.take(B * word)
        self.length = <Py_ssize_t *>self.memory.take(B * word)
        self.alive = <Py_ssize_t *>self.memory.take((T + 1) * word)
        self.step = <Py_ssize_t *>self.memory.take(B * T * word)
        memset(self.alive, 0, (T + 1) * word)
        for b in range(B):
            self.length[b] = lengths[b]
            self.alive[lengths[b]] += 1  # for now: how many rows have this length
            for t in range(lengths[b]):
                self.step[self.steps] = b * T + t
                self.steps += 1
        # Each length's rows begin behind all longer ones.
        cdef Py_ssize_t longer = 0, count
        for t in range(T, -1, -1):
            count = self.alive[t]
            self.alive[t] = longer
            longer += count
        for b in range(B):
            t = self.length[b]
            self.order[self.alive[t]] = b
            self.alive[t] += 1
        # Now alive[t] counts the lengths >= t; those alive at t are longer than it.
        for t in range(T):
            self.alive[t] = self.alive[t + 1]
        self.alive[T] = 0


cdef inline Py_ssize_t share(Py_ssize_t rows, int part, int threads) noexcept nogil:
    """How many of the first `rows` rows are this thread's, who takes every threads-th."""
    return (rows - part + threads - 1) // threads if rows > part else 0


cdef inline Py_ssize_t state_stride(Py_ssize_t H, Py_ssize_t itemsize) noexcept nogil:
    """Whole vectors, and a cache line more, so that rows do not collide in the cache."""
    return ceil_div(H * itemsize, VECTOR_BYTES) * VECTOR_BYTES // itemsize + 64 // itemsize


cdef inline void add_line(Py_ssize_t n, const floating *x, floating *sums) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        sums[j] += x[j]


cdef inline void add_bias(Py_ssize_t n, const floating *x, const floating *b, floating *sums) noexcept nogil:
    memcpy(sums, x, n * sizeof(floating))
    add_line(n, b, sums)


# --- forward --------------------------------------------------------------------


cdef Py_ssize_t panel_vectors(int cell) noexcept nogil:
    """How many vectors of hidden columns a forward panel holds."""
    return 4 if cell == RNN else 1


cdef void pack_forward(int cell, Py_ssize_t H, const floating **W_h, floating *packed, int part,
                       int threads) noexcept nogil:
    """packed[panel][k]: the gates of the panel's columns side by side."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), columns = panel_vectors(cell) * lanes
    cdef Py_ssize_t panels = ceil_div(H, columns), p, k, g, j
    cdef floating *line
    for p in range(part * panels // threads, (part + 1) * panels // threads):
        j = p * columns
        for k in range(H):
            line = packed + (p * H + k) * cell * columns
            for g in range(<Py_ssize_t>cell):
                copy_columns(line + g * columns, W_h[k] + g * H + j, min(columns, H - j))
                if H - j < columns:
                    memset(line + g * columns + H - j, 0, (columns - (H - j)) * sizeof(floating))


cdef Py_ssize_t forward_scratch(Py_ssize_t B, Py_ssize_t H, Py_ssize_t itemsize) noexcept nogil:
    return TILE_SIZE + VECTOR_BYTES + 3 * B * state_stride(H, itemsize) * itemsize


cdef void forward_part(
    int cell, Py_ssize_t T, Py_ssize_t H, const Py_ssize_t *order, const Py_ssize_t *length,
    const Py_ssize_t *alive, Py_ssize_t B, int part, int threads, const floating *packed,
    const floating *shares, const long long *ids,
    const floating *h0, const floating *c0, const floating *b_hn,
    floating *hs, floating *h_last, floating *c_last, floating *gates, floating *more, char *scratch,
) noexcept nogil:
    """One thread's rows through all steps.

    shares holds the input's share of each step, or (ids) of each id.  It may lie
    where the gates (for the rnn: hs) will be.  more is what else a cell keeps: the
    lstm's cs, the gru's h_n.
    """
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), G = cell
    cdef Py_ssize_t columns = panel_vectors(cell) * lanes, panels = ceil_div(H, columns)
    cdef Py_ssize_t ld = state_stride(H, sizeof(floating)), rows = share(B, part, threads)
    cdef floating *acc = <floating *>scratch
    cdef floating *n = <floating *>(scratch + TILE_SIZE)
    cdef floating *h = n + lanes
    cdef floating *h_next = h + rows * ld
    cdef floating *c = h_next + rows * ld
    cdef const floating *a[8]
    cdef floating *out[8]
    cdef const floating *panel
    cdef floating *sums
    cdef const floating *share_of
    cdef Py_ssize_t t, p, i, j, m, m0, m1, tile_index, tiles, now, b, count, g, v, width, row, ahead
    cdef int vectors
    memset(h, 0, 3 * rows * ld * sizeof(floating))
    for i in range(rows):
        b = order[part + i * threads]
        memcpy(h + i * ld, h0 + b * H, H * sizeof(floating))
        if cell == LSTM:
            memcpy(c + i * ld, c0 + b * H, H * sizeof(floating))

    for t in range(T):
        now = share(alive[t], part, threads)
        for p in range(panels if now > 0 else 0):
            j = p * columns
            vectors = <int>(ceil_div(min(columns, H - j), lanes) if cell == RNN else G)
            width = vectors * lanes
            tiles = ceil_div(now, TILE_ROWS(vectors))
            for tile_index in range(tiles):
                m0 = tile_index * now // tiles
                m1 = (tile_index + 1) * now // tiles
                for m in range(m0, m1):
                    a[m - m0] = h + m * ld
                    sums = out[m - m0] = acc + (m - m0) * width
                    row = order[part + m * threads] * T + t
                    # The next panel reads here; after the last, the first one of the next step.
                    ahead = columns if p + 1 < panels else (0 if t + 1 == T else G * H - j)
                    share_of = shares + (row if ids == NULL else ids[row]) * G * H + j
                    if cell == RNN:
                        prefetch(share_of + ahead, width)
                        copy_columns(sums, share_of, min(width, H - j))
                    else:
                        count = min(lanes, H - j)
                        for g in range(G):
                            prefetch(share_of + g * H + ahead, lanes)
                        for g in range(G - (cell == GRU)):
                            copy_columns(sums + g * lanes, share_of + g * H, count)
                        if cell == GRU:  # n's two shares stay apart until the reset
                            copy_columns(sums + 2 * lanes, b_hn + j, count)
                tile(<int>(m1 - m0), vectors, H, a, packed + p * H * G * columns, G * columns,
                     <const floating **>out, out)
                for m in range(m0, m1):
                    sums = acc + (m - m0) * width
                    row = order[part + m * threads] * T + t
                    count = min(lanes, H - j)
                    if cell == RNN:
                        for v in range(vectors):
                            rnn_cell(sums + v * lanes, h_next + m * ld + j + v * lanes)
                        copy_columns(hs + row * H + j, h_next + m * ld + j, min(width, H - j))
                    elif cell == LSTM:
                        lstm_cell(sums, c + m * ld + j, h_next + m * ld + j)
                        for g in range(G):
                            copy_columns(gates + (row * G + g) * H + j, sums + g * lanes, count)
                        copy_columns(more + row * H + j, c + m * ld + j, count)
                        copy_columns(hs + row * H + j, h_next + m * ld + j, count)
                    else:
                        share_of = shares + (row if ids == NULL else ids[row]) * G * H + j
                        copy_columns(n, share_of + 2 * H, count)
                        gru_cell(sums, n, h + m * ld + j, h_next + m * ld + j)
                        copy_columns(gates + row * G * H + j, sums, count)
                        copy_columns(gates + (row * G + 1) * H + j, sums + lanes, count)
                        copy_columns(gates + (row * G + 2) * H + j, n, count)
                        copy_columns(more + row * H + j, sums + 2 * lanes, count)
                        copy_columns(hs + row * H + j, h_next + m * ld + j, count)
        # Rows that end here: those alive now and not at the next step.
        for i in range(share(alive[t + 1], part, threads), now):
            memcpy(h_last + order[part + i * threads] * H, h_next + i * ld, H * sizeof(floating))
        h, h_next = h_next, h

    for i in range(rows):
        b = order[part + i * threads]
        row = b * T + length[b]
        count = T - length[b]
        if length[b] == 0:
            memcpy(h_last + b * H, h0 + b * H, H * sizeof(floating))
        memset(hs + row * H, 0, count * H * sizeof(floating))
        if cell == LSTM:
            memcpy(c_last + b * H, c + i * ld, H * sizeof(floating))
        if cell != RNN:
            memset(gates + row * G * H, 0, count * G * H * sizeof(floating))
            memset(more + row * H, 0, count * H * sizeof(floating))


cdef int forward(
    int cell, const floating[:, :, ::1] x, Ids ids, const floating[:, ::1] h0, const floating *c0,
    const floating[:, ::1] W_x, const floating[:, ::1] W_h, const floating *b, const floating *b_hn,
    Lengths lengths, floating[:, :, ::1] hs, floating[:, ::1] h_last, floating *c_last,
    floating *gates, floating *more,
) except -1:
    """Of x and ids one is None.  b: the bias of the input's share (the gru's with b_h's r and z)."""
    cdef Py_ssize_t B = hs.shape[0], T = hs.shape[1], H = h0.shape[1], GH = cell * H
    cdef Py_ssize_t I = 0 if x is None else x.shape[2], V = W_x.shape[0] if x is None else 0
    cdef Py_ssize_t word = sizeof(void *), i, j, columns
    cdef Schedule schedule = Schedule(lengths, T)
    cdef int threads = max_threads() if schedule.steps * (I + H) * GH > SMALL else 1
    cdef int part, splits = <int>max(1, min(threads, B))
    cdef Workspace lines = Workspace((2 * schedule.steps + I + H) * word + 256)
    cdef const floating **x_lines = <const floating **>lines.take(schedule.steps * word)
    cdef floating **c_lines = <floating **>lines.take(schedule.steps * word)
    cdef const floating **W_x_lines = <const floating **>lines.take(I * word)
    cdef const floating **W_h_lines = <const floating **>lines.take(H * word)
    cdef floating *shares = &hs[0, 0, 0] if cell == RNN else gates
    cdef const long long *id_of_step = NULL if ids is None else &ids[0, 0]
    for i in range(schedule.steps if ids is None else 0):
        x_lines[i] = &x[0, 0, 0] + schedule.step[i] * I
        c_lines[i] = shares + schedule.step[i] * GH
    for i in range(I):
        W_x_lines[i] = &W_x[i, 0]
    for i in range(H):
        W_h_lines[i] = &W_h[i, 0]
    columns = panel_vectors(cell) * VECTOR_BYTES // <Py_ssize_t>sizeof(floating)
    cdef Py_ssize_t packed_size = ceil_div(H, columns) * columns * H * cell * sizeof(floating)
    cdef Py_ssize_t gemm_size = scratch_size(schedule.steps, I, False, sizeof(floating))
    cdef Py_ssize_t part_size = forward_scratch(ceil_div(B, splits), H, sizeof(floating))
    part_size = ceil_div(part_size, 64) * 64
    cdef Workspace work = Workspace(packed_size + V * GH * sizeof(floating) + 128
                                    + max(threads * gemm_size, splits * part_size))
    cdef floating *packed = <floating *>work.take(packed_size)
    cdef floating *table = <floating *>work.take(V * GH * sizeof(floating))
    cdef char *scratch = work.front
    cdef const Py_ssize_t *order = schedule.order
    cdef const Py_ssize_t *length = schedule.length
    cdef const Py_ssize_t *alive = schedule.alive
    cdef Py_ssize_t steps = schedule.steps
    if ids is not None:
        shares = table
    with nogil:
        if ids is None:
            multiply(steps, GH, I, x_lines, False, W_x_lines, True, b, False, c_lines, threads,
                     scratch, gemm_size)
        for i in prange(V, num_threads=threads, schedule="static"):
            add_bias(GH, &W_x[i, 0], b, table + i * GH)
        for part in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            pack_forward(cell, H, W_h_lines, packed, part, threads)
        for part in prange(splits, num_threads=splits, schedule="static", chunksize=1):
            forward_part(cell, T, H, order, length, alive, B, part, splits, <const floating *>packed,
                         <const floating *>shares, id_of_step, <const floating *>&h0[0, 0], c0, b_hn, &hs[0, 0, 0], &h_last[0, 0], c_last,
                         gates, more, scratch + part * part_size)
    return 0


# --- backward -------------------------------------------------------------------


cdef Py_ssize_t backward_scratch(int cell, Py_ssize_t B, Py_ssize_t H, Py_ssize_t itemsize) noexcept nogil:
    return (TILE_SIZE + 16 * VECTOR_BYTES
            + 2 * B * (state_stride(H, itemsize) + state_stride(cell * H, itemsize)) * itemsize)


cdef void backward_part(
    int cell, Py_ssize_t T, Py_ssize_t H, const Py_ssize_t *order, const Py_ssize_t *alive,
    Py_ssize_t B, int part, int threads, const floating *packed,
    const floating *dhs, const floating *dh_last, const floating *dc_last,
    const floating *h0, const floating *c0, const floating *hs, const floating *gates,
    const floating *more, floating *da_all, floating *da_hn, floating *dh0, floating *dc0, char *scratch,
) noexcept nogil:
    """One thread's rows from the last step to the first: da of every step, dh0 and dc0.

    For the gru da_all is by the input's share, and da_hn by the state's share of
    n, where the two differ.
    """
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), G = cell, columns = 4 * lanes
    cdef Py_ssize_t panels = ceil_div(H, columns), rows = share(B, part, threads)
    cdef Py_ssize_t ld = state_stride(H, sizeof(floating)), lda = state_stride(G * H, sizeof(floating))
    cdef floating *acc = <floating *>scratch
    cdef floating *kept = <floating *>(scratch + TILE_SIZE)  # gates and states of one vector of columns
    cdef floating *da = kept + 8 * lanes                     # and the da of them
    cdef floating *dh = da + 8 * lanes
    cdef floating *dc = dh + rows * ld
    cdef floating *da_now = dc + rows * ld
    cdef floating *da_next = da_now + rows * lda
    cdef const floating *a[8]
    cdef floating *out[8]
    cdef floating *sums
    cdef Py_ssize_t t, p, i, j, q, m, m0, m1, tile_index, tiles, now, later, b, count, g, v, width, row
    cdef Py_ssize_t first, last, group
    cdef int vectors
    memset(dh, 0, 2 * rows * ld * sizeof(floating))
    for i in range(rows):
        b = order[part + i * threads]
        memcpy(dh + i * ld, dh_last + b * H, H * sizeof(floating))
        if cell == LSTM:
            memcpy(dc + i * ld, dc_last + b * H, H * sizeof(floating))

    for t in range(T - 1, -2, -1):  # at -1 there is no cell left: dh is dh0
        now = share(alive[t], part, threads) if t >= 0 else rows
        later = share(alive[t + 1], part, threads)
        for p in range(panels):
            j = p * columns
            vectors = <int>ceil_div(min(columns, H - j), lanes)
            width = vectors * lanes
            count = min(width, H - j)
            # Rows with a later step get da W_h^T from it; for the others this is the last.
            for group in range(2):
                first = 0 if group == 0 else later
                last = later if group == 0 else now
                tiles = ceil_div(last - first, TILE_ROWS(vectors))
                for tile_index in range(tiles):
                    m0 = first + tile_index * (last - first) // tiles
                    m1 = first + (tile_index + 1) * (last - first) // tiles
                    for m in range(m0, m1):
                        a[m - m0] = da_next + m * lda
                        sums = out[m - m0] = acc + (m - m0) * width
                        copy_columns(sums, dh + m * ld + j, width)
                        if t >= 0:
                            row = order[part + m * threads] * T + t
                            for i in range(count):
                                sums[i] += dhs[row * H + j + i]
                            # What the cell will want once the tile is done.
                            prefetch(hs + row * H + j, count)
                            for g in range(G):
                                prefetch(da_all + (row * G + g) * H + j, count)
                            if cell != RNN:
                                prefetch(more + row * H + j, count)
                                for g in range(G):
                                    prefetch(gates + (row * G + g) * H + j, count)
                            if t > 0:
                                prefetch(dhs + (row - 1) * H + j, count)
                                if cell == LSTM:
                                    prefetch(more + (row - 1) * H + j, count)
                    tile(<int>(m1 - m0), vectors, G * H if group == 0 else 0, a,
                         packed + p * G * H * columns, width, <const floating **>out, out)
                    for m in range(m0, m1):
                        b = order[part + m * threads]
                        row = b * T + t
                        sums = acc + (m - m0) * width
                        if t < 0:
                            copy_columns(dh0 + b * H + j, sums, count)
                            continue
                        for v in range(vectors):
                            q = j + v * lanes
                            count = min(lanes, H - q)
                            if cell == RNN:
                                copy_columns(kept, hs + row * H + q, count)
                                rnn_cell_backward(sums, kept, da)
                                memset(dh + m * ld + q, 0, VECTOR_BYTES)
                            elif cell == LSTM:
                                for g in range(4):
                                    copy_columns(kept + g * lanes, gates + (row * 4 + g) * H + q, count)
                                copy_columns(kept + 4 * lanes, more + row * H + q, count)
                                copy_columns(kept + 5 * lanes, more + (row - 1) * H + q if t > 0
                                             else c0 + b * H + q, count)
                                lstm_cell_backward(sums, dc + m * ld + q, kept, kept + 4 * lanes,
                                                   kept + 5 * lanes, da)
                                memset(dh + m * ld + q, 0, VECTOR_BYTES)
                            else:
                                for g in range(3):
                                    copy_columns(kept + g * lanes, gates + (row * 3 + g) * H + q, count)
                                copy_columns(kept + 3 * lanes, more + row * H + q, count)
                                copy_columns(kept + 4 * lanes, hs + (row - 1) * H + q if t > 0
                                             else h0 + b * H + q, count)
                                gru_cell_backward(sums, dh + m * ld + q, kept, kept + 3 * lanes,
                                                  kept + 4 * lanes, da)
                            for g in range(G):
                                copy_columns(da_now + m * lda + g * H + q, da + g * lanes, count)
                                copy_columns(da_all + (row * G + g) * H + q,
                                             da + (g + (cell == GRU and g == 2)) * lanes, count)
                            if cell == GRU:
                                copy_columns(da_hn + row * H + q, da + 2 * lanes, count)
                            sums += lanes
                        count = min(width, H - j)
        da_now, da_next = da_next, da_now
    if cell == LSTM:
        for i in range(rows):
            memcpy(dc0 + order[part + i * threads] * H, dc + i * ld, H * sizeof(floating))


cdef inline void stack_step(floating *line, const floating *x, Py_ssize_t I, const floating *h_prev,
                            Py_ssize_t H) noexcept nogil:
    """[x, 1, h_prev, 1]: one line of what all weights' gradients are products of with da."""
    copy_columns(line, x, I)
    line[I] = 1
    copy_columns(line + I + 1, h_prev, H)
    line[I + 1 + H] = 1


cdef void gradient_of_lines(
    Py_ssize_t n0, Py_ssize_t n1, Py_ssize_t V, Py_ssize_t steps, const Py_ssize_t *steps_of,
    const long long *ids, const floating **da, floating **dW_x,
) noexcept nogil:
    """Columns n0 to n1 of dW_x, whose line v is the sum of da where v stood."""
    cdef Py_ssize_t i
    for i in range(V):
        memset(dW_x[i] + n0, 0, (n1 - n0) * sizeof(floating))
    for i in range(steps):
        add_line(n1 - n0, da[i] + n0, dW_x[ids[steps_of[i]]] + n0)


cdef int backward(
    int cell, const floating[:, :, ::1] dhs, const floating[:, ::1] dh_last, const floating *dc_last,
    const floating[:, :, ::1] x, Ids ids, const floating[:, ::1] h0, const floating *c0,
    const floating[:, ::1] W_x, const floating[:, ::1] W_h, Lengths lengths,
    const floating[:, :, ::1] hs, const floating *gates, const floating *more,
    floating[:, :, ::1] dx, floating[:, ::1] dh0, floating *dc0, floating[:, ::1] dW_x,
    floating[:, ::1] dW_h, floating *db, floating *db_hn,
) except -1:
    """The weights' gradients are one product: stacked^T da = [dW_x, db, dW_h].

    For the gru in three parts: r and z, which x and h have in common, and the
    two shares of n, in which da differs: there also the other half of its bias.
    """
    cdef Py_ssize_t B = hs.shape[0], T = hs.shape[1], H = h0.shape[1], GH = cell * H
    cdef Py_ssize_t I = 0 if x is None else x.shape[2], V = W_x.shape[0] if x is None else 0
    cdef Py_ssize_t word = sizeof(void *), itemsize = sizeof(floating), i, p, step, row
    cdef Schedule schedule = Schedule(lengths, T)
    cdef int threads = max_threads() if schedule.steps * (I + H) * GH > SMALL else 1
    cdef int part, splits = <int>max(1, min(threads, B))
    cdef Py_ssize_t steps = schedule.steps, M = I + 1 + H
    cdef Py_ssize_t common = 2 * H if cell == GRU else GH  # columns of da that x and h share
    cdef Workspace lines = Workspace((6 * steps + I + V + H + 2 * (M + 1)) * word + 1024)
    cdef const floating **stack_lines = <const floating **>lines.take(steps * word)
    cdef const floating **stack_h_lines = <const floating **>lines.take(steps * word)
    cdef const floating **da_lines = <const floating **>lines.take(steps * word)
    cdef const floating **da_xn_lines = <const floating **>lines.take(steps * word)
    cdef const floating **da_hn_lines = <const floating **>lines.take(steps * word)
    cdef floating **dx_lines = <floating **>lines.take(steps * word)
    cdef const floating **W_x_lines = <const floating **>lines.take(I * word)
    cdef const floating **W_h_lines = <const floating **>lines.take(H * word)
    cdef floating **dW_lines = <floating **>lines.take(M * word)
    cdef floating **dW_n_lines = <floating **>lines.take((M + 1) * word)
    cdef floating **dW_x_lines = <floating **>lines.take(V * word)
    cdef Py_ssize_t columns = 4 * VECTOR_BYTES // itemsize, panels = ceil_div(H, columns)
    cdef Py_ssize_t packed_size = panels * columns * GH * itemsize
    cdef Py_ssize_t stride = state_stride(M + 1, itemsize)
    cdef Py_ssize_t gemm_size = max(scratch_size(steps, GH, False, itemsize),
                                    scratch_size(M, steps, True, itemsize))
    cdef Py_ssize_t part_size = backward_scratch(cell, ceil_div(B, splits), H, itemsize)
    gemm_size, part_size = ceil_div(gemm_size, 64) * 64, ceil_div(part_size, 64) * 64
    cdef Workspace work = Workspace(
        packed_size + (B * T * (GH + H) + steps * stride) * itemsize + 256
        + max(threads * gemm_size, splits * part_size))
    cdef floating *packed = <floating *>work.take(packed_size)
    cdef floating *da = <floating *>work.take(B * T * GH * itemsize)
    cdef floating *da_hn = <floating *>work.take(B * T * H * itemsize if cell == GRU else 0)
    cdef floating *stack = <floating *>work.take(steps * stride * itemsize)
    cdef char *scratch = work.front
    cdef const Py_ssize_t *order = schedule.order
    cdef const Py_ssize_t *alive = schedule.alive
    cdef const Py_ssize_t *steps_of = schedule.step
    cdef const floating *x_start = NULL
    cdef const long long *id_of_step = NULL
    cdef const floating *h0_start = &h0[0, 0]
    cdef const floating *hs_start = &hs[0, 0, 0]
    for i in range(steps):
        step = schedule.step[i]
        stack_lines[i] = stack + i * stride
        stack_h_lines[i] = stack + i * stride + I + 1
        da_lines[i] = da + step * GH
        da_xn_lines[i] = da + step * GH + common
        da_hn_lines[i] = da_hn + step * H
    if ids is None:
        x_start = &x[0, 0, 0]
        for i in range(steps):
            dx_lines[i] = &dx[0, 0, 0] + schedule.step[i] * I
        for i in range(B):
            memset(&dx[i, 0, 0] + schedule.length[i] * I, 0, (T - schedule.length[i]) * I * itemsize)
    else:
        id_of_step = &ids[0, 0]
        for i in range(V):
            dW_x_lines[i] = &dW_x[i, 0]
    for i in range(I):
        W_x_lines[i] = &W_x[i, 0]
        dW_lines[i] = &dW_x[i, 0]
        dW_n_lines[i] = &dW_x[i, 0] + common
    for i in range(H):
        W_h_lines[i] = &W_h[i, 0]
        dW_lines[I + 1 + i] = &dW_h[i, 0]
        dW_n_lines[I + 1 + i] = &dW_h[i, 0] + common
    dW_lines[I], dW_n_lines[I] = db, db + common
    dW_n_lines[M] = db_hn

    with nogil:
        for p in prange(panels, num_threads=threads, schedule="static"):
            pack(packed + p * columns * GH, columns, W_h_lines, False, 0, GH, p * columns,
                 min((p + 1) * columns, H))
        for part in prange(splits, num_threads=splits, schedule="static", chunksize=1):
            backward_part(cell, T, H, order, alive, B, part, splits, <const floating *>packed,
                          <const floating *>&dhs[0, 0, 0], <const floating *>&dh_last[0, 0], dc_last,
                          h0_start, c0, hs_start, gates, more, da, da_hn,
                          &dh0[0, 0], dc0, scratch + part * part_size)
        if id_of_step == NULL:
            multiply(steps, I, GH, da_lines, False, W_x_lines, False, <const floating *>NULL, False,
                     dx_lines, threads, scratch, gemm_size)
        else:
            for part in prange(threads, num_threads=threads, schedule="static", chunksize=1):
                gradient_of_lines(part * GH // threads, (part + 1) * GH // threads, V, steps, steps_of,
                                  id_of_step, da_lines, dW_x_lines)
        for i in prange(steps, num_threads=threads, schedule="static"):
            row = steps_of[i]
            stack_step(stack + i * stride, x_start + row * I, I,
                       hs_start + (row - 1) * H if row % T > 0 else h0_start + row // T * H, H)
        multiply(M, common, steps, stack_lines, True, da_lines, True, <const floating *>NULL, False,
                 dW_lines, threads, scratch, gemm_size)
        if cell == GRU:
            multiply(I + 1, H, steps, stack_lines, True, da_xn_lines, True, <const floating *>NULL,
                     False, dW_n_lines, threads, scratch, gemm_size)
            multiply(H + 1, H, steps, stack_h_lines, True, da_hn_lines, True, <const floating *>NULL,
                     False, dW_n_lines + I + 1, threads, scratch, gemm_size)
    return 0


# --- the functions of recurrent.py ------------------------------------------------


cdef const floating *start(const floating[:, ::1] x):
    return &x[0, 0]


cdef x_or_ids(x):
    return (x, None) if x.ndim == 3 else (None, x)


def rnn_forward(x, h0, W_x, W_h, b, lengths):
    """-> hs (B, T, H), h_last (B, H)."""
    hs = empty((*x.shape[:2], h0.shape[1]), h0.dtype)
    h_last = empty(h0.shape, h0.dtype)
    x, ids = x_or_ids(x)
    if h0.itemsize == 4:
        rnn_forward_typed[float](x, ids, h0, W_x, W_h, b, lengths, hs, h_last)
    else:
        rnn_forward_typed[double](x, ids, h0, W_x, W_h, b, lengths, hs, h_last)
    return hs, h_last


cdef int rnn_forward_typed(
    const floating[:, :, ::1] x, Ids ids, const floating[:, ::1] h0, const floating[:, ::1] W_x,
    const floating[:, ::1] W_h, const floating[::1] b, Lengths lengths,
    floating[:, :, ::1] hs, floating[:, ::1] h_last,
) except -1:
    return forward(RNN, x, ids, h0, <const floating *>NULL, W_x, W_h, <const floating *>&b[0],
                   <const floating *>NULL, lengths, hs, h_last, <floating *>NULL, <floating *>NULL,
                   <floating *>NULL)


def rnn_backward(dhs, dh_last, x, h0, W_x, W_h, lengths, hs):
    """-> dx (None where x is ids), dh0, dW_x, dW_h, db."""
    dx = empty(x.shape, h0.dtype) if x.ndim == 3 else None
    dh0, dW_x, dW_h = (empty(like.shape, h0.dtype) for like in (h0, W_x, W_h))
    db = empty((W_x.shape[1],), h0.dtype)
    x, ids = x_or_ids(x)
    if h0.itemsize == 4:
        rnn_backward_typed[float](dhs, dh_last, x, ids, h0, W_x, W_h, lengths, hs, dx, dh0, dW_x, dW_h, db)
    else:
        rnn_backward_typed[double](dhs, dh_last, x, ids, h0, W_x, W_h, lengths, hs, dx, dh0, dW_x, dW_h, db)
    return dx, dh0, dW_x, dW_h, db


cdef int rnn_backward_typed(
    const floating[:, :, ::1] dhs, const floating[:, ::1] dh_last, const floating[:, :, ::1] x,
    Ids ids, const floating[:, ::1] h0, const floating[:, ::1] W_x, const floating[:, ::1] W_h, Lengths lengths,
    const floating[:, :, ::1] hs, floating[:, :, ::1] dx, floating[:, ::1] dh0,
    floating[:, ::1] dW_x, floating[:, ::1] dW_h, floating[::1] db,
) except -1:
    return backward(RNN, dhs, dh_last, <const floating *>NULL, x, ids, h0, <const floating *>NULL, W_x, W_h,
                    lengths, hs, <const floating *>NULL, <const floating *>NULL, dx, dh0,
                    <floating *>NULL, dW_x, dW_h, &db[0], <floating *>NULL)


def lstm_forward(x, h0, c0, W_x, W_h, b, lengths):
    """-> hs (B, T, H), h_last, c_last (B, H), gates (B, T, 4H), cs (B, T, H)."""
    hs = empty((*x.shape[:2], h0.shape[1]), h0.dtype)
    gates = empty((*x.shape[:2], W_x.shape[1]), h0.dtype)
    h_last, c_last, cs = empty(h0.shape, h0.dtype), empty(c0.shape, h0.dtype), empty(hs.shape, h0.dtype)
    x, ids = x_or_ids(x)
    if h0.itemsize == 4:
        lstm_forward_typed[float](x, ids, h0, c0, W_x, W_h, b, lengths, hs, h_last, c_last, gates, cs)
    else:
        lstm_forward_typed[double](x, ids, h0, c0, W_x, W_h, b, lengths, hs, h_last, c_last, gates, cs)
    return hs, h_last, c_last, gates, cs


cdef int lstm_forward_typed(
    const floating[:, :, ::1] x, Ids ids, const floating[:, ::1] h0, const floating[:, ::1] c0,
    const floating[:, ::1] W_x, const floating[:, ::1] W_h, const floating[::1] b, Lengths lengths,
    floating[:, :, ::1] hs, floating[:, ::1] h_last, floating[:, ::1] c_last,
    floating[:, :, ::1] gates, floating[:, :, ::1] cs,
) except -1:
    return forward(LSTM, x, ids, h0, <const floating *>&c0[0, 0], W_x, W_h, <const floating *>&b[0],
                   <const floating *>NULL, lengths, hs, h_last, &c_last[0, 0], &gates[0, 0, 0],
                   &cs[0, 0, 0])


def lstm_backward(dhs, dh_last, dc_last, x, h0, c0, W_x, W_h, lengths, hs, gates, cs):
    """-> dx (None where x is ids), dh0, dc0, dW_x, dW_h, db."""
    dx = empty(x.shape, h0.dtype) if x.ndim == 3 else None
    dh0, dW_x, dW_h = (empty(like.shape, h0.dtype) for like in (h0, W_x, W_h))
    dc0, db = empty(c0.shape, h0.dtype), empty((W_x.shape[1],), h0.dtype)
    x, ids = x_or_ids(x)
    if h0.itemsize == 4:
        lstm_backward_typed[float](dhs, dh_last, dc_last, x, ids, h0, c0, W_x, W_h, lengths, hs, gates, cs,
                                   dx, dh0, dc0, dW_x, dW_h, db)
    else:
        lstm_backward_typed[double](dhs, dh_last, dc_last, x, ids, h0, c0, W_x, W_h, lengths, hs, gates, cs,
                                    dx, dh0, dc0, dW_x, dW_h, db)
    return dx, dh0, dc0, dW_x, dW_h, db


cdef int lstm_backward_typed(
    const floating[:, :, ::1] dhs, const floating[:, ::1] dh_last, const floating[:, ::1] dc_last,
    const floating[:, :, ::1] x, Ids ids, const floating[:, ::1] h0, const floating[:, ::1] c0,
    const floating[:, ::1] W_x, const floating[:, ::1] W_h, Lengths lengths,
    const floating[:, :, ::1] hs, const floating[:, :, ::1] gates, const floating[:, :, ::1] cs,
    floating[:, :, ::1] dx, floating[:, ::1] dh0, floating[:, ::1] dc0,
    floating[:, ::1] dW_x, floating[:, ::1] dW_h, floating[::1] db,
) except -1:
    return backward(LSTM, dhs, dh_last, <const floating *>&dc_last[0, 0], x, ids, h0,
                    <const floating *>&c0[0, 0], W_x, W_h, lengths, hs,
                    <const floating *>&gates[0, 0, 0], <const floating *>&cs[0, 0, 0], dx, dh0,
                    &dc0[0, 0], dW_x, dW_h, &db[0], <floating *>NULL)


def gru_forward(x, h0, W_x, W_h, b_x, b_h, lengths):
    """-> hs (B, T, H), h_last (B, H), gates (B, T, 3H), h_n (B, T, H)."""
    hs = empty((*x.shape[:2], h0.shape[1]), h0.dtype)
    gates = empty((*x.shape[:2], W_x.shape[1]), h0.dtype)
    h_last, h_n = empty(h0.shape, h0.dtype), empty(hs.shape, h0.dtype)
    b = gru_bias(b_x, b_h)
    x, ids = x_or_ids(x)
    if h0.itemsize == 4:
        gru_forward_typed[float](x, ids, h0, W_x, W_h, b, b_h, lengths, hs, h_last, gates, h_n)
    else:
        gru_forward_typed[double](x, ids, h0, W_x, W_h, b, b_h, lengths, hs, h_last, gates, h_n)
    return hs, h_last, gates, h_n


cdef gru_bias(b_x, b_h):
    """The bias of the input's share: r and z are sums, and can take both at once."""
    b = b_x.copy()
    shared = 2 * len(b) // 3
    b[:shared] += b_h[:shared]
    return b


cdef int gru_forward_typed(
    const floating[:, :, ::1] x, Ids ids, const floating[:, ::1] h0, const floating[:, ::1] W_x,
    const floating[:, ::1] W_h, const floating[::1] b, const floating[::1] b_h, Lengths lengths,
    floating[:, :, ::1] hs, floating[:, ::1] h_last, floating[:, :, ::1] gates, floating[:, :, ::1] h_n,
) except -1:
    return forward(GRU, x, ids, h0, <const floating *>NULL, W_x, W_h, <const floating *>&b[0],
                   <const floating *>&b_h[0] + 2 * h0.shape[1], lengths, hs, h_last,
                   <floating *>NULL, &gates[0, 0, 0], &h_n[0, 0, 0])


def gru_backward(dhs, dh_last, x, h0, W_x, W_h, lengths, hs, gates, h_n):
    """-> dx (None where x is ids), dh0, dW_x, dW_h, db_x, db_h."""
    dx = empty(x.shape, h0.dtype) if x.ndim == 3 else None
    dh0, dW_x, dW_h = (empty(like.shape, h0.dtype) for like in (h0, W_x, W_h))
    db_x, db_hn = empty((W_x.shape[1],), h0.dtype), empty((h0.shape[1],), h0.dtype)
    x, ids = x_or_ids(x)
    if h0.itemsize == 4:
        gru_backward_typed[float](dhs, dh_last, x, ids, h0, W_x, W_h, lengths, hs, gates, h_n, dx, dh0,
                                  dW_x, dW_h, db_x, db_hn)
    else:
        gru_backward_typed[double](dhs, dh_last, x, ids, h0, W_x, W_h, lengths, hs, gates, h_n, dx, dh0,
                                   dW_x, dW_h, db_x, db_hn)
    return dx, dh0, dW_x, dW_h, db_x, np.concatenate([db_x[:2 * len(db_hn)], db_hn])


cdef int gru_backward_typed(
    const floating[:, :, ::1] dhs, const floating[:, ::1] dh_last, const floating[:, :, ::1] x,
    Ids ids, const floating[:, ::1] h0, const floating[:, ::1] W_x, const floating[:, ::1] W_h, Lengths lengths,
    const floating[:, :, ::1] hs, const floating[:, :, ::1] gates, const floating[:, :, ::1] h_n,
    floating[:, :, ::1] dx, floating[:, ::1] dh0, floating[:, ::1] dW_x, floating[:, ::1] dW_h,
    floating[::1] db_x, floating[::1] db_hn,
) except -1:
    return backward(GRU, dhs, dh_last, <const floating *>NULL, x, ids, h0, <const floating *>NULL, W_x, W_h,
                    lengths, hs, <const floating *>&gates[0, 0, 0], <const floating *>&h_n[0, 0, 0],
                    dx, dh0, <floating *>NULL, dW_x, dW_h, &db_x[0], &db_hn[0])


# --- single steps, which keep nothing -----------------------------------------------
#
# W is used once, and so it is not packed: a few rows read it where it lies, as
# fast as memory gives it.  The sums run in the order that they have in a whole
# sequence, and so a text generated step by step has the bits of one read at once.


cdef int step(
    int cell, const floating[:, ::1] x, const long long[::1] ids, const floating[:, ::1] h,
    const floating *c,
    const floating[:, ::1] W_x, const floating[:, ::1] W_h, const floating[::1] b, const floating *b_hn,
    floating[:, ::1] h_new, floating *c_new,
) except -1:
    cdef Py_ssize_t B = h.shape[0], I = 0 if x is None else x.shape[1], H = h.shape[1], GH = cell * H
    cdef Py_ssize_t word = sizeof(void *), lanes = VECTOR_BYTES // <Py_ssize_t>sizeof(floating)
    cdef Py_ssize_t common = 2 * H if cell == GRU else GH, i, j, g, count
    cdef int threads = max_threads() if B * (I + H) * GH > SMALL else 1
    cdef Workspace lines = Workspace((4 * B + I + 2 * H) * word + 1024)
    cdef const floating **x_lines = <const floating **>lines.take(B * word)
    cdef const floating **h_lines = <const floating **>lines.take(B * word)
    cdef floating **a_lines = <floating **>lines.take(B * word)
    cdef floating **h_n_lines = <floating **>lines.take(B * word)
    cdef const floating **W_x_lines = <const floating **>lines.take(I * word)
    cdef const floating **W_h_lines = <const floating **>lines.take(H * word)
    cdef const floating **W_hn_lines = <const floating **>lines.take(H * word)
    cdef Py_ssize_t size = 0
    if not is_few(B, False, True):
        size = ceil_div(scratch_size(B, max(I, H), False, sizeof(floating)), 64) * 64
    cdef Workspace work = Workspace((B * (GH + H) + 8 * lanes) * sizeof(floating) + 256 + threads * size)
    cdef floating *a = <floating *>work.take(B * GH * sizeof(floating))
    cdef floating *h_n = <floating *>work.take(B * H * sizeof(floating))
    cdef floating *gates = <floating *>work.take(4 * lanes * sizeof(floating))
    cdef floating *states = <floating *>work.take(4 * lanes * sizeof(floating))  # n, c, h_prev, h
    cdef char *scratch = work.front
    for i in range(B):
        h_lines[i], a_lines[i], h_n_lines[i] = &h[i, 0], a + i * GH, h_n + i * H
        if x is None:
            add_bias(GH, &W_x[ids[i], 0], &b[0], a_lines[i])
        else:
            x_lines[i] = &x[i, 0]
    for i in range(I):
        W_x_lines[i] = &W_x[i, 0]
    for i in range(H):
        W_h_lines[i] = &W_h[i, 0]
        W_hn_lines[i] = &W_h[i, 0] + common
    with nogil:
        memset(gates, 0, 4 * VECTOR_BYTES)
        memset(states, 0, 4 * VECTOR_BYTES)
        if I > 0:
            multiply(B, GH, I, x_lines, False, W_x_lines, True, <const floating *>&b[0], False,
                     a_lines, threads, scratch, size)
        multiply(B, common, H, h_lines, False, W_h_lines, True, <const floating *>NULL, True,
                 a_lines, threads, scratch, size)
        if cell == GRU:
            multiply(B, H, H, h_lines, False, W_hn_lines, True, b_hn, False,
                     h_n_lines, threads, scratch, size)
        for i in range(B):
            j = 0
            while j < H:
                count = min(lanes, H - j)
                for g in range(<Py_ssize_t>cell):
                    copy_columns(gates + g * lanes, <const floating *>a + i * GH + g * H + j, count)
                if cell == RNN:
                    rnn_cell(gates, states + 3 * lanes)
                elif cell == LSTM:
                    copy_columns(states + lanes, c + i * H + j, count)
                    lstm_cell(gates, states + lanes, states + 3 * lanes)
                    copy_columns(c_new + i * H + j, <const floating *>states + lanes, count)
                else:
                    copy_columns(states, <const floating *>gates + 2 * lanes, count)
                    copy_columns(gates + 2 * lanes, <const floating *>h_n + i * H + j, count)
                    copy_columns(states + 2 * lanes, <const floating *>h_lines[i] + j, count)
                    gru_cell(gates, states, states + 2 * lanes, states + 3 * lanes)
                copy_columns(&h_new[i, 0] + j, <const floating *>states + 3 * lanes, count)
                j += lanes
    return 0


def rnn_step(x, h, W_x, W_h, b):
    """One step without history: x (B, I) or ids (B,), h (B, H) -> h (B, H)."""
    h_new = np.empty_like(h)
    x, ids = (x, None) if x.ndim == 2 else (None, x)
    if h.itemsize == 4:
        step[float](RNN, x, ids, h, NULL, W_x, W_h, b, NULL, h_new, NULL)
    else:
        step[double](RNN, x, ids, h, NULL, W_x, W_h, b, NULL, h_new, NULL)
    return h_new


def lstm_step(x, h, c, W_x, W_h, b):
    """One step without history: x (B, I) or ids (B,), h and c (B, H) -> h, c (B, H)."""
    h_new, c_new = np.empty_like(h), np.empty_like(c)
    x, ids = (x, None) if x.ndim == 2 else (None, x)
    if h.itemsize == 4:
        step[float](LSTM, x, ids, h, start[float](c), W_x, W_h, b, NULL, h_new, <float *>start[float](c_new))
    else:
        step[double](LSTM, x, ids, h, start[double](c), W_x, W_h, b, NULL, h_new, <double *>start[double](c_new))
    return h_new, c_new


def gru_step(x, h, W_x, W_h, b_x, b_h):
    """One step without history: x (B, I) or ids (B,), h (B, H) -> h (B, H)."""
    h_new, b, b_hn = np.empty_like(h), gru_bias(b_x, b_h), b_h[None, -h.shape[1]:]
    x, ids = (x, None) if x.ndim == 2 else (None, x)
    if h.itemsize == 4:
        step[float](GRU, x, ids, h, NULL, W_x, W_h, b, start[float](b_hn), h_new, NULL)
    else:
        step[double](GRU, x, ids, h, NULL, W_x, W_h, b, start[double](b_hn), h_new, NULL)
    return h_new
