cdef extern from "rotary.h" nogil:
    void rotate(Py_ssize_t n, const void *x, const void *cos, const void *sin, void *y)
