/* Products of operands in bfloat16: the upper halves of floats, rounded to nearest, ties to even.
 *
 * Two numbers that are neighbours along the depth make a pair, a word as large as a float.  So a
 * tile of pairs is a tile of floats of half the depth (tile.h), whose "multiply-add" does two:
 *
 *     sum + x.first * line.first + x.second * line.second
 *
 * AVX512-BF16 has an instruction for this, which takes no longer than a multiply-add of floats.
 * Without it, a shift makes a float of either half; this is as fast as the tile of floats.
 */
#ifndef MINILLM_BFLOAT16_H
#define MINILLM_BFLOAT16_H
#include <stdint.h>
#include "tile.h"

typedef float pair, fast_pair; /* two names, for two macros ADD_PRODUCT */

static int has_instruction; /* set when the module is imported: asking the CPU takes microseconds */

/* The first number of a pair with shift 16, the second with 0. */
static inline float half_of(pair x, int shift)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = bits << shift & 0xFFFF0000u;
    memcpy(&x, &bits, sizeof bits);
    return x;
}

typedef uint32_t pair_bits __attribute__((vector_size(VECTOR_BYTES)));
#define FIRST_OF(line) (tile_pair_vec)((pair_bits)(line) << 16)
#define SECOND_OF(line) (tile_pair_vec)((pair_bits)(line) & 0xFFFF0000u)
#define ADD_PRODUCT_pair(sum, x, line)                                                             \
    ADD_PRODUCT_float(ADD_PRODUCT_float(sum, half_of(x, 16), FIRST_OF(line)), half_of(x, 0),       \
                      SECOND_OF(line))
DEFINE_TILES(pair, tile_pair)

#if defined(__AVX512F__) && (__clang_major__ >= 9 || __GNUC__ >= 10)
#define HAS_FAST_PAIRS
BEGIN_TARGET("avx512bf16")
#define ADD_PRODUCT_fast_pair(sum, x, line)                                                        \
    _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_ps(x), (__m512bh)(line))
DEFINE_TILES(fast_pair, tile_fast_pair)
END_TARGET
#endif

static void tile_pairs(int rows, int vectors, ptrdiff_t depth, const void *a, ptrdiff_t step,
                       const void *b, ptrdiff_t ldb, const void *start, void *out)
{
#if defined(HAS_FAST_PAIRS)
    if (has_instruction) {
        tile_fast_pair(rows, vectors, depth, a, step, b, ldb, start, out);
        return;
    }
#endif
    tile_pair(rows, vectors, depth, a, step, b, ldb, start, out);
}
#define tile_of(in_pairs, rows, vectors, depth, a, b, ldb, start, out)                             \
    ((in_pairs) ? tile_pairs(rows, vectors, depth, a, 1, b, ldb, start, out)                       \
                : tile(rows, vectors, depth, a, 1, b, ldb, start, out))

typedef uint32_t __attribute__((may_alias)) word; /* the bits of a float, or of a pair */

/* The nearest bfloat16: what is cut off carries if it is more than half, or half of an odd number.
 * Infinity is what follows the largest number.  NaN stays NaN, which might otherwise carry. */
static inline uint32_t nearest(uint32_t bits)
{
    const uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
    return (bits & 0x7FFFFFFF) > 0x7F800000 ? bits >> 16 | 0x40 : rounded;
}

/* `count` numbers of a line along the depth; the second of the last pair may be a zero. */
static void pairs_along(void *to, const void *line, ptrdiff_t count)
{
    const word *x = line;
    word *pairs = to;
    for (ptrdiff_t i = 0; i < count / 2; i++)
        pairs[i] = nearest(x[2 * i]) | nearest(x[2 * i + 1]) << 16;
    if (count % 2)
        pairs[count / 2] = nearest(x[count - 1]);
}

/* `count` numbers of a line that is one step of the depth, paired with the next step, or with zeros. */
static void pairs_across(void *to, const void *line, const void *next, ptrdiff_t count)
{
    const word *x = line, *y = next;
    word *pairs = to;
    for (ptrdiff_t j = 0; j < count; j++)
        pairs[j] = nearest(x[j]) | (next ? nearest(y[j]) << 16 : 0);
}

#endif
