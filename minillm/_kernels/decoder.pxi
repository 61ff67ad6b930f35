# decoder.h, for either precision.
cdef extern from "decoder.h" nogil:
    void dots_f32(Py_ssize_t, Py_ssize_t, float, const float *, const float *, float *)
    void dots_f64(Py_ssize_t, Py_ssize_t, double, const double *, const double *, double *)


cdef inline void dots(
    Py_ssize_t n, Py_ssize_t width, floating scale, const floating *x, const floating *lines,
    floating *out,
) noexcept nogil:
    if floating is float:
        dots_f32(n, width, scale, x, lines, out)
    else:
        dots_f64(n, width, scale, x, lines, out)
