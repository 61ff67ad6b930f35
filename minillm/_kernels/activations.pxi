# activations.h, whose functions take floats or doubles.
cdef extern from "activations.h" nogil:
    void gelu_block(Py_ssize_t n, const void *x, void *y)
    void gelu_block_backward(Py_ssize_t n, const void *dy, const void *x, void *dx)
    void exact_gelu_block(Py_ssize_t n, const void *x, void *y)
    void exact_gelu_block_backward(Py_ssize_t n, const void *dy, const void *x, void *dx)
    void swiglu_row(Py_ssize_t F, const void *x, void *y)
    void swiglu_row_backward(Py_ssize_t F, const void *dy, const void *x, void *dx)
    void silu_block(Py_ssize_t n, const void *x, void *y)
    void silu_block_backward(Py_ssize_t n, const void *dy, const void *x, void *dx)
    void softplus_block(Py_ssize_t n, const void *x, void *y)
    void softplus_block_backward(Py_ssize_t n, const void *dy, const void *x, void *dx)
