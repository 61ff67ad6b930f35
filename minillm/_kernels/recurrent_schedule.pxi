# Which rows have which steps, and which rows are whose: rows by length, the longest first,
# so that the rows that have a step t are the first alive[t] of them.


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
    """How many of the first `count` rows are this thread's."""
    return (count - rows.first + rows.threads - 1) // rows.threads if count > rows.first else 0


cdef inline Py_ssize_t state_stride(Py_ssize_t H, Py_ssize_t itemsize) noexcept nogil:
    """Whole vectors, and a cache line more, so that rows do not collide in the cache."""
    return ceil_div(H * itemsize, VECTOR_BYTES) * VECTOR_BYTES // itemsize + 64 // itemsize


cdef inline void fetch(const floating *x, Py_ssize_t count) noexcept nogil:
    """Prefetch columns of a panel by their last ones: the first share a line with the panel before."""
    prefetch(x + 64 // <Py_ssize_t>sizeof(floating) - 1, count)


cdef inline void add_line(Py_ssize_t n, const floating *x, floating *sums) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        sums[j] += x[j]


cdef inline void add_bias(Py_ssize_t n, const floating *x, const floating *b, floating *sums) noexcept nogil:
    """sums = x + b."""
    memcpy(sums, x, n * sizeof(floating))
    add_line(n, b, sums)
