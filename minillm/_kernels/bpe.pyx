# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Byte-pair encoding: the Cython twins of the originals.

word_ends walks over the bytes of UTF-8 with the class of each character (letter, number, white
space, other) in a table, which is made once with the regex library: it cuts as the pattern does.

encode_words remembers where it has met a word before, and copies the numbers from there.  A new
word is merged in place if it is short; a long one is left to the original.

learn_merges is in bpe_training.pxi.
"""

import numpy as np

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memmove

from minillm.unicode import without_late_letters

include "search.pxi"
include "bpe_training.pxi"

cdef enum:
    OTHER = 0
    LETTER = 1
    NUMBER = 2
    SPACE = 3
    CHARACTERS = 0x40000  # from here on there are neither letters nor numbers nor white space
    SHORT = 32            # bytes of a word that is merged in place
    REMEMBERED = 1 << 15  # words


# --- words -----------------------------------------------------------------------

_classes = {}  # of the characters below 128, or of all; by their count


def word_ends(str text):
    """-> ends (W,)."""
    cdef bytes encoded = text.encode()
    cdef Py_ssize_t N = len(encoded), W
    ends = np.empty(N, np.int64)
    cdef int64_t[::1] ends_view = ends
    cdef const uint8_t[::1] classes = _character_classes(128 if text.isascii() else CHARACTERS)
    cdef const uint8_t *data = encoded
    if N == 0:
        return ends
    with nogil:
        W = cut_words(data, N, &classes[0], &ends_view[0])
    return ends[:W].copy()


def _character_classes(Py_ssize_t count):
    """The class of each of the first `count` characters."""
    import regex

    if count not in _classes:
        classes = bytearray(count)
        every = without_late_letters("".join(map(chr, range(count))))
        for kind, pattern in ((LETTER, r"\p{L}+"), (NUMBER, r"\p{N}+"), (SPACE, r"\s+")):
            for run in regex.finditer(pattern, every):
                classes[run.start() : run.end()] = bytes([kind]) * (run.end() - run.start())
        _classes[count] = bytes(classes)  # several threads may read them at once
    return _classes[count]


cdef Py_ssize_t cut_words(const uint8_t *data, Py_ssize_t N, const uint8_t *classes,
                          int64_t *ends) noexcept nogil:
    """Cut words off the front, and write down where each of them ends; return their number."""
    cdef Py_ssize_t at = 0, W = 0, last, next
    cdef int kind
    while at < N:
        next = at
        kind = class_of(data, &next, classes)
        if data[at] == c"'" and ending(data + at, N - at):
            at += ending(data + at, N - at)
        elif kind != SPACE:
            at = run_of(data, next, N, classes, kind, &last)
        elif data[at] == c" " and next < N and class_of(data, &next, classes) != SPACE:
            at += 1
            kind = class_of(data, &at, classes)
            at = run_of(data, at, N, classes, kind, &last)
        else:
            last = at
            next = run_of(data, at, N, classes, SPACE, &last)
            # The last white space before a word is left to it, unless it is all there is.
            at = next if next == N or last == at else last
        ends[W] = at
        W += 1
    return W


cdef inline int ending(const uint8_t *data, Py_ssize_t N) noexcept nogil:
    """The length of 's, 't, 'm, 'd, 're, 've or 'll at the front of the data, or 0."""
    if N >= 2 and data[1] in (c"s", c"t", c"m", c"d"):
        return 2
    if N >= 3 and data[2] == (c"l" if data[1] == c"l" else c"e") and data[1] in (c"r", c"v", c"l"):
        return 3
    return 0


cdef inline Py_ssize_t run_of(const uint8_t *data, Py_ssize_t at, Py_ssize_t N,
                              const uint8_t *classes, int kind, Py_ssize_t *last) noexcept nogil:
    """The end of a run of characters of one class; `last` is where its last one begins."""
    cdef Py_ssize_t next = at
    while at < N:
        if class_of(data, &next, classes) != kind:
            return at
        last[0] = at
        at = next
    return at


cdef inline int class_of(const uint8_t *data, Py_ssize_t *at, const uint8_t *classes) noexcept nogil:
    """The class of the character there; `at` moves past it.  The data are valid UTF-8."""
    cdef const uint8_t *byte = data + at[0]
    cdef Py_ssize_t character = byte[0], size = 1, i
    if character >= 0x80:
        size = 2 + (character >= 0xE0) + (character >= 0xF0)
        character &= 0x7F >> size
        for i in range(1, size):
            character = character << 6 | (byte[i] & 0x3F)
    at[0] += size
    return classes[character] if character < CHARACTERS else OTHER


# --- encoding --------------------------------------------------------------------

cdef struct Merges:  # see MergeTable
    const int32_t *first
    const int32_t *right
    const int32_t *rank
    const int32_t *result


cdef struct Met:  # a word, where it was met last
    int64_t start
    int64_t numbers  # the place of its first number
    int32_t length
    int32_t count    # of its numbers


def encode_words(const uint8_t[::1] data, const int64_t[::1] ends, table):
    """-> numbers (T,)."""
    cdef Py_ssize_t N = data.shape[0], W = ends.shape[0], size = 1 << 6, T = 0, done = 0, start, w
    numbers = np.empty(N, np.int32)
    if W == 0:
        return numbers
    cdef int32_t[::1] numbers_view = numbers
    cdef const int32_t[::1] first = table.first, right = table.right
    cdef const int32_t[::1] rank = table.rank, result = table.result
    cdef Merges merges
    if right.shape[0] == 0:
        return np.frombuffer(data, np.uint8).astype(np.int32)
    merges.first, merges.right, merges.rank, merges.result = (
        &first[0], &right[0], &rank[0], &result[0]
    )
    while size < W and size < REMEMBERED:
        size *= 2
    cdef Met *met = <Met *>malloc(size * sizeof(Met))
    if met == NULL:
        raise MemoryError
    for w in range(size):
        met[w].length = 0
    try:
        while done < W:
            with nogil:
                done = merge_words(&data[0], &ends[0], done, W, &merges, met, size, &numbers_view[0], &T)
            if done < W:  # a long word
                start = ends[done - 1] if done > 0 else 0
                found = table.numbers_of(bytes(data[start : ends[done]]))
                numbers[T : T + len(found)] = found
                T += len(found)
                done += 1
    finally:
        free(met)
    return numbers[:T].copy()


cdef Py_ssize_t merge_words(
    const uint8_t *data, const int64_t *ends, Py_ssize_t w, Py_ssize_t W, const Merges *m, Met *met,
    Py_ssize_t size, int32_t *numbers, Py_ssize_t *written,
) noexcept nogil:
    """Write the numbers of words from w on, up to a long one; return its place, or W."""
    cdef Py_ssize_t T = written[0], start = ends[w - 1] if w > 0 else 0, n
    cdef Met *seen
    for w in range(w, W):
        n = ends[w] - start
        if n == 1:
            numbers[T] = data[start]
            T += 1
        elif n > SHORT:
            written[0] = T
            return w
        else:
            seen = &met[hash_of(data + start, n) & (size - 1)]
            if seen.length == n and memcmp(data + start, data + seen.start, n) == 0:
                memcpy(numbers + T, numbers + seen.numbers, seen.count * sizeof(int32_t))
            else:
                seen.length = <int32_t>n
                seen.count = <int32_t>merge_short(data + start, n, m, numbers + T)
            seen.start, seen.numbers = start, T
            T += seen.count
        start = ends[w]
    written[0] = T
    return W


cdef inline uint64_t hash_of(const uint8_t *word, Py_ssize_t n) noexcept nogil:
    cdef uint64_t hash = n
    cdef Py_ssize_t i
    for i in range(n):
        hash = (hash ^ word[i]) * <uint64_t>0x100000001B3
    return hash ^ hash >> 29


cdef inline int32_t rank_of(const Merges *m, int32_t left, int32_t right) noexcept nogil:
    """The rank of a pair, or -1."""
    cdef int32_t place = find_in(m.right, m.first[left], m.first[left + 1], right)
    return m.rank[place] if place >= 0 else -1


cdef Py_ssize_t merge_short(const uint8_t *word, Py_ssize_t n, const Merges *m,
                            int32_t *numbers) noexcept nogil:
    """Write the numbers of a word of at most SHORT bytes; return how many they are."""
    cdef int32_t ranks[SHORT]  # of the pair that begins here
    cdef int32_t best
    cdef Py_ssize_t i, at
    for i in range(n):
        numbers[i] = word[i]
    for i in range(n - 1):
        ranks[i] = rank_of(m, numbers[i], numbers[i + 1])
    while True:
        best, at = -1, 0
        for i in range(n - 1):
            if ranks[i] >= 0 and (best < 0 or ranks[i] < best):
                best, at = ranks[i], i
        if best < 0:
            return n
        numbers[at] = m.result[best]
        n -= 1
        memmove(numbers + at + 1, numbers + at + 2, (n - at - 1) * sizeof(int32_t))
        memmove(ranks + at, ranks + at + 1, (n - at - 1) * sizeof(int32_t))
        if at > 0:
            ranks[at - 1] = rank_of(m, numbers[at - 1], numbers[at])
        if at < n - 1:
            ranks[at] = rank_of(m, numbers[at], numbers[at + 1])
