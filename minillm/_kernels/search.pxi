cdef inline int32_t find_in(const int32_t *ascending, int32_t low, int32_t end, int32_t wanted) noexcept nogil:
    """The place of a number, from place low on and before end; -1 if it is not there."""
    cdef int32_t high = end, middle
    while low < high:
        middle = low + (high - low) // 2
        if ascending[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low if low < end and ascending[low] == wanted else -1
