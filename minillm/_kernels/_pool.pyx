# cython: language_level=3
"""The memory of the compiled kernels: one pool of blocks that are used again.

Fresh memory costs more than its allocation: the system hands it out page by page,
each filled with zeros, at its first use.  For the gates of a long sequence that takes
longer than computing them.  So blocks that are no longer in use stay here, and the next
call of the same size, which in training is the next step, finds its memory in place.

The idle blocks of all kernels together hold at most MINILLM_POOL_BYTES bytes (a whole
number, or one with K, M or G: 512M unless it is set; 0 for none at all).  Where a block
would exceed that, the blocks that have been idle longest are returned to the system first.
A training keeps all blocks (keep_for_next_step), unless MINILLM_POOL_BYTES is set: its next
step needs them again, and they are more than 512M for many models.  Blocks in use and idle
ones together are then at most an eighth more than the most that was in use at one time.

A block is a mapping of its own, since freed memory of malloc's may stay with the process.
Blocks below 64 kB are malloc's all the same, and never wait here.  NumPy's own arrays are
malloc's as well, so the pool tells glibc to keep as much as it does itself, for the whole process.

With MINILLM_GUARD=1, each output and each piece of a workspace is a block of its own between
two margins of guard bytes, as wide as the piece is, and nothing waits here.  A kernel that wrote
into a margin, or took more than it had asked for, ends the process with a message; under the
address sanitizer, touching a margin does.  As numbers the guard bytes are huge, so that a result
shows a read of a margin.  A piece begins as 0xFF bytes, which are NaN: memory that was never
written shows.

A lock guards the list of idle blocks, because free-threaded Python has no GIL.  No Python code
runs while it is held: so a fork, before which all Python threads stop, never finds it locked.
"""

import os
import sys

import numpy as np

from libc.stdint cimport uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memmove, memset

from minillm.errors import InputError, short

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
    #if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
    #include <malloc.h>
    static void let_malloc_keep(size_t size)
    {
        mallopt(M_MMAP_THRESHOLD, 32 << 20); /* the most that it accepts */
        mallopt(M_TRIM_THRESHOLD, size < INT_MAX ? (int)size : INT_MAX);
    }
    #else
    static void let_malloc_keep(size_t size) { (void)size; }
    #endif
    #ifdef __SANITIZE_ADDRESS__
    #include <sanitizer/asan_interface.h>
    #define POISONED 1
    #else
    #define POISONED 0
    #define ASAN_POISON_MEMORY_REGION(begin, size) ((void)(begin), (void)(size))
    #define ASAN_UNPOISON_MEMORY_REGION(begin, size) ((void)(begin), (void)(size))
    #endif
    """
    char *new_block(size_t size)
    void free_block(char *block, size_t size)
    void let_malloc_keep(size_t size)
    bint POISONED
    void ASAN_POISON_MEMORY_REGION(char *begin, size_t size)
    void ASAN_UNPOISON_MEMORY_REGION(char *begin, size_t size)

cdef extern from *:
    """
    #include "system.h"
    static Lock pool_lock = UNLOCKED;
    static void lock_pool(void) { lock(&pool_lock); }
    static void unlock_pool(void) { unlock(&pool_lock); }
    """
    void lock_pool()
    void unlock_pool()

cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX
    int PyBuffer_FillInfo(Py_buffer *, object, void *, Py_ssize_t, int, int) except -1
    void Py_FatalError(const char *message)

cdef enum:
    BLOCKS = 4096             # idle ones at most
    WORTH_POOLING = 65536     # bytes at least
    LINE = 64                 # bytes of a cache line
    WIDEST_MARGIN = 1 << 22   # bytes
    GUARD_BYTE = 0x7F         # numbers made of it are huge, so that a result shows a margin in it

cdef struct Block:
    char *memory
    Py_ssize_t size

cdef object new_array = np.empty
cdef Block idle[BLOCKS]  # the longest idle first
cdef int count = 0
cdef Py_ssize_t idle_bytes = 0, used_bytes = 0
cdef int trainings = 0        # that keep their blocks
cdef Py_ssize_t most_used = 0  # bytes at one time, since the first of these began


def limit_of(text: str) -> int:
    """The bytes given by MINILLM_POOL_BYTES.  InputError if it is not a number."""
    shift = {"K": 10, "M": 20, "G": 30}.get(text[-1:].upper(), 0)
    digits = text[:-1] if shift else text
    if not (digits.isascii() and digits.isdecimal()):
        raise InputError(
            "MINILLM_POOL_BYTES: expected a number of bytes, such as 0, 1000000, 64M or 1G; "
            f"found {short(text)}"
        )
    digits = digits.lstrip("0") or "0"
    return sys.maxsize if len(digits) > 20 else min(int(digits) << shift, sys.maxsize)


cdef bint is_set = bool(os.environ.get("MINILLM_POOL_BYTES"))
cdef Py_ssize_t limit = limit_of(os.environ.get("MINILLM_POOL_BYTES") or "512M")
cdef bint guarded = os.environ.get("MINILLM_GUARD", "0") not in ("", "0")
if limit > 0:
    let_malloc_keep(limit)


def kept_bytes() -> int:
    """The bytes of all idle blocks."""
    lock_pool()
    cdef Py_ssize_t kept = idle_bytes
    unlock_pool()
    return kept


def clear() -> None:
    """Return all idle blocks to the system."""
    lock_pool()
    while count > 0:
        free_oldest()
    unlock_pool()


def keep_for_next_step(bint begins) -> None:
    """Note that a training begins, or ends.  All blocks are kept as long as there is one."""
    global trainings, most_used
    if is_set:
        return
    lock_pool()
    if trainings == 0:
        most_used = used_bytes
    trainings += 1 if begins else -1
    if trainings == 0:
        free_down_to(limit)
    unlock_pool()


def write_at(Py_ssize_t place, Py_ssize_t size) -> None:
    """Write one byte at `place` of a piece of `size` bytes: for the test of the guards."""
    cdef Workspace work = Workspace(size)
    work.take(size)[place] = 0


cdef void remove(int i) noexcept:
    global count, idle_bytes
    count -= 1
    idle_bytes -= idle[i].size
    memmove(&idle[i], &idle[i + 1], (count - i) * sizeof(Block))


cdef void free_oldest() noexcept:
    cdef Block oldest = idle[0]
    remove(0)
    free_block(oldest.memory, oldest.size)


cdef void free_down_to(Py_ssize_t most) noexcept:
    """Free blocks until the idle ones have at most this many bytes."""
    while count > 0 and idle_bytes > most:
        free_oldest()


cdef Block take_block(Py_ssize_t size) except *:
    """The smallest idle block of `size` to 2 * `size` bytes, of several the latest; or a new one."""
    global used_bytes, most_used
    cdef Block block
    cdef int i, best = -1
    lock_pool()
    for i in range(count - 1, -1, -1):
        if size <= idle[i].size <= 2 * size and (best < 0 or idle[i].size < idle[best].size):
            best = i
    if best >= 0:
        block = idle[best]
        remove(best)
    used_bytes += block.size if best >= 0 else size
    most_used = max(most_used, used_bytes)
    if best < 0 and trainings > 0:
        free_down_to(most_used + most_used // 8 - used_bytes)
    unlock_pool()
    if best >= 0:
        return block
    block.memory, block.size = new_block(size), size
    if block.memory == NULL:
        clear()
        block.memory = new_block(size)
    if block.memory == NULL:
        lock_pool()
        used_bytes -= size
        unlock_pool()
        raise MemoryError(f"no {size} bytes of memory for a kernel")
    return block


cdef void return_block(Block block) noexcept:
    global count, idle_bytes, used_bytes
    lock_pool()
    used_bytes -= block.size
    if trainings == 0 and block.size > limit:
        free_block(block.memory, block.size)
    else:
        if trainings == 0:
            free_down_to(limit - block.size)
        if count == BLOCKS:
            free_oldest()
        idle[count] = block
        count += 1
        idle_bytes += block.size
    unlock_pool()


cdef class Workspace:
    """A block of memory.  Pieces are cut off its front, each on a new cache line.

    `size` is the sum of the pieces, and 64 bytes more for each piece after the first.
    """

    def __cinit__(self, Py_ssize_t size):
        cdef Block block
        self.size = size + LINE
        if guarded:
            return
        if self.size >= WORTH_POOLING:
            if trainings > 0:
                self.size = rounded(self.size)
            block = take_block(self.size)
            self.memory, self.size = block.memory, block.size
        else:
            self.memory = <char *>malloc(self.size)
        if self.memory == NULL:
            raise MemoryError(f"no {self.size} bytes of memory for a kernel")
        self.start = self.front = aligned(self.memory)

    def __dealloc__(self):
        cdef Block block
        while self.guards != NULL:
            self.guards = checked_and_freed(self.guards)
        if self.memory == NULL:
            return
        if self.size < WORTH_POOLING:
            free(self.memory)
        else:
            block.memory, block.size = self.memory, self.size
            return_block(block)

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.start, self.front - self.start, 0, flags)

    cdef char *take(self, Py_ssize_t size) noexcept:
        cdef char *piece = self.front
        if guarded:
            return self.take_guarded(size)
        self.front = aligned(piece + size)
        return piece

    cdef char *take_guarded(self, Py_ssize_t size) noexcept:
        self.size -= (size + LINE - 1) // LINE * LINE  # the rest of the size that was requested
        if self.size < 0:
            Py_FatalError("a kernel took more from its workspace than it had asked for")
        self.guards = new_guarded(size, self.guards)
        self.start, self.front = self.guards.piece, self.guards.piece + size
        return self.guards.piece


cdef Py_ssize_t rounded(Py_ssize_t size) noexcept:
    """At most 1/32 more: steps of nearly the same sizes then have blocks of the same size."""
    cdef Py_ssize_t unit = 1
    while 64 * unit <= size:
        unit *= 2
    return (size + unit - 1) // unit * unit


cdef inline char *aligned(char *address) noexcept:
    return <char *>((<uintptr_t>address + LINE - 1) & <uintptr_t>-LINE)


# --- pieces between guard bytes ------------------------------------------------


cdef Guarded *new_guarded(Py_ssize_t size, Guarded *previous) noexcept:
    cdef Py_ssize_t margin = (min(size, WIDEST_MARGIN) + 2 * LINE) // LINE * LINE
    cdef Guarded *fresh = <Guarded *>malloc(sizeof(Guarded))
    cdef char *begin = <char *>malloc(2 * margin + size)
    if fresh == NULL or begin == NULL:
        Py_FatalError("no memory for a guarded piece of a workspace")
    fresh.previous, fresh.begin, fresh.end = previous, begin, begin + 2 * margin + size
    fresh.piece = aligned(begin + margin - LINE)
    fresh.piece_end = fresh.piece + size
    if not POISONED:
        memset(begin, GUARD_BYTE, fresh.end - begin)
    memset(fresh.piece, 0xFF, size)
    ASAN_POISON_MEMORY_REGION(begin, fresh.piece - begin)
    ASAN_POISON_MEMORY_REGION(fresh.piece_end, fresh.end - fresh.piece_end)
    return fresh


cdef Guarded *checked_and_freed(Guarded *last) noexcept:
    """Check the margins of a piece and free it; return the piece before."""
    cdef Guarded *previous = last.previous
    ASAN_UNPOISON_MEMORY_REGION(last.begin, last.end - last.begin)
    if not are_guards(last.begin, last.piece):
        Py_FatalError("a kernel wrote in front of a piece of its workspace")
    if not are_guards(last.piece_end, last.end):
        Py_FatalError("a kernel wrote past the end of a piece of its workspace")
    free(last.begin)
    free(last)
    return previous


cdef bint are_guards(const char *begin, const char *end) noexcept:
    """Whether each byte is one: the first is, and each is as the one before it."""
    if POISONED:  # a write there would have crashed
        return True
    return <unsigned char>begin[0] == GUARD_BYTE and memcmp(begin, begin + 1, end - begin - 1) == 0


cdef empty(tuple shape, dtype):
    """An array like np.empty's, in memory that is used again when the array is gone."""
    cdef Py_ssize_t size = dtype.itemsize, length
    cdef Workspace memory
    for length in shape:
        if length > 0 and size > PY_SSIZE_T_MAX // length:  # the product would wrap
            raise MemoryError(f"no memory for an array of shape {shape}")
        size *= length
    if size < WORTH_POOLING and not guarded:
        return new_array(shape, dtype)
    memory = Workspace(size)
    memory.take(size)
    return np.ndarray(shape, dtype, memory)
