# word2vec.h, for either precision.
cdef extern from "word2vec.h" nogil:
    uint64_t next_random(uint64_t *state)
    float dot_f32(Py_ssize_t, const float *, const float *)
    double dot_f64(Py_ssize_t, const double *, const double *)
    void add_scaled_f32(Py_ssize_t, float, const float *, float *)
    void add_scaled_f64(Py_ssize_t, double, const double *, double *)
    void slopes_f32(Py_ssize_t, float, const float *, float *, float *)
    void slopes_f64(Py_ssize_t, double, const double *, double *, double *)
    void step_f32(Py_ssize_t, Py_ssize_t, float * const*, const float *, const float *, float *)
    void step_f64(Py_ssize_t, Py_ssize_t, double * const*, const double *, const double *, double *)


cdef inline floating dot(Py_ssize_t n, const floating *u, const floating *h) noexcept nogil:
    if floating is float:
        return dot_f32(n, u, h)
    else:
        return dot_f64(n, u, h)


cdef inline void add_scaled(
    Py_ssize_t n, floating a, const floating *x, floating *y
) noexcept nogil:
    if floating is float:
        add_scaled_f32(n, a, x, y)
    else:
        add_scaled_f64(n, a, x, y)


cdef inline void slopes(Py_ssize_t count, floating rate, const floating *sign, floating *p,
                        floating *g) noexcept nogil:
    if floating is float:
        slopes_f32(count, rate, sign, p, g)
    else:
        slopes_f64(count, rate, sign, p, g)


cdef inline void step(Py_ssize_t n, Py_ssize_t count, floating **u, const floating *g,
                      const floating *h, floating *change) noexcept nogil:
    if floating is float:
        step_f32(n, count, u, g, h, change)
    else:
        step_f64(n, count, u, g, h, change)
