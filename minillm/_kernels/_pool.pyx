# cython: language_level=3
"""The memory of the compiled kernels: one pool of blocks that are used again.

Fresh memory costs more than its allocation: the system hands it out page by page,
each filled with zeros, at its first use.  For the gates of a long sequence that takes
longer than computing them.  So blocks that are no longer in use stay here, and the next
call of the same size, which in training is the next step, finds its memory in place.

The idle blocks of all kernels together hold at most MINILLM_POOL_BYTES bytes (a whole
number, or one with K, M or G: 256M unless it is set; 0 for none at all).  Where a block
would exceed that, those that have been idle longest are returned to the system first.

A block is a mapping of its own, since freed memory of malloc's may stay with the
process.  Blocks below 64 kB are malloc's all the same, and never wait here.

With MINILLM_GUARD=1, each piece of a workspace is followed by guard bytes, and a kernel
that wrote into them, or took more than it had asked for, ends the process with a message.

The GIL guards everything here: kernels take their memory before they release it.
"""

import os
import sys

import numpy as np

from libc.stdint cimport uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove, memset

from minillm.errors import InputError

cdef extern from *:
    """
    #if (defined(__unix__) || defined(__APPLE__)) && !defined(__SANITIZE_ADDRESS__)
    #include <sys/mman.h>
    static char *new_block(size_t size)
    {
        char *block = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
        if (block == (char *)MAP_FAILED)
            return NULL;
    #ifdef MADV_HUGEPAGE
        /* Pages of 2 MB where there are such: fewer faults, and fewer misses in the page tables. */
        if (size >= 1 << 22)
            madvise(block, size, MADV_HUGEPAGE);
    #endif
        return block;
    }
    static void free_block(char *block, size_t size) { munmap(block, size); }
    #else /* Windows returns large blocks by itself; the address sanitizer watches the ends of malloc's */
    static char *new_block(size_t size) { return malloc(size); }
    static void free_block(char *block, size_t size) { (void)size; free(block); }
    #endif
    """
    char *new_block(size_t size)
    void free_block(char *block, size_t size)

cdef extern from "Python.h":
    int PyBuffer_FillInfo(Py_buffer *, object, void *, Py_ssize_t, int, int) except -1
    void Py_FatalError(const char *message)

cdef enum:
    BLOCKS = 256              # idle ones at most
    WORTH_POOLING = 65536     # bytes at least
    LINE = 64                 # bytes of a cache line, and of a guard at least
    GUARDED_PIECES = 64       # pieces of a workspace for whose guards there is room
    GUARD_BYTE = 0xA5

cdef struct Block:
    char *memory
    Py_ssize_t size

cdef Block idle[BLOCKS]  # the longest idle first
cdef int count = 0
cdef Py_ssize_t idle_bytes = 0


def limit_of(text: str) -> int:
    """The bytes that MINILLM_POOL_BYTES means.  Raises InputError for what is no number."""
    shift = {"K": 10, "M": 20, "G": 30}.get(text[-1:].upper(), 0)
    digits = text[:-1] if shift else text
    if not (digits.isascii() and digits.isdecimal()):
        raise InputError(
            "MINILLM_POOL_BYTES: expected a number of bytes, such as 0, 1000000, 64M or 1G; "
            f"found {text!r}"
        )
    return min(int(digits) << shift, sys.maxsize)


cdef Py_ssize_t limit = limit_of(os.environ.get("MINILLM_POOL_BYTES") or "256M")
cdef bint guarded = os.environ.get("MINILLM_GUARD", "0") not in ("", "0")


def kept_bytes() -> int:
    """The bytes of all idle blocks."""
    return idle_bytes


def clear() -> None:
    """Return all idle blocks to the system."""
    while count > 0:
        free_oldest()


def overrun() -> None:
    """Write one byte past a piece of a workspace, into its padding: for the test of the guards."""
    cdef Workspace work = Workspace(1)
    work.take(1)[1] = 0


cdef void remove(int i) noexcept:
    global count, idle_bytes
    count -= 1
    idle_bytes -= idle[i].size
    memmove(&idle[i], &idle[i + 1], (count - i) * sizeof(Block))


cdef void free_oldest() noexcept:
    cdef Block oldest = idle[0]
    remove(0)
    free_block(oldest.memory, oldest.size)


cdef Block take_block(Py_ssize_t size) except *:
    """The smallest idle block of `size` to 2 * `size` bytes, of several the latest; or a new one."""
    cdef Block block
    cdef int i, best = -1
    for i in range(count - 1, -1, -1):
        if size <= idle[i].size <= 2 * size and (best < 0 or idle[i].size < idle[best].size):
            best = i
    if best >= 0:
        block = idle[best]
        remove(best)
        return block
    block.memory, block.size = new_block(size), size
    if block.memory == NULL:
        clear()
        block.memory = new_block(size)
    if block.memory == NULL:
        raise MemoryError(f"no {size} bytes of memory for a kernel")
    return block


cdef void return_block(Block block) noexcept:
    global count, idle_bytes
    if block.size > limit:
        free_block(block.memory, block.size)
        return
    while count == BLOCKS or idle_bytes + block.size > limit:
        free_oldest()
    idle[count] = block
    count += 1
    idle_bytes += block.size


cdef class Workspace:
    """A block of memory.  Pieces are cut off its front, each on a new cache line.

    `size` is the sum of the pieces, and 64 bytes more for each piece after the first.
    """

    def __cinit__(self, Py_ssize_t size):
        cdef Block block
        self.room = size + LINE
        self.size = self.room + (GUARDED_PIECES * 2 * LINE if guarded else LINE)
        if self.size >= WORTH_POOLING:
            block = take_block(self.size)
            self.memory, self.size = block.memory, block.size
        else:
            self.memory = <char *>malloc(self.size)
        if self.memory == NULL:
            raise MemoryError(f"no {self.size} bytes of memory for a kernel")
        self.start = self.front = aligned(self.memory)

    def __dealloc__(self):
        cdef Block block
        if self.memory == NULL:
            return
        if self.last_guard != NULL:
            check_guards(self.last_guard)
        if self.size < WORTH_POOLING:
            free(self.memory)
        else:
            block.memory, block.size = self.memory, self.size
            return_block(block)

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.start, self.front - self.start, 0, flags)

    cdef char *take(self, Py_ssize_t size) noexcept:
        cdef char *piece = self.front
        self.front = aligned(piece + size)
        if guarded:
            self.room -= self.front - piece
            if self.room < 0:
                Py_FatalError("a kernel took more from its workspace than it had asked for")
            self.last_guard = new_guard(piece + size, self.front, self.last_guard)
            self.front += LINE
        return piece


cdef inline char *aligned(char *address) noexcept:
    return <char *>((<uintptr_t>address + LINE - 1) & <uintptr_t>-LINE)


# A guard begins where its piece ends, and ends with the line after the padding.  Its last
# bytes say where it begins, and where the guard before it ends.
cdef struct Guard:
    char *begin
    char *previous


cdef char *new_guard(char *begin, char *line, char *previous) noexcept:
    cdef Guard guard
    guard.begin, guard.previous = begin, previous
    memset(begin, GUARD_BYTE, line + LINE - begin)
    memcpy(line + LINE - sizeof(Guard), &guard, sizeof(Guard))
    return line + LINE


cdef void check_guards(char *end) noexcept:
    cdef Guard guard
    cdef char *byte
    while end != NULL:
        memcpy(&guard, end - sizeof(Guard), sizeof(Guard))
        byte = end - LINE  # a damaged guard may not say where it begins
        while byte < end - sizeof(Guard):
            if <unsigned char>byte[0] != GUARD_BYTE:
                Py_FatalError("a kernel wrote past the end of a piece of its workspace")
            byte += 1
        byte = guard.begin
        while byte < end - LINE:
            if <unsigned char>byte[0] != GUARD_BYTE:
                Py_FatalError("a kernel wrote past the end of a piece of its workspace")
            byte += 1
        end = guard.previous


cdef empty(shape, dtype):
    """As np.empty, in memory that is used again when the array is gone."""
    cdef Py_ssize_t size = dtype.itemsize
    cdef Workspace memory
    for length in shape:
        size *= length
    if size < WORTH_POOLING:
        return np.empty(shape, dtype)
    memory = Workspace(size)
    memory.take(size)
    return np.ndarray(shape, dtype, memory)
