# llama.h, for either precision.
cdef extern from "llama.h" nogil:
    void gated_f32(Py_ssize_t, const float *, const float *, float *)
    void gated_f64(Py_ssize_t, const double *, const double *, double *)
    void scaled_f32(Py_ssize_t, float, const float *, const float *, float *)
    void scaled_f64(Py_ssize_t, double, const double *, const double *, double *)
    void rotate_f32(Py_ssize_t, const float *, const float *, const float *, float *)
    void rotate_f64(Py_ssize_t, const double *, const double *, const double *, double *)


cdef inline void gated(Py_ssize_t n, const floating *gate, const floating *up, floating *y) noexcept nogil:
    if floating is float:
        gated_f32(n, gate, up, y)
    else:
        gated_f64(n, gate, up, y)


cdef inline void scaled(
    Py_ssize_t n, floating scale, const floating *x, const floating *gain, floating *y
) noexcept nogil:
    if floating is float:
        scaled_f32(n, scale, x, gain, y)
    else:
        scaled_f64(n, scale, x, gain, y)


cdef inline void rotate(
    Py_ssize_t n, const floating *cos, const floating *sin, const floating *x, floating *y
) noexcept nogil:
    if floating is float:
        rotate_f32(n, cos, sin, x, y)
    else:
        rotate_f64(n, cos, sin, x, y)
