# lanes.h, whose functions take floats or doubles, and return what they take.
cdef extern from "lanes.h" nogil:
    const Py_ssize_t LANES
    double dot(Py_ssize_t n, const void *x, const void *y)
