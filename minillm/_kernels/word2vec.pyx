# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""word2vec's training loop: the Cython twin of its original.

In one thread it does step for step what the NumPy original does, with the same random numbers.

Each of several threads takes one piece of the text after the other, so that the sentences are learned
in their order.  The threads update the same W_in without locks.  Each has copies of the most used rows of
W_out, and exchanges them (see below).  Copies of W_in would do harm: a vector that lacks some steps of
others costs far more quality there.

A prediction first collects its rows, then takes all scores, turns them into
steps together (vectors of sigmoids), and then goes across the rows once:
see word2vec.h.  A row that was drawn twice is there once, with twice the step.

The loss needs a logarithm for each row, which would cost as much as the rest.
So the probabilities are multiplied, and the logarithm taken of a long product.
"""

from libc.math cimport log
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

include "topic.pxi"

cdef extern from "word2vec.h" nogil:
    ctypedef int64_t Atomic
    enum:
        AT_ONCE
    bint replaced(Atomic *place, int64_t old, int64_t value)
    void STORE(Atomic *place, int64_t value)
    int64_t ADD(Atomic *place, int64_t value)
    void PREFETCH(const void *address)
    uint64_t next_random(uint64_t *state)
    Py_ssize_t row_of_round(Py_ssize_t count, bint last_is_top, Py_ssize_t size, Py_ssize_t round)
    void scores(Py_ssize_t n, Py_ssize_t count, void *u, const void *h, void *p)
    void slopes(Py_ssize_t count, double rate, const void *sign, const void *size, void *p, void *g, void *move)
    void step(Py_ssize_t n, Py_ssize_t count, void *u, const void *g, const void *move, const void *h,
              void *change)

cdef enum:
    PIECES = 64        # of the text, for each thread
    AHEAD = 8          # words of a sentence, whose vectors are fetched
    COPIES = 1 << 20   # bytes: a thread's copies of W_out, which should stay in its second-level cache
    ROUND = 256        # predictions by all threads between two rounds of exchanges
    STEP_OF_COPY = 2   # times as large as on a shared row


cdef struct Rows:  # of W_out, as one of several threads sees them
    void* shared
    Py_ssize_t first, count  # the rows that are copied
    bint last_is_top         # whether row first + count - 1 is used most, and not row `first`
    int threads              # 1: there are no copies
    bint copied              # whether own and before are filled
    int64_t round            # of exchanges
    int64_t next             # when so many predictions are made
    void* own                # (count, D): the copies
    void* before             # (count, D): the copies as they were after the last exchange
    Atomic* locks            # (count,), the same for all threads


cdef struct Sum:
    double loss
    double product  # of the probabilities, before their logarithm
    int64_t predictions


cdef struct Scratch:  # one thread's memory; void: floats or doubles
    Sum sum
    Rows rows       # of W_out
    int32_t* kept   # the words of a sentence
    void* h         # (D,)
    void* change    # (D,)
    int32_t* nodes  # (rows,) of a prediction, as all below: the words whose rows these are
    void** u        # where the rows are
    void* sign
    void* p
    void* g
    void* times     # how often each was drawn
    void* size      # of the step: larger on a copy
    void* move      # the step, by h


cdef struct Training:
    const int32_t* words
    const int64_t* starts     # (sentences + 1,)
    const double* rates
    const uint64_t* keep
    uint64_t seed
    int64_t sentence          # the number of the first
    int negative              # samples for a target; 0: it is predicted along its path
    uint64_t V
    const uint64_t* share
    const int32_t* alias
    const int32_t* path_starts
    const int32_t* path_nodes
    const uint8_t* path_labels
    int window
    bint skip_gram
    void* W_in
    Py_ssize_t D
    Py_ssize_t sentences, of_piece
    Atomic begun       # pieces
    int threads
    Scratch** scratch  # of each thread


def train_sentences(
    const int32_t[::1] words, const int64_t[::1] starts, const double[::1] rates, floating[:, ::1] W_in,
    floating[:, ::1] W_out, const uint64_t[::1] keep, int window, bint skip_gram, int negative,
    const uint64_t[::1] share, const int32_t[::1] alias, const int32_t[::1] path_starts,
    const int32_t[::1] path_nodes, const uint8_t[::1] path_labels, uint64_t seed, int64_t sentence, int threads,
):
    """-> the sum of all losses in nats, and the number of predictions."""
    cdef Py_ssize_t S = rates.shape[0], D = W_in.shape[1], size = sizeof(floating), thread, row
    cdef Py_ssize_t rows = negative + 1, copies = 0
    if S == 0 or words.shape[0] == 0:
        return 0.0, 0
    if negative == 0:
        rows = max(1, int(np.diff(path_starts).max()))
    rows = (rows + AT_ONCE - 1) // AT_ONCE * AT_ONCE
    cdef Training w
    w.words, w.starts, w.rates, w.keep = &words[0], &starts[0], &rates[0], &keep[0]
    w.seed, w.sentence, w.window, w.skip_gram, w.W_in, w.D = seed, sentence, window, skip_gram, &W_in[0, 0], D
    w.negative, w.V = negative, keep.shape[0]
    if negative > 0:
        w.share, w.alias = &share[0], &alias[0]
    else:
        w.path_starts, w.path_nodes, w.path_labels = &path_starts[0], &path_nodes[0], &path_labels[0]
    threads = max(1, min(threads, max_threads()))
    w.sentences, w.of_piece, w.begun = S, max(1, S // (PIECES * threads)), 0
    cdef Py_ssize_t pieces = (S + w.of_piece - 1) // w.of_piece
    w.threads = threads = min(threads, pieces)
    if threads > 1:
        copies = min(W_out.shape[0], COPIES // (D * size))

    cdef Py_ssize_t longest = np.diff(starts).max()
    cdef Workspace memory = Workspace(
        copies * sizeof(Atomic) + 2 * 64 + threads * (
            sizeof(void *) + sizeof(Scratch) + (longest + rows) * 4 + rows * sizeof(void *)
            + (2 * D + 6 * rows + 2 * copies * D) * size + 14 * 64))
    cdef Rows of_outputs
    of_outputs.shared, of_outputs.count, of_outputs.threads = &W_out[0, 0], copies, threads
    # The first words are the most frequent ones, but the last node of the tree is its root.
    of_outputs.first, of_outputs.last_is_top = 0 if negative > 0 else W_out.shape[0] - copies, negative == 0
    of_outputs.copied, of_outputs.next = False, 0
    of_outputs.locks = <Atomic*> memory.take(copies * sizeof(Atomic))
    memset(of_outputs.locks, 0, copies * sizeof(Atomic))
    w.scratch = <Scratch**> memory.take(threads * sizeof(void *))
    for thread in range(threads):
        of_outputs.round = thread
        of_outputs.own, of_outputs.before = memory.take(copies * D * size), memory.take(copies * D * size)
        w.scratch[thread] = scratch_of(memory, longest, rows, D * size, rows * size)
        w.scratch[thread].rows = of_outputs
        for row in range(rows):
            (<floating*> w.scratch[thread].size)[row] = 1
    with nogil:
        share_phases(<Body>learn_pieces[floating], &w, 1, pieces, threads)
        if copies > 0:
            share_phases(<Body>exchange_all[floating], &w, 1, PIECES, threads)
    cdef double loss = 0
    cdef int64_t predictions = 0
    for thread in range(threads):
        loss += w.scratch[thread].sum.loss - log(w.scratch[thread].sum.product)
        predictions += w.scratch[thread].sum.predictions
    return loss, predictions


cdef Scratch* scratch_of(
    Workspace memory, Py_ssize_t longest, Py_ssize_t rows, Py_ssize_t width, Py_ssize_t row_bytes
):
    """The memory of one thread: each piece begins on a cache line, which no other thread has."""
    cdef Scratch* scratch = <Scratch*> memory.take(sizeof(Scratch))
    scratch.sum.loss, scratch.sum.product, scratch.sum.predictions = 0, 1, 0
    scratch.kept = <int32_t*> memory.take(longest * 4)
    scratch.h, scratch.change = memory.take(width), memory.take(width)
    scratch.nodes = <int32_t*> memory.take(rows * 4)
    scratch.u = <void**> memory.take(rows * sizeof(void *))
    scratch.sign, scratch.p = memory.take(row_bytes), memory.take(row_bytes)
    scratch.g, scratch.times = memory.take(row_bytes), memory.take(row_bytes)
    scratch.size, scratch.move = memory.take(row_bytes), memory.take(row_bytes)
    # The numbers behind the last row go through the sigmoid as well, and could be subnormal: slow.
    memset(scratch.sign, 0, row_bytes)
    memset(scratch.p, 0, row_bytes)
    return scratch


cdef void learn_pieces(floating *of_type, void *work, Part part) noexcept nogil:
    """Learn from as many pieces as the part has: from those that come next in the text."""
    cdef Training* w = <Training*> work
    cdef Scratch* scratch = w.scratch[part.me]
    cdef Py_ssize_t s, first, piece
    if scratch.rows.count > 0 and not scratch.rows.copied:
        copy(of_type, &scratch.rows, w.D)
    for piece in range(part.first, part.last):
        first = (ADD(&w.begun, 1) - 1) * w.of_piece
        for s in range(first, min(first + w.of_piece, w.sentences)):
            learn(<floating*> w.W_in, w, s, scratch)


cdef void exchange_all(floating *of_type, void *work, Part part) noexcept nogil:
    """Add the changes of all threads: each row by one thread, so that none is locked."""
    cdef Training* w = <Training*> work
    cdef Py_ssize_t copies = w.scratch[0].rows.count, thread, k
    for k in range(part.first * copies // PIECES, part.last * copies // PIECES):
        for thread in range(w.threads):
            if w.scratch[thread].rows.copied:
                exchange(of_type, &w.scratch[thread].rows, w.D, k)


cdef void learn(floating* W_in, const Training* w, Py_ssize_t s, Scratch* scratch) noexcept nogil:
    """Learn from sentence s."""
    cdef int32_t* kept = scratch.kept
    cdef floating* h = <floating*> scratch.h
    cdef floating* change = <floating*> scratch.change
    cdef floating rate = <floating> w.rates[s]
    cdef floating scale
    cdef floating* v
    cdef Rows* rows = &scratch.rows
    cdef Py_ssize_t D = w.D, t, c, low, high, length = 0, reach
    cdef int64_t place
    cdef uint64_t random = w.seed
    random = next_random(&random) + <uint64_t> (w.sentence + s)
    for place in range(w.starts[s], w.starts[s + 1]):
        kept[length] = w.words[place]
        length += next_random(&random) >> 32 < w.keep[w.words[place]]
    for t in range(length):
        if rows.threads > 1:
            if t + AHEAD < length:
                prefetch(D, W_in + kept[t + AHEAD] * D)
            if scratch.sum.predictions >= rows.next:
                exchange_some(h, rows, D)
                rows.next = scratch.sum.predictions + ROUND // rows.threads
        reach = 1 + <Py_ssize_t> (((next_random(&random) >> 32) * <uint64_t> w.window) >> 32)
        low, high = max(0, t - reach), min(length, t + 1 + reach)
        if w.skip_gram:
            v = W_in + kept[t] * D
            for c in range(low, high):
                if c != t:
                    predict(v, kept[c], rate, w, scratch, &random)
                    add_scaled(D, 1, change, v)
        elif length > 1:
            memset(h, 0, D * sizeof(floating))
            for c in range(low, high):
                if c != t:
                    add_scaled(D, 1, W_in + kept[c] * D, h)
            scale = <floating> 1 / (high - low - 1)
            for c in range(D):
                h[c] *= scale
            predict(h, kept[t], rate, w, scratch, &random)
            for c in range(low, high):
                if c != t:
                    add_scaled(D, 1, change, W_in + kept[c] * D)


cdef inline void predict(
    const floating* h, int32_t target, floating rate, const Training* w, Scratch* scratch, uint64_t* random,
) noexcept nogil:
    """Update W_out by one prediction; `scratch.change` is to be added to h."""
    cdef int32_t* nodes = scratch.nodes
    cdef floating** u = <floating**> scratch.u
    cdef floating* sign = <floating*> scratch.sign
    cdef floating* p = <floating*> scratch.p
    cdef floating* g = <floating*> scratch.g
    cdef floating* times = <floating*> scratch.times
    cdef floating* move = <floating*> scratch.move
    cdef floating* size = <floating*> scratch.size
    cdef const Rows* rows = &scratch.rows
    cdef Sum* sum = &scratch.sum
    cdef Py_ssize_t D = w.D, k, j, count = 0
    cdef bint repeated = False
    cdef uint64_t bits, place
    cdef int32_t word, other
    if w.negative == 0:
        for k in range(w.path_starts[target], w.path_starts[target + 1]):
            u[count] = row_of(rows, D, w.path_nodes[k], &size[count])
            sign[count] = 2 * <floating> w.path_labels[k] - 1
            count += 1
    else:
        u[0] = row_of(rows, D, target, &size[0])
        nodes[0], sign[0], times[0], count = target, 1, 1, 1
        for k in range(w.negative):
            bits = next_random(random)
            place = ((bits >> 32) * w.V) >> 32
            other = w.alias[place]  # read in any case: so there is no branch to be predicted
            word = other if <uint32_t> bits >= w.share[place] else <int32_t> place
            if word == target:
                continue
            for j in range(1, count):
                if nodes[j] == word:
                    times[j] += 1
                    repeated = True
                    break
            else:
                u[count] = row_of(rows, D, word, &size[count])
                nodes[count], sign[count], times[count] = word, -1, 1
                count += 1
    scores(D, count, u, h, p)
    slopes(count, rate, sign, size, p, g, move)
    for k in range(count):
        multiply(sum, p[k])
    if repeated:
        for k in range(1, count):
            for j in range(1, <Py_ssize_t> times[k]):
                multiply(sum, p[k])
            g[k] *= times[k]
            move[k] *= times[k]
    step(D, count, u, g, move, h, <floating*> scratch.change)
    sum.predictions += 1


cdef inline void multiply(Sum* sum, double p) noexcept nogil:
    sum.product *= 1e-30 if p < 1e-30 else p  # no loss of a row exceeds 69 nats
    if sum.product < 1e-100:
        sum.loss -= log(sum.product)
        sum.product = 1


# --- the rows of W_out ---------------------------------------------------------------
#
# A core that writes a row takes its cache lines away from the others.  As all predictions change the same
# few hundred or thousand rows, threads that share them mostly wait for lines.  So each thread has copies
# of the rows that are used most, and changes these.  From time to time it exchanges a row: it adds the
# change of its copy to the shared row, and so takes over what others have added.
#
# Until then a copy lacks the changes by others, as if less text had been read.  The best guess is that
# others have made the same change as this thread.  So steps on a copy are twice as large, and half of
# the change that comes out is added:
#
#     shared = own = before = shared + (own - before) / 2
#
# Two is right for two threads, and good for more, because some have made their exchanges already.
#
# In a round, a thread exchanges the row that is used most, one of the two that follow, one of the four that
# follow these, and so on, the next one in each round.  Row r of natural language is used about 1 / r times
# as often as row 1 (Zipf's law), so that all are used about equally often between two exchanges.
#
# The thread that exchanges a row has its lock, so that no change is lost.  No thread waits for a lock: a row
# that another thread has locked is left for a later round, and after the last sentence all rows are exchanged.


cdef inline floating *row_of(const Rows *rows, Py_ssize_t D, Py_ssize_t i, floating *size) noexcept nogil:
    """Row i, or this thread's copy of it; and the size of its step, which is 1 anyway for one thread."""
    cdef Py_ssize_t k = i - rows.first
    cdef floating *shared = <floating *>rows.shared + i * D
    if rows.threads == 1:
        return shared
    if 0 <= k < rows.count:
        size[0] = STEP_OF_COPY
        return <floating *>rows.own + k * D
    size[0] = 1
    prefetch(D, shared)
    return shared


cdef void copy(floating *of_type, Rows *rows, Py_ssize_t D) noexcept nogil:
    cdef Py_ssize_t size = rows.count * D * sizeof(floating)
    memcpy(rows.before, <floating *>rows.shared + rows.first * D, size)
    memcpy(rows.own, rows.before, size)
    rows.copied = True


cdef void exchange(floating *of_type, const Rows *rows, Py_ssize_t D, Py_ssize_t k) noexcept nogil:
    """Exchange copy k, unless another thread has its lock."""
    cdef floating *shared = <floating *>rows.shared + (rows.first + k) * D
    cdef floating *own = <floating *>rows.own + k * D
    cdef floating *before = <floating *>rows.before + k * D
    cdef Py_ssize_t j
    if not replaced(rows.locks + k, 0, 1):
        return
    for j in range(D):
        shared[j] = own[j] = before[j] = shared[j] + (own[j] - before[j]) / <floating>STEP_OF_COPY
    STORE(rows.locks + k, 0)


cdef void exchange_some(floating *of_type, Rows *rows, Py_ssize_t D) noexcept nogil:
    """A round of exchanges."""
    cdef Py_ssize_t size = 1, now, later
    while size <= rows.count:
        now = row_of_round(rows.count, rows.last_is_top, size, rows.round)
        later = row_of_round(rows.count, rows.last_is_top, size, rows.round + 1)
        if now < rows.count:
            exchange(of_type, rows, D, now)
        if later < rows.count:  # until then, the lines may come from another core
            PREFETCH(rows.locks + later)
            prefetch(D, <floating *>rows.shared + (rows.first + later) * D)
        size *= 2
    rows.round += 1


cdef inline void prefetch(Py_ssize_t D, const floating *row) noexcept nogil:
    cdef Py_ssize_t j = 0
    while j < D:
        PREFETCH(row + j)
        j += 64 // <Py_ssize_t>sizeof(floating)


cdef inline void add_scaled(Py_ssize_t D, floating a, const floating *x, floating *y) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(D):
        y[j] += a * x[j]
