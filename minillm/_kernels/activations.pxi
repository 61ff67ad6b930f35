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
