# cross_entropy.h, for either precision.
cdef extern from "cross_entropy.h" nogil:
    float cross_entropy_row_f32(Py_ssize_t, const float *, Py_ssize_t, float, float *)
    double cross_entropy_row_f64(Py_ssize_t, const double *, Py_ssize_t, double, double *)
    void cross_entropy_row_backward_f32(
        Py_ssize_t, const float *, Py_ssize_t, float, float, float *)
    void cross_entropy_row_backward_f64(
        Py_ssize_t, const double *, Py_ssize_t, double, double, double *)
    void most_probable_row_f32(Py_ssize_t, const float *, Py_ssize_t, int64_t *, double *)
    void most_probable_row_f64(Py_ssize_t, const double *, Py_ssize_t, int64_t *, double *)


cdef inline floating cross_entropy_row(
    Py_ssize_t V, const floating *logits, Py_ssize_t target, double smoothing, floating *p
) noexcept nogil:
    if floating is float:
        return cross_entropy_row_f32(V, logits, target, <float>smoothing, p)
    else:
        return cross_entropy_row_f64(V, logits, target, smoothing, p)


cdef inline void cross_entropy_row_backward(
    Py_ssize_t V, const floating *p, Py_ssize_t target, floating weight, double smoothing,
    floating *dlogits,
) noexcept nogil:
    if floating is float:
        cross_entropy_row_backward_f32(V, p, target, weight, <float>smoothing, dlogits)
    else:
        cross_entropy_row_backward_f64(V, p, target, weight, smoothing, dlogits)


cdef inline void most_probable_row(
    Py_ssize_t V, const floating *logits, Py_ssize_t count, int64_t *ids, double *log_p
) noexcept nogil:
    if floating is float:
        most_probable_row_f32(V, logits, count, ids, log_p)
    else:
        most_probable_row_f64(V, logits, count, ids, log_p)
