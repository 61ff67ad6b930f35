# rotary.h, for either precision.
cdef extern from "rotary.h" nogil:
    void rotate_f32(Py_ssize_t, const float *, const float *, const float *, float *)
    void rotate_f64(Py_ssize_t, const double *, const double *, const double *, double *)


cdef inline void rotate(
    Py_ssize_t n, const floating *x, const floating *cos, const floating *sin, floating *y
) noexcept nogil:
    if floating is float:
        rotate_f32(n, x, cos, sin, y)
    else:
        rotate_f64(n, x, cos, sin, y)
