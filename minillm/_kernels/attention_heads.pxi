# Attention whose score is a product, scale query . key, of all heads.
#
#   attention_heads.pxi    one head of one row, and the threads
#   attention_products.pxi products of a block of queries with keys and values
#   attention_blocks.pxi   a head: blocks of queries through scores, softmax and context, and back
#
# A query that looks at nothing, without a key or with scores of minus infinity alone, has zeros in
# all products: so not even zero times infinity reaches a result.

cdef struct Operand:  # an array (B, heads, steps, width), whose last axis is contiguous
    char *start
    Py_ssize_t row, head, step   # bytes from one to the next


cdef struct Heads:  # all heads of a batch, or one of them: then its arrays and numbers begin there
    Py_ssize_t B, N, M           # rows, heads of queries, heads of keys and values
    Py_ssize_t T, S, D, E        # queries, keys, width of both, width of the values
    double scale
    const int64_t *lengths       # (B,) keys that exist; NULL: all
    const int64_t *start         # (B,) the position of the first query among the keys; NULL: the same for all rows
    Py_ssize_t window            # of the keys up to its position, a query sees the last ones, so many,
    Py_ssize_t sinks             # and the first ones
    Py_ssize_t length, position  # of one head: keys that exist, and the position of the first query
    Py_ssize_t skipped           # keys behind the sinks that no query sees: they are not counted
    Operand query, keys, values
    Operand context              # of a forward
    Operand dcontext, dquery, dkeys, dvalues
    Output log_sums              # (B, N, T), from which a backward computes the weights again
    char *scratch
    Py_ssize_t scratch_each      # bytes for each thread


cdef inline Py_ssize_t visible(const Heads *h, Py_ssize_t t) noexcept nogil:
    """The number of keys up to the last one that query t of a head may see."""
    return max(0, min(h.length, h.position + t + 1))


cdef inline Py_ssize_t passed(const Heads *h, Py_ssize_t t) noexcept nogil:
    """The number of keys before the window of query t, with the sinks, which are not of the window."""
    return max(h.sinks, visible(h, t - h.window))


cdef inline Heads keys_of_row(const Heads *all, Py_ssize_t b) noexcept nogil:
    """What the queries of row b see: the sinks, and the keys from the first window on."""
    cdef Heads h = all[0]
    if h.lengths != NULL:
        h.length = h.lengths[b]
    if h.start != NULL:
        h.position = h.start[b]
    h.sinks = min(h.sinks, visible(&h, h.T - 1))
    h.skipped = passed(&h, 0) - h.sinks
    h.length, h.position = h.length - h.skipped, h.position - h.skipped
    return h


cdef inline Operand moved(Operand x, Py_ssize_t b, Py_ssize_t n) noexcept nogil:
    x.start += b * x.row + n * x.head
    return x


cdef Heads one_head(const Heads *all, Py_ssize_t b, Py_ssize_t n, floating *of_type) noexcept nogil:
    """Head n of row b."""
    cdef Heads h = keys_of_row(all, b)
    cdef Py_ssize_t m = n // (h.N // h.M)
    h.query, h.keys, h.values = moved(h.query, b, n), moved(h.keys, b, m), moved(h.values, b, m)
    if h.context.start != NULL:
        h.context = moved(h.context, b, n)
    else:
        h.dcontext, h.dquery = moved(h.dcontext, b, n), moved(h.dquery, b, n)
        h.dkeys, h.dvalues = moved(h.dkeys, b, m), moved(h.dvalues, b, m)
    h.log_sums = <floating *>h.log_sums + (b * h.N + n) * h.T
    return h


cdef inline void note_lines(Operand x, Py_ssize_t first, Py_ssize_t count, floating **lines) noexcept nogil:
    """The addresses of a head's steps, from `first` on."""
    cdef Py_ssize_t i
    for i in range(count):
        lines[i] = <floating *>(x.start + (first + i) * x.step)


cdef inline void note_keys(
    const Heads *h, Operand x, Py_ssize_t skipped, Py_ssize_t count, floating **lines
) noexcept nogil:
    """The addresses of a head's sinks, and of the steps behind them without the first ones, `skipped`."""
    cdef Py_ssize_t sinks = min(h.sinks, count)
    note_lines(x, 0, sinks, lines)
    note_lines(x, sinks + h.skipped + skipped, count - sinks, lines + sinks)


include "attention_products.pxi"
include "attention_blocks.pxi"


cdef int run_heads(Heads *all, Body body, Py_ssize_t tasks, Py_ssize_t itemsize) except -1:
    cdef Py_ssize_t b, reach = 0
    cdef Heads h
    for b in range(all.B):
        h = keys_of_row(all, b)
        reach = max(reach, visible(&h, h.T - 1))
    cdef Py_ssize_t work = all.B * all.N * all.T * min(reach, all.sinks + all.window) * (all.D + all.E)
    cdef int threads = <int>max(1, min(max_threads(), tasks)) if work > SMALL else 1
    all.scratch_each = blocks_scratch(all, reach, itemsize)
    cdef Workspace memory = Workspace(threads * all.scratch_each)
    all.scratch = memory.take(threads * all.scratch_each)
    with nogil:
        share(body, all, tasks, threads)
    return 0


cdef void heads_forward(floating *of_type, void *work, Part part) noexcept nogil:
    """A task is a head of queries."""
    cdef Heads *all = <Heads *>work
    cdef char *scratch = all.scratch + part.me * all.scratch_each
    cdef Heads h
    cdef Py_ssize_t i
    for i in range(part.first, part.last):
        h = one_head(all, i // all.N, i % all.N, of_type)
        blocks_forward(&h, scratch, of_type)


cdef void heads_backward(floating *of_type, void *work, Part part) noexcept nogil:
    """A task is a head of keys, whose gradients are sums over the heads of queries that read it."""
    cdef Heads *all = <Heads *>work
    cdef char *scratch = all.scratch + part.me * all.scratch_each
    cdef Heads h
    cdef Operand dkeys, dvalues
    cdef Py_ssize_t group = all.N // all.M, i, b, m, n, s
    for i in range(part.first, part.last):
        b, m = i // all.M, i % all.M
        dkeys, dvalues = moved(all.dkeys, b, m), moved(all.dvalues, b, m)
        for s in range(all.S):
            memset(dkeys.start + s * dkeys.step, 0, all.D * sizeof(floating))
            memset(dvalues.start + s * dvalues.step, 0, all.E * sizeof(floating))
        for n in range(m * group, (m + 1) * group):
            h = one_head(all, b, n, of_type)
            blocks_backward(&h, scratch, of_type)
