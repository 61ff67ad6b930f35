# attention.h, whose functions take floats or doubles, and return what they take.
include "lanes.pxi"

cdef extern from "attention.h" nogil:
    void add_scaled(Py_ssize_t n, double a, const void *x, void *y)
    double softmax(Py_ssize_t n, void *x)
    void softmax_row(Py_ssize_t n, void *x)
    void softmax_backward(Py_ssize_t n, const void *w, void *dw)
    void hidden(Py_ssize_t n, const void *query, const void *key, void *out)
    void hidden_backward(
        Py_ssize_t n, double dscore, const void *query, const void *key, const void *v,
        void *dquery, void *dkey, void *dv)
    void hide(Py_ssize_t n, Py_ssize_t ld, Py_ssize_t position, Py_ssize_t window, Py_ssize_t sinks,
              double filling, void *x)
    void softmax_columns(Py_ssize_t n, Py_ssize_t ld, void *x, void *log_sums, void *sums)
    void softmax_again_columns(Py_ssize_t n, Py_ssize_t ld, const void *log_sums, void *x)
    void softmax_backward_columns(Py_ssize_t n, Py_ssize_t ld, const void *w, void *dw, void *sums)


cdef inline Py_ssize_t whole_lanes(Py_ssize_t n) noexcept nogil:
    """n, or as many more as the sums of lanes.h take at once: the rest would take longest."""
    return (n + LANES - 1) // LANES * LANES
