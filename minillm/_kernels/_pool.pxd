# The parts of _pool.pyx that the other compiled kernels use.


cdef struct Guarded:  # a piece, with MINILLM_GUARD
    Guarded *previous
    char *begin      # of the guard bytes in front
    char *piece
    char *piece_end  # where those behind it begin
    char *end


cdef class Workspace:
    cdef char *memory      # the block
    cdef Py_ssize_t size   # of the block, in bytes
    cdef char *start       # the first piece
    cdef char *front       # the next piece
    cdef Guarded *guards   # the last piece
    cdef char *take(self, Py_ssize_t size) noexcept
    cdef char *take_guarded(self, Py_ssize_t size) noexcept


cdef empty(tuple shape, dtype)


cdef inline char *cut(char **front, Py_ssize_t size) noexcept nogil:
    """Cut `size` bytes off the front of memory that is large enough; the rest begins on a new cache line."""
    cdef char *piece = front[0]
    front[0] = piece + ((size + 63) & -64)
    return piece
