# decoder.h, for either precision.
cdef extern from "decoder.h" nogil:
    void dots_f32(Py_ssize_t, Py_ssize_t, float, const float *, const float **, Py_ssize_t, float *)
    void dots_f64(Py_ssize_t, Py_ssize_t, double, const double *, const double **, Py_ssize_t, double *)


cdef inline void dots(
    Py_ssize_t n, Py_ssize_t width, floating scale, const floating *x, const floating **lines,
    Py_ssize_t first, floating *out,
) noexcept nogil:
    if floating is float:
        dots_f32(n, width, scale, x, lines, first, out)
    else:
        dots_f64(n, width, scale, x, lines, first, out)
