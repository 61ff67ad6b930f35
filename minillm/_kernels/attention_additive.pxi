# Additive attention: score = v . tanh(query + key), one pair of query and key at a time.
# The hidden layer of all pairs, (B, T, S, A), is never in memory.


cdef inline bint are_zeros(Py_ssize_t n, const floating *weights) noexcept nogil:
    """Whether a query looks at nothing.  The first weight mostly says that it does not."""
    cdef Py_ssize_t s
    for s in range(n):
        if weights[s] != 0:
            return False
    return True


cdef void additive_row_forward(
    const floating[:, ::1] query, const floating[:, ::1] keys, const floating[:, ::1] values,
    const floating[::1] v, Py_ssize_t n, floating[::1] layer,
    floating[:, ::1] context, floating[:, ::1] weights,
) noexcept nogil:
    cdef Py_ssize_t A = v.shape[0], E = values.shape[1], t, s
    for t in range(query.shape[0]):
        for s in range(n):
            hidden(A, &query[t, 0], &keys[s, 0], &layer[0])
            weights[t, s] = dot(A, <const floating *>&layer[0], &v[0])
        softmax(n, &weights[t, 0])
        if not are_zeros(n, <const floating *>&weights[t, 0]):
            for s in range(n):
                add_scaled(E, weights[t, s], &values[s, 0], &context[t, 0])


cdef void additive_row_backward(
    const floating[:, ::1] dcontext, const floating[:, ::1] dweights,
    const floating[:, ::1] query, const floating[:, ::1] keys, const floating[:, ::1] values,
    const floating[::1] v, Py_ssize_t n, const floating[:, ::1] weights, floating[::1] dscores,
    floating[:, ::1] dquery, floating[:, ::1] dkeys, floating[:, ::1] dvalues, floating[::1] dv,
) noexcept nogil:
    cdef Py_ssize_t A = v.shape[0], E = values.shape[1], t, s
    for t in range(query.shape[0]):
        if are_zeros(n, &weights[t, 0]):
            continue
        for s in range(n):
            # context = weights values:
            dscores[s] = dweights[t, s] + dot(E, &dcontext[t, 0], &values[s, 0])
            add_scaled(E, weights[t, s], &dcontext[t, 0], &dvalues[s, 0])
        # weights = softmax(scores):
        softmax_backward(n, &weights[t, 0], &dscores[0])
        for s in range(n):
            # score = v . tanh(query + key):
            hidden_backward(A, dscores[s], &query[t, 0], &keys[s, 0], &v[0],
                            &dquery[t, 0], &dkeys[s, 0], &dv[0])
