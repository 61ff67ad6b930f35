# A head of one query, whose keys and values are read where they lie: to pack them would be a second
# reading.  Included by attention_heads.pxi.

cdef Py_ssize_t one_scratch(const Heads *h, Py_ssize_t itemsize) noexcept nogil:
    return whole_lanes(h.reach) * (sizeof(void *) + 2 * itemsize)


cdef inline floating one_softmax(const Heads *h, Py_ssize_t n, floating **keys, floating *weights) noexcept nogil:
    """The weights of n keys, and zeros up to whole lanes; returns the logarithm of their sum."""
    cdef Py_ssize_t s
    for s in range(n):
        weights[s] = <floating>h.scale * dot(h.D, <floating *>h.query.start, keys[s])
    for s in range(n, whole_lanes(n)):
        weights[s] = <floating>-INFINITY
    return softmax(whole_lanes(n), weights)


cdef void one_forward(const Heads *h, char *scratch, floating *of_type) noexcept nogil:
    cdef Py_ssize_t n = visible(h, 0), size = sizeof(floating)
    cdef floating **lines = <floating **>cut(&scratch, n * sizeof(void *))
    cdef floating *weights = <floating *>cut(&scratch, whole_lanes(n) * size)
    cdef floating *context = <floating *>h.context.start
    cdef floating log_sum
    note_lines(h.keys, 0, n, lines)
    log_sum = one_softmax(h, n, lines, weights)
    if h.log_sums != NULL:
        (<floating *>h.log_sums)[0] = log_sum
    if h.weights != NULL:
        memcpy(h.weights, weights, n * size)
        memset(<floating *>h.weights + n, 0, (h.S - n) * size)
    if are_zeros(n, <const floating *>weights):
        memset(context, 0, h.E * size)
        return
    note_lines(h.values, 0, n, lines)
    multiply_few(1, 0, h.E, n, <const floating **>&weights, <const floating **>lines,
                 <const floating *>NULL, False, &context)


cdef void one_backward(const Heads *h, char *scratch, floating *of_type) noexcept nogil:
    """Adds to dkeys and dvalues."""
    cdef Py_ssize_t n = visible(h, 0), size = sizeof(floating), s
    cdef floating **lines = <floating **>cut(&scratch, n * sizeof(void *))
    cdef floating *weights = <floating *>cut(&scratch, whole_lanes(n) * size)
    cdef floating *dscores = <floating *>cut(&scratch, n * size)
    cdef const floating *dcontext = <const floating *>h.dcontext.start
    cdef floating *dquery = <floating *>h.dquery.start
    if h.weights == NULL:  # once more, from the scores
        note_lines(h.keys, 0, n, lines)
        one_softmax(h, n, lines, weights)
    else:
        weights = <floating *>h.weights
    if are_zeros(n, <const floating *>weights):
        memset(dquery, 0, h.D * size)
        return
    # context = weights values:
    note_lines(h.values, 0, n, lines)
    for s in range(n):
        dscores[s] = dot(h.E, dcontext, lines[s])
        if h.dweights != NULL:
            dscores[s] += (<floating *>h.dweights)[s]
    note_lines(h.dvalues, 0, n, lines)
    for s in range(n):
        add_scaled(h.E, weights[s], dcontext, lines[s])
    # weights = softmax(scores):
    softmax_backward(n, weights, dscores)
    # scores = scale query keys^T:
    for s in range(n):
        dscores[s] *= <floating>h.scale
    note_lines(h.keys, 0, n, lines)
    multiply_few(1, 0, h.D, n, <const floating **>&dscores, <const floating **>lines,
                 <const floating *>NULL, False, &dquery)
    note_lines(h.dkeys, 0, n, lines)
    for s in range(n):
        add_scaled(h.D, dscores[s], <floating *>h.query.start, lines[s])
