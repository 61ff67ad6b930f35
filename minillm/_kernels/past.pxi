# The keys and values of past tokens, and the attention of one new token to them: for the steps of decoders.


cdef int check(bint fits, str what) except -1:
    if not fits:
        raise ValueError(f"step: the shape of {what} does not fit the others")
    return 0


cdef struct Kept:  # keys or values (texts, N, positions, D/N), with the numbers from one to the next
    Output start
    Py_ssize_t text, head, line


cdef void note_lines(
    Py_ssize_t n, const int64_t *rows, const Kept *kept, Py_ssize_t text, const floating **lines
) noexcept nogil:
    """Where the given n rows of a text, or (NULL) the first n ones, begin."""
    cdef Py_ssize_t i
    for i in range(n):
        lines[i] = <const floating *>kept.start + text * kept.text + (
            i if rows == NULL else rows[i]) * kept.line


cdef void look(
    Py_ssize_t n, Py_ssize_t width, const floating *query, const floating **keys, Py_ssize_t key_head,
    const floating **values, Py_ssize_t value_head, floating *weights, floating *context,
) noexcept nogil:
    """The attention of one query of one head to n keys."""
    cdef Py_ssize_t i, whole = whole_lanes(n)
    cdef const floating *weights_ = weights
    cdef floating *out = context - value_head
    dots(n, width, <floating>(<double>width ** -0.5), query, keys, key_head, weights)
    for i in range(n, whole):
        weights[i] = <floating>-INFINITY
    softmax(whole, weights)
    multiply_lines(n, 1, value_head, value_head + width, n, &weights_, values, <const floating *>NULL,
                   False, &out)


cdef int find_kept(
    list arrays, Py_ssize_t count, Py_ssize_t *shape, Kept *kept, bint written, floating zero
) except -1:
    """The addresses of arrays (texts, N, positions, D/N), which all have the shape of the first."""
    cdef const floating[:, :, :, :] array
    cdef Py_ssize_t i, j, item = sizeof(floating)
    check(len(arrays) == count, "the cache")
    for i in range(count):
        array = arrays[i]
        check(array.strides[3] == item or array.shape[3] == 1, "the cache")
        check(not written or arrays[i].flags.writeable, "the cache")
        for j in range(4):  # of an axis of one, the distance has no meaning
            check(array.shape[j] == 1 or (array.shape[j] > 0 and array.strides[j] % item == 0), "the cache")
            if i == 0:
                shape[j] = array.shape[j]
            check(array.shape[j] == shape[j], "the cache")
        kept[i].start = <void *>&array[0, 0, 0, 0]
        kept[i].text, kept[i].head = array.strides[0] // item, array.strides[1] // item
        kept[i].line = array.strides[2] // item
    return 0
