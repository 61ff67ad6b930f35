# Which rows have which steps, and which rows are whose: rows by length, the longest first,
# so that the rows that have a step t are the first alive[t] of them.  And the run of all rows,
# forward or backward, which differ in the panels of W_h and in what a row does.


cdef struct Rows:
    # The rows that one thread takes through all steps: every `threads`-th in the order of
    # the schedule, from row `first` on.
    Py_ssize_t first, threads
    Py_ssize_t B, T, H
    Py_ssize_t *order   # (B,) rows, the longest first
    Py_ssize_t *length  # (B,) of each row
    Py_ssize_t *alive   # (T + 1,) how many rows have a step t


cdef class Schedule:
    """Rows by length, the longest first, and all steps within the lengths."""
    cdef Workspace memory
    cdef Rows rows           # of the first thread
    cdef Py_ssize_t steps
    cdef Py_ssize_t *step    # (steps,) b * T + t of each step
    cdef Py_ssize_t *turn    # (steps,) t * B + b of each step

    def __cinit__(self, Lengths lengths, Py_ssize_t T, Py_ssize_t H):
        cdef Py_ssize_t B = lengths.shape[0], b, t, word = sizeof(Py_ssize_t)
        cdef Rows *rows = &self.rows
        self.memory = Workspace((2 * B + T + 1 + 2 * B * T) * word + 320)
        rows.first, rows.B, rows.T, rows.H, self.steps = 0, B, T, H, 0
        rows.order = <Py_ssize_t *>self.memory.take(B * word)
        rows.length = <Py_ssize_t *>self.memory.take(B * word)
        rows.alive = <Py_ssize_t *>self.memory.take((T + 1) * word)
        self.step = <Py_ssize_t *>self.memory.take(B * T * word)
        self.turn = <Py_ssize_t *>self.memory.take(B * T * word)
        memset(rows.alive, 0, (T + 1) * word)
        for b in range(B):
            rows.length[b] = lengths[b]
            rows.alive[lengths[b]] += 1  # for now: how many rows have this length
            for t in range(lengths[b]):
                self.step[self.steps], self.turn[self.steps] = b * T + t, t * B + b
                self.steps += 1
        # The rows of each length begin behind all longer ones.
        cdef Py_ssize_t longer = 0, count
        for t in range(T, -1, -1):
            count = rows.alive[t]
            rows.alive[t] = longer
            longer += count
        for b in range(B):
            t = rows.length[b]
            rows.order[rows.alive[t]] = b
            rows.alive[t] += 1
        # alive[t] counts the lengths >= t now; a row has a step t if it is longer than t.
        for t in range(T):
            rows.alive[t] = rows.alive[t + 1]
        rows.alive[T] = 0


cdef inline Py_ssize_t row_at(const Rows *rows, Py_ssize_t m) noexcept nogil:
    """The row of the batch that is this thread's m-th."""
    return rows.order[rows.first + m * rows.threads]


cdef inline Py_ssize_t count_of(const Rows *rows, Py_ssize_t count) noexcept nogil:
    """The number of the first `count` rows that are this thread's."""
    return (count - rows.first + rows.threads - 1) // rows.threads if count > rows.first else 0


cdef inline Py_ssize_t state_stride(Py_ssize_t H, Py_ssize_t itemsize) noexcept nogil:
    """Whole vectors, and a cache line more, so that rows do not collide in the cache."""
    return ceil_div(H * itemsize, VECTOR_BYTES) * VECTOR_BYTES // itemsize + 64 // itemsize


cdef inline void fetch(const floating *x, Py_ssize_t count) noexcept nogil:
    """Prefetch columns of a panel by their last ones: the first share a line with the panel before."""
    prefetch(x + 64 // <Py_ssize_t>sizeof(floating) - 1, count)


cdef inline void add_bias(Py_ssize_t n, const floating *x, const floating *b, floating *sums) noexcept nogil:
    """sums = x + b."""
    memcpy(sums, x, n * sizeof(floating))
    add_line(n, b, sums)


cdef struct Recurrence:  # what the threads share; what the cell or the direction does not have is NULL
    int cell
    bint pairs, is_forward
    Rows rows
    Py_ssize_t ld, lda  # of the lines of a state or of da_hn, and of the lines of da
    Py_ssize_t columns, panels, depth, scratch_each  # columns, depth: of a panel of W_h
    Py_ssize_t together     # gates of a tile, forward
    const long long *ids    # NULL: a term for each step
    Output lines, packed    # of W_h
    Input terms, b_hn
    Input h0, c0
    Output hs, gates, more  # more: the lstm's cs, the gru's h_n
    Output h_last, c_last
    Input dhs, dh_last, dc_last
    Output da, da_hn, dh0, dc0
    char *scratch


cdef int run_rows(Recurrence *w, const floating[:, ::1] W_h, int threads) except -1:
    """Pack W_h, and run each thread's rows through their steps."""
    cdef Py_ssize_t H = W_h.shape[0], GH = W_h.shape[1], itemsize = sizeof(floating)
    cdef int splits = <int>max(1, min(threads, w.rows.B))
    # A tile is four vectors wide: forward, the gates of one hidden vector, if there are gates.  With 16
    # registers it has 3 rows.  If there are more, 6 by two vectors, of one gate, read W_h half as often.  (If
    # an rnn's panels fit the cache, this gains less than the work for each row of twice as many panels costs.)
    cdef bint narrow = TILE_ROWS(4) < 6 and w.rows.B > 3 * splits and (w.cell != RNN or H > STRETCH)
    w.together = w.cell if w.is_forward and not narrow else 1
    w.columns = (2 if narrow else 4 // w.together) * VECTOR_BYTES // itemsize
    w.panels, w.depth, w.rows.threads = ceil_div(H, w.columns), H if w.is_forward else GH, splits
    cdef Py_ssize_t states = 4 * w.ld if w.is_forward else 2 * w.ld + (w.lda if w.pairs else 0)  # of a row
    cdef Py_ssize_t packed_size = w.panels * w.columns * GH * itemsize
    w.scratch_each = 2 * TILES_TOGETHER * TILE_SIZE + 5 * VECTOR_BYTES + 3 * 64 + ceil_div(w.rows.B, splits) * states * itemsize
    w.scratch_each = ceil_div(w.scratch_each, 64) * 64
    cdef Workspace work = Workspace(packed_size + splits * w.scratch_each + lines_size(1, H) + 128), pairs_of_W_h
    cdef const floating **lines = lines_of(work, &W_h[0, 0], H, GH)
    if w.pairs:
        pairs_of_W_h = in_pairs(&lines, w.is_forward, H, GH, threads)
        w.depth = ceil_div(w.depth, 2)
    w.lines, w.packed, w.scratch = lines, work.take(packed_size), work.take(splits * w.scratch_each)
    cdef Body pack_panels = <Body>panels_for_forward[floating] if w.is_forward else <Body>panels_for_backward[floating]
    with nogil:
        share(pack_panels, w, w.panels, threads)
        share(<Body>run_splits[floating], w, splits, splits)
    return 0


cdef void run_splits(floating *of_type, void *work, Part part) noexcept nogil:
    cdef Recurrence *w = <Recurrence *>work
    cdef Rows rows = w.rows
    cdef Py_ssize_t i
    for i in range(part.first, part.last):
        rows.first = i
        if w.is_forward:
            forward_rows(of_type, w, rows, w.scratch + part.me * w.scratch_each)
        else:
            backward_rows(of_type, w, rows, w.scratch + part.me * w.scratch_each)
