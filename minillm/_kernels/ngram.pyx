# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Counting and looking up n-grams: the Cython twins of the originals.

count_keys sorts by radix: 11 bits of the keys at a time, from the lowest, each
pass stable and linear in T.  Keys are small numbers (contexts times words), so
that two to four passes do.

find_children searches within one context, whose words lie together: for most
contexts, in one cache line.  The places are independent of each other, so that
the processor overlaps the waits for memory.
"""

from libc.stdint cimport int32_t

include "topic.pxi"
include "search.pxi"

cdef enum:
    BITS = 11       # of a key that a pass sorts by
    BUCKETS = 2048  # 2 ** BITS


def count_keys(const int64_t[::1] keys):
    """-> distinct (M,), places (T,), counts (M,)."""
    cdef Py_ssize_t T = keys.shape[0], M
    places = np.empty(T, np.int32)
    if T == 0:
        return np.empty(0, np.int64), places, np.empty(0, np.int64)
    cdef int64_t[::1] a = np.array(keys)
    cdef int64_t[::1] b = np.empty(T, np.int64)
    cdef int32_t[::1] from_a = np.arange(T, dtype=np.int32)
    cdef int32_t[::1] from_b = np.empty(T, np.int32)
    cdef int64_t most = np.max(keys)
    cdef int shift = 0
    while most >> shift:
        with nogil:
            radix_pass(a, from_a, b, from_b, shift)
        a, b, from_a, from_b = b, a, from_b, from_a
        shift += BITS
    distinct, counts = np.empty(T, np.int64), np.empty(T, np.int64)
    cdef int64_t[::1] distinct_view = distinct, counts_view = counts
    cdef int32_t[::1] places_view = places
    with nogil:
        M = describe_runs(a, from_a, distinct_view, places_view, counts_view)
    return distinct[:M].copy(), places, counts[:M].copy()


cdef void radix_pass(const int64_t[::1] keys, const int32_t[::1] origin, int64_t[::1] to_keys,
                     int32_t[::1] to_origin, int shift) noexcept nogil:
    """Move everything to the place that BITS bits of its key give it, equal ones in their order."""
    cdef int64_t start[BUCKETS]
    cdef int64_t here = 0, count
    cdef Py_ssize_t t, bucket, place
    for bucket in range(BUCKETS):
        start[bucket] = 0
    for t in range(keys.shape[0]):
        start[(keys[t] >> shift) & (BUCKETS - 1)] += 1
    for bucket in range(BUCKETS):
        count = start[bucket]
        start[bucket] = here
        here += count
    for t in range(keys.shape[0]):
        bucket = (keys[t] >> shift) & (BUCKETS - 1)
        place = start[bucket]
        start[bucket] = place + 1
        to_keys[place] = keys[t]
        to_origin[place] = origin[t]


cdef Py_ssize_t describe_runs(const int64_t[::1] keys, const int32_t[::1] origin, int64_t[::1] distinct,
                        int32_t[::1] places, int64_t[::1] counts) noexcept nogil:
    """Describe the runs of equal keys, and return their number."""
    cdef Py_ssize_t t, m = -1
    for t in range(keys.shape[0]):
        if t == 0 or keys[t] != keys[t - 1]:
            m += 1
            distinct[m] = keys[t]
            counts[m] = 0
        counts[m] += 1
        places[origin[t]] = <int32_t>m
    return m + 1


def find_children(const int32_t[::1] first, const int32_t[::1] words, const int32_t[::1] contexts,
                  const int32_t[::1] last):
    """-> the numbers (T,), -1 where there is no such n-gram."""
    numbers = np.full(contexts.shape[0], -1, np.int32)
    cdef int32_t[::1] found = numbers
    cdef Py_ssize_t t, M = words.shape[0]
    cdef int32_t context
    with nogil:
        for t in range(contexts.shape[0] if M > 0 else 0):
            context = contexts[t]
            if 0 <= context < first.shape[0] - 1:
                # The bounds hold in every model.  They are here because a caller may change its arrays.
                found[t] = find_in(&words[0], max(first[context], 0), <int32_t>min(<Py_ssize_t>first[context + 1], M),
                                   last[t])
    return numbers
