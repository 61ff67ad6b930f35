# Memory that is used again.
#
# Fresh memory costs more than its allocation: the system hands it out page by
# page, each filled with zeros, at its first use.  For the gates of a long
# sequence that takes longer than computing them.  So a few large blocks that
# nobody uses any more are kept, and the next call of the same size, which in
# training is the next step, finds its memory warm.
from libc.stdint cimport uintptr_t
from libc.stdlib cimport free, malloc

cdef extern from *:
    """
    #if defined(__linux__)
    #include <sys/mman.h>
    /* Pages of 2 MB where there are such: fewer faults, and fewer misses in the page tables. */
    static void want_large_pages(char *memory, size_t size)
    {
        uintptr_t start = ((uintptr_t)memory + 4095) / 4096 * 4096, end = ((uintptr_t)memory + size) / 4096 * 4096;
        if (size >= 1 << 22)
            madvise((void *)start, end - start, MADV_HUGEPAGE);
    }
    #else
    static void want_large_pages(char *memory, size_t size) { (void)memory; (void)size; }
    #endif
    """
    void want_large_pages(char *memory, size_t size)

cdef enum:
    KEPT = 16              # blocks at most
    WORTH_KEEPING = 65536  # bytes at least

cdef char *kept_memory[KEPT]   # the unused blocks, the oldest first; the GIL guards them
cdef Py_ssize_t kept_size[KEPT]
cdef int kept = 0


cdef class Workspace:
    """A block of memory.  Pieces are cut off its front, each on a new cache line."""
    cdef char *memory
    cdef char *front
    cdef Py_ssize_t size

    def __cinit__(self, Py_ssize_t size):
        global kept
        cdef int i, j
        self.size = size + 64
        for i in range(kept if size >= WORTH_KEEPING else 0):
            if self.size <= kept_size[i] <= 2 * self.size:
                self.memory, self.size = kept_memory[i], kept_size[i]
                kept -= 1
                for j in range(i, kept):
                    kept_memory[j], kept_size[j] = kept_memory[j + 1], kept_size[j + 1]
                break
        else:
            self.memory = <char *>malloc(self.size)
            if self.memory == NULL:
                raise MemoryError(f"no {self.size} bytes of memory for a kernel")
            want_large_pages(self.memory, self.size)
        self.front = <char *>((<uintptr_t>self.memory + 63) // 64 * 64)

    def __dealloc__(self):
        global kept
        cdef int j
        if self.memory == NULL:
            return
        if self.size < WORTH_KEEPING:
            free(self.memory)
            return
        if kept == KEPT:
            free(kept_memory[0])
            kept -= 1
            for j in range(kept):
                kept_memory[j], kept_size[j] = kept_memory[j + 1], kept_size[j + 1]
        kept_memory[kept], kept_size[kept] = self.memory, self.size
        kept += 1

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.front, self.size - 64, 0, flags)

    cdef char *take(self, Py_ssize_t size) noexcept:
        cdef char *piece = self.front
        self.front = <char *>((<uintptr_t>piece + size + 63) // 64 * 64)
        return piece


cdef extern from "Python.h":
    int PyBuffer_FillInfo(Py_buffer *, object, void *, Py_ssize_t, int, int) except -1


cdef empty(shape, dtype):
    """As np.empty, in memory that is used again when the array is gone."""
    cdef Py_ssize_t size = dtype.itemsize
    for length in shape:
        size *= length
    if size < WORTH_KEEPING:
        return np.empty(shape, dtype)
    return np.ndarray(shape, dtype, Workspace(size))
