# The cells of the three recurrences: one vector of hidden columns of one row.
#
# Gates stand one vector apart: a[j], a[lanes + j], ...  `one` is of the right
# precision, because a plain 1 is a double and would make the whole loop double.

cdef enum Cell:
    RNN = 1
    GRU = 3   # the value is the number of gates
    LSTM = 4


cdef inline void rnn_cell(floating *a, floating *h) noexcept nogil:
    """h = tanh(a)."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), j
    for j in range(lanes):
        h[j] = tanh(a[j])


cdef inline void rnn_cell_backward(
    const floating *dh, const floating *h, floating *da
) noexcept nogil:
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), j
    cdef floating one = 1
    for j in range(lanes):
        da[j] = dh[j] * (one - h[j] * h[j])


cdef inline void lstm_cell(floating *a, floating *c, floating *h) noexcept nogil:
    """The pre-activations a become the gates i, f, g, o; c = f c + i g; h = o tanh(c)."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), j
    for j in range(lanes):
        a[j] = sigmoid(a[j])
        a[lanes + j] = sigmoid(a[lanes + j])
        a[2 * lanes + j] = tanh(a[2 * lanes + j])
        a[3 * lanes + j] = sigmoid(a[3 * lanes + j])
        c[j] = a[lanes + j] * c[j] + a[j] * a[2 * lanes + j]
        h[j] = a[3 * lanes + j] * tanh(c[j])


cdef inline void lstm_cell_backward(
    const floating *dh, floating *dc, const floating *gates, const floating *c,
    const floating *c_prev, floating *da,
) noexcept nogil:
    """da from dh; dc becomes that of the step before."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), j
    cdef floating one = 1
    cdef floating i, f, g, o, tanh_c, dc_t
    for j in range(lanes):
        i, f, g, o = gates[j], gates[lanes + j], gates[2 * lanes + j], gates[3 * lanes + j]
        # h = o tanh(c):
        tanh_c = tanh(c[j])
        dc_t = dc[j] + dh[j] * o * (one - tanh_c * tanh_c)
        # c = f c_prev + i g, where i, f, o = sigmoid(a) and g = tanh(a):
        da[j] = dc_t * g * i * (one - i)
        da[lanes + j] = dc_t * c_prev[j] * f * (one - f)
        da[2 * lanes + j] = dc_t * i * (one - g * g)
        da[3 * lanes + j] = dh[j] * tanh_c * o * (one - o)
        dc[j] = dc_t * f


cdef inline void gru_cell(
    floating *a, floating *n, const floating *h_prev, floating *h
) noexcept nogil:
    """a: the pre-activations of r and z, then h_n = h_prev W_hn + b_hn; n: x W_xn + b_xn.

    a becomes r, z, h_n, and n = tanh(n + r h_n); h = (1 - z) n + z h_prev.
    """
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), j
    cdef floating one = 1
    for j in range(lanes):
        a[j] = sigmoid(a[j])
        a[lanes + j] = sigmoid(a[lanes + j])
        n[j] = tanh(n[j] + a[j] * a[2 * lanes + j])
        h[j] = (one - a[lanes + j]) * n[j] + a[lanes + j] * h_prev[j]


cdef inline void gru_cell_backward(
    const floating *dh, floating *dh_prev, const floating *gates, const floating *h_n,
    const floating *h_prev, floating *da,
) noexcept nogil:
    """da by r, z, h_n and x W_xn + b_xn; dh_prev: the part that reaches h_prev through z."""
    cdef Py_ssize_t lanes = VECTOR_BYTES // sizeof(floating), j
    cdef floating one = 1
    cdef floating r, z, n, da_n
    for j in range(lanes):
        r, z, n = gates[j], gates[lanes + j], gates[2 * lanes + j]
        # h = (1 - z) n + z h_prev, where n = tanh(x_n + r h_n) and r, z = sigmoid(a):
        da_n = dh[j] * (one - z) * (one - n * n)
        da[j] = da_n * h_n[j] * r * (one - r)
        da[lanes + j] = dh[j] * (h_prev[j] - n) * z * (one - z)
        da[2 * lanes + j] = da_n * r
        da[3 * lanes + j] = da_n
        dh_prev[j] = dh[j] * z
