# attention.h, for either precision.
cdef extern from "lanes.h" nogil:
    const Py_ssize_t LANES


cdef extern from "attention.h" nogil:
    void add_scaled_f32(Py_ssize_t, float, const float *, float *)
    void add_scaled_f64(Py_ssize_t, double, const double *, double *)
    float softmax_f32(Py_ssize_t, float *)
    double softmax_f64(Py_ssize_t, double *)
    void hide_f32(Py_ssize_t, Py_ssize_t, Py_ssize_t, float, float *)
    void hide_f64(Py_ssize_t, Py_ssize_t, Py_ssize_t, double, double *)
    void fill_f32(Py_ssize_t, Py_ssize_t, float, float *)
    void fill_f64(Py_ssize_t, Py_ssize_t, double, double *)
    void softmax_columns_f32(Py_ssize_t, Py_ssize_t, float *, float *, float *)
    void softmax_columns_f64(Py_ssize_t, Py_ssize_t, double *, double *, double *)
    void softmax_again_columns_f32(Py_ssize_t, Py_ssize_t, const float *, float *)
    void softmax_again_columns_f64(Py_ssize_t, Py_ssize_t, const double *, double *)
    void softmax_backward_columns_f32(Py_ssize_t, Py_ssize_t, const float *, float *, float *)
    void softmax_backward_columns_f64(Py_ssize_t, Py_ssize_t, const double *, double *, double *)
    void softmax_backward_f32(Py_ssize_t, const float *, float *)
    void softmax_backward_f64(Py_ssize_t, const double *, double *)
    void hidden_f32(Py_ssize_t, const float *, const float *, float *)
    void hidden_f64(Py_ssize_t, const double *, const double *, double *)
    void hidden_backward_f32(Py_ssize_t, float, const float *, const float *, const float *,
                             float *, float *, float *)
    void hidden_backward_f64(Py_ssize_t, double, const double *, const double *, const double *,
                             double *, double *, double *)


cdef inline Py_ssize_t whole_lanes(Py_ssize_t n) noexcept nogil:
    """n, or as many more as the sums of lanes.h take at once: the rest would take longest."""
    return (n + LANES - 1) // LANES * LANES


cdef inline void add_scaled(
    Py_ssize_t n, floating a, const floating *x, floating *y
) noexcept nogil:
    if floating is float:
        add_scaled_f32(n, a, x, y)
    else:
        add_scaled_f64(n, a, x, y)


cdef inline floating softmax(Py_ssize_t n, floating *x) noexcept nogil:
    if floating is float:
        return softmax_f32(n, x)
    else:
        return softmax_f64(n, x)


cdef inline void softmax_backward(Py_ssize_t n, const floating *w, floating *dw) noexcept nogil:
    if floating is float:
        softmax_backward_f32(n, w, dw)
    else:
        softmax_backward_f64(n, w, dw)


cdef inline void hide(
    Py_ssize_t n, Py_ssize_t ld, Py_ssize_t position, floating filling, floating *x
) noexcept nogil:
    if floating is float:
        hide_f32(n, ld, position, filling, x)
    else:
        hide_f64(n, ld, position, filling, x)


cdef inline void fill(Py_ssize_t n, Py_ssize_t ld, floating filling, floating *x) noexcept nogil:
    if floating is float:
        fill_f32(n, ld, filling, x)
    else:
        fill_f64(n, ld, filling, x)


cdef inline void softmax_columns(
    Py_ssize_t n, Py_ssize_t ld, floating *x, floating *log_sums, floating *sums
) noexcept nogil:
    if floating is float:
        softmax_columns_f32(n, ld, x, log_sums, sums)
    else:
        softmax_columns_f64(n, ld, x, log_sums, sums)


cdef inline void softmax_again_columns(
    Py_ssize_t n, Py_ssize_t ld, const floating *log_sums, floating *x
) noexcept nogil:
    if floating is float:
        softmax_again_columns_f32(n, ld, log_sums, x)
    else:
        softmax_again_columns_f64(n, ld, log_sums, x)


cdef inline void softmax_backward_columns(
    Py_ssize_t n, Py_ssize_t ld, const floating *w, floating *dw, floating *sums
) noexcept nogil:
    if floating is float:
        softmax_backward_columns_f32(n, ld, w, dw, sums)
    else:
        softmax_backward_columns_f64(n, ld, w, dw, sums)


cdef inline void hidden(
    Py_ssize_t n, const floating *query, const floating *key, floating *out
) noexcept nogil:
    if floating is float:
        hidden_f32(n, query, key, out)
    else:
        hidden_f64(n, query, key, out)


cdef inline void hidden_backward(
    Py_ssize_t n, floating dscore, const floating *query, const floating *key, const floating *v,
    floating *dquery, floating *dkey, floating *dv,
) noexcept nogil:
    if floating is float:
        hidden_backward_f32(n, dscore, query, key, v, dquery, dkey, dv)
    else:
        hidden_backward_f64(n, dscore, query, key, v, dquery, dkey, dv)
