# Operands in bfloat16, in pairs for the tiles of bfloat16.h.
#
# A pair is a word of the size of a float.  So all that works on lines of floats (panels, blocks, transposes)
# works on lines of pairs as well.  Only the tile differs.

from minillm._kernels import rounds_to_bfloat16
from minillm._kernels._cpu import has_bfloat16

cdef extern from "bfloat16.h" nogil:
    bint has_instruction
    void tile_of(bint in_pairs, int rows, int vectors, Py_ssize_t depth, const void *a, const void *b,
                 Py_ssize_t ldb, const void *start, void *out)
    void pairs_along(void *to, const void *line, Py_ssize_t count)
    void pairs_across(void *to, const void *line, const void *next, Py_ssize_t count)

has_instruction = has_bfloat16()


cdef struct Pairing:
    const float **lines
    bint by_depth
    Py_ssize_t count, length  # of the lines
    float *pairs
    Py_ssize_t ld             # from one line of pairs to the next


cdef void pair_lines(void *of_type, void *work, Part part) noexcept nogil:
    cdef Pairing w = (<Pairing *>work)[0]
    cdef Py_ssize_t i
    for i in range(part.first, part.last):
        if w.by_depth:
            pairs_across(w.pairs + i * w.ld, w.lines[2 * i], w.lines[2 * i + 1] if 2 * i + 1 < w.count else NULL,
                         w.length)
        else:
            pairs_along(w.pairs + i * w.ld, w.lines[i], w.length)


cdef Workspace in_pairs(const floating ***lines, bint by_depth, Py_ssize_t count, Py_ssize_t length, int threads):
    """Put lines of pairs in the place of an operand's lines; they live as long as what is returned."""
    cdef Pairing w
    w.lines, w.by_depth, w.count, w.length = <const float **>lines[0], by_depth, count, length
    if by_depth:
        count = ceil_div(count, 2)
    else:
        length = ceil_div(length, 2)
    w.ld = padded_row(4 * length) // 4
    cdef Workspace work = Workspace(4 * count * w.ld + 64 + lines_size(1, count))
    w.pairs = <float *>work.take(4 * count * w.ld)
    with nogil:
        share(pair_lines, &w, count, threads)
    lines[0] = lines_of(work, <const floating *>w.pairs, count, w.ld)
    return work
