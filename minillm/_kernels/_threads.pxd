# The parts of _threads.pyx that the other compiled kernels use.

# A body does items `first` to `last` of a kernel's work, on thread `me` of the team: `me` is for memory
# of its own, and a result may not depend on it.  `work` is a struct of the kernel.  A body for both precisions has
# `floating *of_type` as its first argument, which is NULL.
ctypedef void (*Body)(void *of_type, void *work, Py_ssize_t first, Py_ssize_t last, int me) noexcept nogil

cdef int max_threads() noexcept nogil
cdef void share(Body body, void *work, Py_ssize_t count, int threads) noexcept nogil
cdef void share_phases(
    Body body, void *work, Py_ssize_t phases, Py_ssize_t count, int threads) noexcept nogil
