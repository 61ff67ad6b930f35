# lanes.h, for either precision.
cdef extern from "lanes.h" nogil:
    float dot_f32(Py_ssize_t, const float *, const float *)
    double dot_f64(Py_ssize_t, const double *, const double *)


cdef inline floating dot(Py_ssize_t n, const floating *x, const floating *y) noexcept nogil:
    if floating is float:
        return dot_f32(n, x, y)
    else:
        return dot_f64(n, x, y)
