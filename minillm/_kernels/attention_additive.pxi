# Additive attention: score = v . tanh(query + key), one pair of query and key at a time.
# The hidden layer of all pairs, (B, T, S, A), is never in memory.


cdef struct Additive:  # all arrays in C order; dv is (B, A)
    Py_ssize_t T, S, A, E
    const int64_t *lengths
    Input query, keys, values, v    # (B, T, A), (B, S, A), (B, S, E), (A,)
    Output context, weights         # (B, T, E), (B, T, S)
    Output hidden                   # (B, A), room for one pair at a time
    Input dcontext, dweights
    Output dscores                  # (B, S), room
    Output dquery, dkeys, dvalues, dv


cdef Additive additive(
    const floating[:, :, ::1] query, const floating[:, :, ::1] keys,
    const floating[:, :, ::1] values, const floating[::1] v, const int64_t[::1] lengths,
):
    cdef Additive w
    w.T, w.S, w.A, w.E = query.shape[1], keys.shape[1], v.shape[0], values.shape[2]
    w.query, w.keys, w.values = &query[0, 0, 0], &keys[0, 0, 0], &values[0, 0, 0]
    w.v, w.lengths = &v[0], &lengths[0]
    return w


cdef inline bint are_zeros(Py_ssize_t n, const floating *weights) noexcept nogil:
    """Whether a query looks at nothing.  The first weight mostly says that it does not."""
    cdef Py_ssize_t s
    for s in range(n):
        if weights[s] != 0:
            return False
    return True


cdef void additive_forward_rows(floating *of_type, void *work, Part part) noexcept nogil:
    cdef Additive w = (<Additive *>work)[0]
    cdef Py_ssize_t b, t, s, n
    cdef const floating *query
    cdef const floating *keys
    cdef const floating *values
    cdef floating *layer
    cdef floating *weights
    cdef floating *context
    for b in range(part.first, part.last):
        n, layer = w.lengths[b], <floating *>w.hidden + b * w.A
        keys = <const floating *>w.keys + b * w.S * w.A
        values = <const floating *>w.values + b * w.S * w.E
        for t in range(b * w.T, (b + 1) * w.T):
            query, context = <const floating *>w.query + t * w.A, <floating *>w.context + t * w.E
            weights = <floating *>w.weights + t * w.S
            for s in range(n):
                hidden(w.A, query, keys + s * w.A, layer)
                weights[s] = dot(w.A, layer, w.v)
            softmax(n, weights)
            if not are_zeros(n, <const floating *>weights):
                for s in range(n):
                    add_scaled(w.E, weights[s], values + s * w.E, context)


cdef void additive_backward_rows(floating *of_type, void *work, Part part) noexcept nogil:
    cdef Additive w = (<Additive *>work)[0]
    cdef Py_ssize_t b, t, s, n, to_keys, to_values
    cdef const floating *query
    cdef const floating *weights
    cdef const floating *dcontext
    cdef floating *dscores
    for b in range(part.first, part.last):
        n, dscores = w.lengths[b], <floating *>w.dscores + b * w.S
        for t in range(b * w.T, (b + 1) * w.T):
            query, weights = <const floating *>w.query + t * w.A, <const floating *>w.weights + t * w.S
            dcontext = <const floating *>w.dcontext + t * w.E
            if are_zeros(n, weights):
                continue
            for s in range(n):
                to_values = (b * w.S + s) * w.E
                # context = weights values:
                dscores[s] = (<floating *>w.dweights)[t * w.S + s] + dot(w.E, dcontext, <floating *>w.values + to_values)
                add_scaled(w.E, weights[s], dcontext, <floating *>w.dvalues + to_values)
            # weights = softmax(scores):
            softmax_backward(n, weights, dscores)
            for s in range(n):
                to_keys = (b * w.S + s) * w.A
                # score = v . tanh(query + key):
                hidden_backward(w.A, dscores[s], query, <floating *>w.keys + to_keys, w.v, <floating *>w.dquery + t * w.A,
                                <floating *>w.dkeys + to_keys, <floating *>w.dv + b * w.A)
