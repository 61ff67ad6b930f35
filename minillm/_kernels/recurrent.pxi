# recurrent.h, for either precision.
cdef extern from "recurrent.h" nogil:
    enum:
        RNN
        GRU
        LSTM
    void cell_f32(int, Py_ssize_t, float *, float *, const float *, float *)
    void cell_f64(int, Py_ssize_t, double *, double *, const double *, double *)
    void cell_backward_f32(
        int, Py_ssize_t, Py_ssize_t, const float *, const float *, float *, float *,
        const float *, const float *, const float *, float *, float *)
    void cell_backward_f64(
        int, Py_ssize_t, Py_ssize_t, const double *, const double *, double *, double *,
        const double *, const double *, const double *, double *, double *)


cdef inline void run_cell(
    int cell, Py_ssize_t n, floating *a, floating *more, const floating *h_prev, floating *h
) noexcept nogil:
    if floating is float:
        cell_f32(cell, n, a, more, h_prev, h)
    else:
        cell_f64(cell, n, a, more, h_prev, h)


cdef inline void run_cell_backward(
    int cell, Py_ssize_t n, Py_ssize_t H, const floating *sums, const floating *dhs,
    floating *dh_prev, floating *dc, const floating *gates, const floating *kept,
    const floating *before, floating *da, floating *da_hn,
) noexcept nogil:
    if floating is float:
        cell_backward_f32(cell, n, H, sums, dhs, dh_prev, dc, gates, kept, before, da, da_hn)
    else:
        cell_backward_f64(cell, n, H, sums, dhs, dh_prev, dc, gates, kept, before, da, da_hn)
