# Which rows have which steps, and which rows are whose: rows by length, the longest first,
# so that the rows that have a step t are the first alive[t] of them.  And what lies around
# the products: their lines, and their scratch.


cdef class Schedule:
    """Rows by length, the longest first, and all steps within the lengths."""
    cdef Workspace memory
    cdef Py_ssize_t B, T, steps
    cdef Py_ssize_t *order   # (B,) rows, the longest first
    cdef Py_ssize_t *length  # (B,) of each row
    cdef Py_ssize_t *alive   # (T + 1,) how many rows have a step t
    cdef Py_ssize_t *step    # (steps,) b * T + t of each step
    cdef Py_ssize_t *turn    # (steps,) t * B + b of each step

    def __cinit__(self, Lengths lengths, Py_ssize_t T):
        cdef Py_ssize_t B = lengths.shape[0], b, t, word = sizeof(Py_ssize_t)
        self.B, self.T, self.steps = B, T, 0
        self.memory = Workspace((2 * B + T + 1 + 2 * B * T) * word + 320)
        self.order = <Py_ssize_t *>self.memory.take(B * word)
        self.length = <Py_ssize_t *>self.memory.take(B * word)
        self.alive = <Py_ssize_t *>self.memory.take((T + 1) * word)
        self.step = <Py_ssize_t *>self.memory.take(B * T * word)
        self.turn = <Py_ssize_t *>self.memory.take(B * T * word)
        memset(self.alive, 0, (T + 1) * word)
        for b in range(B):
            self.length[b] = lengths[b]
            self.alive[lengths[b]] += 1  # for now: how many rows have this length
            for t in range(lengths[b]):
                self.step[self.steps], self.turn[self.steps] = b * T + t, t * B + b
                self.steps += 1
        # The rows of each length begin behind all longer ones.
        cdef Py_ssize_t longer = 0, count
        for t in range(T, -1, -1):
            count = self.alive[t]
            self.alive[t] = longer
            longer += count
        for b in range(B):
            t = self.length[b]
            self.order[self.alive[t]] = b
            self.alive[t] += 1
        # alive[t] counts the lengths >= t now; a row has a step t if it is longer than t.
        for t in range(T):
            self.alive[t] = self.alive[t + 1]
        self.alive[T] = 0


cdef struct Rows:
    # The rows that one thread takes through all steps: every `threads`-th in the order of
    # the schedule, from row `first` on.
    Py_ssize_t first, threads
    Py_ssize_t B, T, H
    const Py_ssize_t *order
    const Py_ssize_t *length
    const Py_ssize_t *alive


cdef Rows rows_of_first(Schedule schedule, Py_ssize_t H, Py_ssize_t threads):
    """The rows of the first thread."""
    cdef Rows rows
    rows.first, rows.threads = 0, threads
    rows.B, rows.T, rows.H = schedule.B, schedule.T, H
    rows.order, rows.length, rows.alive = schedule.order, schedule.length, schedule.alive
    return rows


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


cdef inline void add_bias(
    Py_ssize_t n, const floating *x, const floating *b, floating *sums
) noexcept nogil:
    """sums = x + b."""
    memcpy(sums, x, n * sizeof(floating))
    add_line(n, b, sums)


cdef Py_ssize_t lines_size(Py_ssize_t lists, Py_ssize_t lines):
    """The bytes of so many lists, which have so many lines altogether."""
    return lines * sizeof(void *) + lists * 64


cdef const floating **lines_of(
    Workspace work, const floating *x, Py_ssize_t count, Py_ssize_t apart, const Py_ssize_t *places=NULL
):
    """Lines of x, `apart` from each other: the first ones, or those at some places."""
    cdef const floating **lines = <const floating **>work.take(count * sizeof(void *))
    cdef Py_ssize_t i
    for i in range(count):
        lines[i] = x + (i if places == NULL else places[i]) * apart
    return lines


cdef int product(
    Py_ssize_t M, Py_ssize_t N, Py_ssize_t K, const floating **a, int a_by_depth, const floating **b,
    bint b_by_depth, const floating *bias, bint add, floating **c, int threads, bint pairs,
) except -1:
    """multiply, with scratch of its own."""
    cdef Py_ssize_t size = 0
    cdef Workspace work
    cdef char *scratch = NULL
    if pairs or not is_few(M, N, K, a_by_depth != 0, b_by_depth, sizeof(floating)):
        size = ceil_div(scratch_size(M, K, a_by_depth != 0, sizeof(floating), pairs), 64) * 64
        work = Workspace(threads * size)
        scratch = work.take(threads * size)
    with nogil:
        multiply(M, N, K, a, a_by_depth, b, b_by_depth, bias, add, c, threads, scratch, size, pairs)
    return 0
