cdef extern from "decoder.h" nogil:
    void dots(Py_ssize_t n, Py_ssize_t width, double scale, const void *x, const void *lines, Py_ssize_t first,
              void *out)
