# The parts of _threads.pyx that the other compiled kernels use.

cdef extern from "body.h" nogil:
    ctypedef struct Part:
        Py_ssize_t first, last
        int me
    ctypedef void (*Body)(void *of_type, void *work, Part part) noexcept nogil

ctypedef const void *Input  # arrays of floats or doubles that a body reads
ctypedef void *Output       # and writes

cdef int max_threads() noexcept nogil
cdef void share(Body body, void *work, Py_ssize_t count, int threads) noexcept nogil
cdef void share_phases(
    Body body, void *work, Py_ssize_t phases, Py_ssize_t count, int threads) noexcept nogil
