# What the other compiled kernels use of _pool.pyx: see there.


cdef class Workspace:
    cdef char *memory      # the block
    cdef Py_ssize_t size   # of the block, in bytes
    cdef Py_ssize_t room   # what was asked for and is not taken yet
    cdef char *start       # the first piece
    cdef char *front       # the next piece
    cdef char *last_guard
    cdef char *take(self, Py_ssize_t size) noexcept


cdef empty(shape, dtype)


cdef inline char *cut(char **front, Py_ssize_t size) noexcept nogil:
    """Cut `size` bytes off the front of memory that is large enough; the rest begins on a new cache line."""
    cdef char *piece = front[0]
    front[0] = piece + ((size + 63) & -64)
    return piece
