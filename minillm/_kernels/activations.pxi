# activations.h, for either precision.
cdef extern from "activations.h" nogil:
    void gelu_f32(Py_ssize_t, const float *, float *)
    void gelu_f64(Py_ssize_t, const double *, double *)
    void gelu_backward_f32(Py_ssize_t, const float *, const float *, float *)
    void gelu_backward_f64(Py_ssize_t, const double *, const double *, double *)
    void exact_gelu_f32(Py_ssize_t, const float *, float *)
    void exact_gelu_f64(Py_ssize_t, const double *, double *)
    void exact_gelu_backward_f32(Py_ssize_t, const float *, const float *, float *)
    void exact_gelu_backward_f64(Py_ssize_t, const double *, const double *, double *)
    void swiglu_f32(Py_ssize_t, const float *, const float *, float *)
    void swiglu_f64(Py_ssize_t, const double *, const double *, double *)
    void swiglu_backward_f32(Py_ssize_t, const float *, const float *, const float *, float *,
                             float *)
    void swiglu_backward_f64(Py_ssize_t, const double *, const double *, const double *, double *,
                             double *)


cdef inline void gelu_block(Py_ssize_t n, const floating *x, floating *y) noexcept nogil:
    if floating is float:
        gelu_f32(n, x, y)
    else:
        gelu_f64(n, x, y)


cdef inline void gelu_block_backward(Py_ssize_t n, const floating *dy, const floating *x,
                                     floating *dx) noexcept nogil:
    if floating is float:
        gelu_backward_f32(n, dy, x, dx)
    else:
        gelu_backward_f64(n, dy, x, dx)


cdef inline void exact_gelu_block(Py_ssize_t n, const floating *x, floating *y) noexcept nogil:
    if floating is float:
        exact_gelu_f32(n, x, y)
    else:
        exact_gelu_f64(n, x, y)


cdef inline void exact_gelu_block_backward(Py_ssize_t n, const floating *dy, const floating *x,
                                           floating *dx) noexcept nogil:
    if floating is float:
        exact_gelu_backward_f32(n, dy, x, dx)
    else:
        exact_gelu_backward_f64(n, dy, x, dx)


cdef inline void swiglu_row(Py_ssize_t F, const floating *x, floating *y) noexcept nogil:
    """x: F numbers that gate, and F that are gated."""
    if floating is float:
        swiglu_f32(F, x, x + F, y)
    else:
        swiglu_f64(F, x, x + F, y)


cdef inline void swiglu_row_backward(Py_ssize_t F, const floating *dy, const floating *x,
                                     floating *dx) noexcept nogil:
    if floating is float:
        swiglu_backward_f32(F, dy, x, x + F, dx, dx + F)
    else:
        swiglu_backward_f64(F, dy, x, x + F, dx, dx + F)
