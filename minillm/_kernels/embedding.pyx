# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The gradient of a table whose rows are looked up: the Cython twin of the original.

The rows of dy are sorted by id first, by counting.  So each row of dE is written once, by one
thread, while it is in the nearest cache, and its sum runs in the order of dy: the bits do not depend
on the number of threads.  A piece of the work is neighbouring rows of dE and what is added to them.
"""

include "topic.pxi"
include "tile.pxi"

cdef enum:
    SMALL = 100_000  # numbers that are not worth waking another thread for

cdef struct Lookup:
    Py_ssize_t V, D
    Input lines           # dy
    Output result         # dE
    Py_ssize_t *starts    # (V + 1,) where the places of each id begin
    Py_ssize_t *places    # (N + 1,) the rows of dy, sorted by id, and one that is only fetched


def embedding_backward(dy, ids, Py_ssize_t V):
    cdef Py_buffer of_dy = memory_of(dy, 2)
    cdef Py_ssize_t N = of_dy.shape[0], D = of_dy.shape[1]
    dE = empty((V, D), dy.dtype)
    if V == 0 or D == 0:
        return dE
    cdef Workspace work = Workspace((V + N + 3) * sizeof(Py_ssize_t) + 64)
    cdef Lookup lookup
    lookup.V, lookup.D, lookup.lines, lookup.result = V, D, of_dy.buf, address(dE)
    lookup.starts = <Py_ssize_t *>work.take((V + 2) * sizeof(Py_ssize_t))
    lookup.places = <Py_ssize_t *>work.take((N + 1) * sizeof(Py_ssize_t))
    cdef const int64_t *of_ids = indices(ids, N, V)
    cdef Body body = <Body>summed_rows[float] if of_dy.itemsize == 4 else <Body>summed_rows[double]
    with nogil:
        sort_places(of_ids, N, V, lookup.starts, lookup.places)
        share(body, &lookup, V + N, threads_for((N + V) * D, SMALL))
    return dE


cdef void sort_places(
    const int64_t *ids, Py_ssize_t N, Py_ssize_t V, Py_ssize_t *starts, Py_ssize_t *places
) noexcept nogil:
    """`starts` has room for V + 2."""
    cdef Py_ssize_t *ends = starts + 1
    cdef Py_ssize_t n, v
    memset(starts, 0, (V + 2) * sizeof(Py_ssize_t))
    places[N] = 0
    for n in range(N):
        starts[ids[n] + 2] += 1
    for v in range(2, V + 1):
        starts[v] += starts[v - 1]
    for n in range(N):  # an end is a start at first, and moves with each place
        places[ends[ids[n]]] = n
        ends[ids[n]] += 1


cdef void summed_rows(floating *of_type, void *work, Part part) noexcept nogil:
    """The rows of dE of items part.first to part.last: an item per row of dE, then its rows of dy."""
    cdef Lookup w = (<Lookup *>work)[0]
    cdef Py_ssize_t v = row_of_item(&w, part.first), end = row_of_item(&w, part.last), i
    cdef floating *dE
    for v in range(v, end):
        dE = <floating *>w.result + v * w.D
        memset(dE, 0, w.D * sizeof(floating))
        for i in range(w.starts[v], w.starts[v + 1]):
            prefetch(<const floating *>w.lines + w.places[i + 1] * w.D, w.D)  # it may lie anywhere
            add_line(w.D, <const floating *>w.lines + w.places[i] * w.D, dE)


cdef inline Py_ssize_t row_of_item(const Lookup *w, Py_ssize_t item) noexcept nogil:
    """The first row of dE whose own item is this one or a later one; V if there is none."""
    cdef Py_ssize_t low = 0, high = w.V, middle
    while low < high:
        middle = (low + high) // 2
        if middle + w.starts[middle] < item:
            low = middle + 1
        else:
            high = middle
    return low
