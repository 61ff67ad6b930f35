# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""word2vec's training loop: the Cython twin of its original.

Each thread takes one sentence after the other, and all update the same weights without
locks; each has scratch memory of its own.  In one thread it does step for step
what the NumPy original does, with the same random numbers.

A prediction first collects its rows, then takes all scores, turns them into
steps together (one vector of sigmoids), and then goes across the rows once:
see word2vec.h.  A row that was drawn twice is there once, with twice the step.

The loss needs a logarithm for each row, which would cost as much as the rest.
So the probabilities are multiplied, and the logarithm taken of a long product.
"""

from libc.math cimport log
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from minillm._kernels._pool cimport Workspace
from minillm._kernels._threads cimport Body, Part, max_threads, share_phases

include "floating.pxi"
include "word2vec.pxi"


cdef struct Text:
    const int32_t* words
    const int64_t* starts
    const double* rates
    const uint64_t* keep
    uint64_t seed
    int64_t sentence


cdef struct Outputs:  # how a target is predicted: by negative samples, or along its path
    int negative
    uint64_t V
    const uint64_t* share
    const int32_t* alias
    const int32_t* path_starts
    const int32_t* path_nodes
    const uint8_t* path_labels


cdef struct Scratch:  # one thread's memory; void: floats or doubles
    int32_t* kept   # the words of a sentence
    void* h         # (D,)
    void* change    # (D,)
    int32_t* nodes  # (rows,) of a prediction, as all below: the words whose rows these are
    void** u        # where the rows are
    void* sign
    void* p
    void* g
    void* times


cdef struct Sum:
    double loss
    double product  # of the probabilities, before their logarithm
    int64_t predictions


cdef struct Training:
    const Text* text
    const Outputs* outputs
    int window
    bint skip_gram
    void* W_in
    void* W_out
    Py_ssize_t D
    const Scratch* scratch  # of each thread
    double* losses          # of each sentence
    int64_t* predictions


def train_sentences(
    const int32_t[::1] words,
    const int64_t[::1] starts,
    const double[::1] rates,
    floating[:, ::1] W_in,
    floating[:, ::1] W_out,
    const uint64_t[::1] keep,
    int window,
    bint skip_gram,
    int negative,
    const uint64_t[::1] share,
    const int32_t[::1] alias,
    const int32_t[::1] path_starts,
    const int32_t[::1] path_nodes,
    const uint8_t[::1] path_labels,
    uint64_t seed,
    int64_t sentence,
    int threads,
):
    """-> the sum of all losses in nats, and the number of predictions."""
    cdef Py_ssize_t S = rates.shape[0], D = W_in.shape[1], thread, rows = negative + 1
    if S == 0 or words.shape[0] == 0:
        return 0.0, 0
    if negative == 0:
        rows = max(1, int(np.diff(path_starts).max()))
    cdef Text text
    text.words, text.starts, text.rates, text.keep = &words[0], &starts[0], &rates[0], &keep[0]
    text.seed, text.sentence = seed, sentence
    cdef Outputs outputs
    outputs.negative, outputs.V = negative, keep.shape[0]
    if negative > 0:
        outputs.share, outputs.alias = &share[0], &alias[0]
    else:
        outputs.path_starts, outputs.path_nodes = &path_starts[0], &path_nodes[0]
        outputs.path_labels = &path_labels[0]

    threads = max(1, min(threads, max_threads()))
    cdef Py_ssize_t longest = np.diff(starts).max(), size = sizeof(floating), word = sizeof(void *)
    cdef Workspace memory = Workspace(
        threads * (sizeof(Scratch) + (longest + rows) * 4 + (2 * D + 4 * rows) * size + rows * word
                   + 10 * 64))
    cdef Scratch* scratch = <Scratch*> memory.take(threads * sizeof(Scratch))
    for thread in range(threads):
        scratch[thread] = scratch_of(memory, longest, rows, D * size, rows * size)
    cdef double[::1] losses = np.zeros(S)
    cdef int64_t[::1] predictions = np.zeros(S, np.int64)
    cdef Training training
    training.text, training.outputs, training.window, training.skip_gram = &text, &outputs, window, skip_gram
    training.W_in, training.W_out, training.D, training.scratch = &W_in[0, 0], &W_out[0, 0], D, scratch
    training.losses, training.predictions = &losses[0], &predictions[0]
    with nogil:
        share_phases(<Body>learn_sentences[floating], &training, 1, S, threads)
    return float(np.sum(losses)), int(np.sum(predictions))


cdef void learn_sentences(floating *of_type, void *work, Part part) noexcept nogil:
    cdef Training w = (<Training*> work)[0]
    cdef Py_ssize_t s
    for s in range(part.first, part.last):
        learn(w.text, s, w.outputs, w.window, w.skip_gram, <floating*> w.W_in, <floating*> w.W_out,
              w.D, &w.scratch[part.me], &w.losses[s], &w.predictions[s])


cdef Scratch scratch_of(
    Workspace memory, Py_ssize_t longest, Py_ssize_t rows, Py_ssize_t width, Py_ssize_t row_bytes
):
    """The memory of one thread: each piece begins on a cache line, which no other thread has."""
    cdef Scratch scratch
    scratch.kept = <int32_t*> memory.take(longest * 4)
    scratch.h, scratch.change = memory.take(width), memory.take(width)
    scratch.nodes = <int32_t*> memory.take(rows * 4)
    scratch.u = <void**> memory.take(rows * sizeof(void *))
    scratch.sign, scratch.p = memory.take(row_bytes), memory.take(row_bytes)
    scratch.g, scratch.times = memory.take(row_bytes), memory.take(row_bytes)
    return scratch


cdef void learn(
    const Text* text, Py_ssize_t s, const Outputs* outputs, int window, bint skip_gram,
    floating* W_in, floating* W_out, Py_ssize_t D, const Scratch* scratch,
    double* loss, int64_t* predictions,
) noexcept nogil:
    """Learn from sentence s."""
    cdef int32_t* kept = scratch.kept
    cdef floating* h = <floating*> scratch.h
    cdef floating* change = <floating*> scratch.change
    cdef floating rate = <floating> text.rates[s]
    cdef floating scale
    cdef floating* v
    cdef Sum sums
    cdef Py_ssize_t t, c, low, high, length = 0, reach
    cdef int64_t place
    cdef uint64_t random = text.seed
    sums.loss, sums.product, sums.predictions = 0, 1, 0
    random = next_random(&random) + <uint64_t> (text.sentence + s)
    for place in range(text.starts[s], text.starts[s + 1]):
        kept[length] = text.words[place]
        length += next_random(&random) >> 32 < text.keep[text.words[place]]
    for t in range(length):
        reach = 1 + <Py_ssize_t> (((next_random(&random) >> 32) * <uint64_t> window) >> 32)
        low, high = max(0, t - reach), min(length, t + 1 + reach)
        if skip_gram:
            v = W_in + kept[t] * D
            for c in range(low, high):
                if c != t:
                    predict(v, kept[c], rate, outputs, W_out, D, scratch, &random, &sums)
                    add_scaled(D, 1, change, v)
        elif length > 1:
            zero(D, h)
            for c in range(low, high):
                if c != t:
                    add_scaled(D, 1, W_in + kept[c] * D, h)
            scale = <floating> 1 / (high - low - 1)
            for c in range(D):
                h[c] *= scale
            predict(h, kept[t], rate, outputs, W_out, D, scratch, &random, &sums)
            for c in range(low, high):
                if c != t:
                    add_scaled(D, 1, change, W_in + kept[c] * D)
    loss[0] = sums.loss - log(sums.product)
    predictions[0] = sums.predictions


cdef inline void predict(
    const floating* h, int32_t target, floating rate, const Outputs* outputs, floating* W_out,
    Py_ssize_t D, const Scratch* scratch, uint64_t* random, Sum* sums,
) noexcept nogil:
    """Update W_out by one prediction; `scratch.change` is to be added to h."""
    cdef int32_t* nodes = scratch.nodes
    cdef floating** u = <floating**> scratch.u
    cdef floating* sign = <floating*> scratch.sign
    cdef floating* p = <floating*> scratch.p
    cdef floating* g = <floating*> scratch.g
    cdef floating* times = <floating*> scratch.times
    cdef Py_ssize_t k, j, count = 0
    cdef bint repeated = False
    cdef uint64_t bits, place
    cdef int32_t word
    if outputs.negative == 0:
        for k in range(outputs.path_starts[target], outputs.path_starts[target + 1]):
            u[count] = W_out + outputs.path_nodes[k] * D
            sign[count] = 2 * <floating> outputs.path_labels[k] - 1
            count += 1
    else:
        nodes[0], u[0], sign[0], times[0], count = target, W_out + target * D, 1, 1, 1
        for k in range(outputs.negative):
            bits = next_random(random)
            place = ((bits >> 32) * outputs.V) >> 32
            word = <int32_t> place
            if <uint32_t> bits >= outputs.share[place]:
                word = outputs.alias[place]
            if word == target:
                continue
            for j in range(1, count):
                if nodes[j] == word:
                    times[j] += 1
                    repeated = True
                    break
            else:
                nodes[count], u[count], sign[count], times[count] = word, W_out + word * D, -1, 1
                count += 1
    for k in range(count):
        p[k] = dot(D, u[k], h)
    slopes(count, rate, sign, p, g)
    for k in range(count):
        multiply(sums, p[k])
    if repeated:
        for k in range(1, count):
            for j in range(1, <Py_ssize_t> times[k]):
                multiply(sums, p[k])
            g[k] *= times[k]
    step(D, count, u, g, h, <floating*> scratch.change)
    sums.predictions += 1


cdef inline void multiply(Sum* sums, double p) noexcept nogil:
    sums.product *= 1e-30 if p < 1e-30 else p  # no loss of a row exceeds 69 nats
    if sums.product < 1e-100:
        sums.loss -= log(sums.product)
        sums.product = 1


cdef inline void zero(Py_ssize_t n, floating* x) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        x[i] = 0
