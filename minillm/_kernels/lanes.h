/* Sums and maxima over n numbers, in LANES partial ones.
 *
 * A plain loop adds one number after the other into one sum, and each addition waits for
 * the one before; the compiler may not reorder them by itself, because that changes the bits.
 * Written in lanes, they vectorise, and the bits depend neither on the machine's vectors
 * nor on the number of threads.
 */
#ifndef MINILLM_LANES_H
#define MINILLM_LANES_H
#include <stddef.h>
#include "either.h"

#define LANES 32

/* Statements for each i from 0 to n, whose lane is l. */
#define EACH_LANE(n, ...)                                                                          \
    {                                                                                              \
        ptrdiff_t first = 0;                                                                       \
        for (; first + LANES <= n; first += LANES)                                                 \
            for (int l = 0; l < LANES; l++) {                                                      \
                const ptrdiff_t i = first + l;                                                     \
                __VA_ARGS__                                                                        \
            }                                                                                      \
        for (int l = 0; first + l < n; l++) {                                                      \
            const ptrdiff_t i = first + l;                                                         \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }

/* The upper half of the lanes joins the lower one, until one lane is left.  The widths are written
 * out, so that each step is one instruction. */
#define HALF(WIDTH, STATEMENT)                                                                     \
    {                                                                                              \
        enum { width = WIDTH };                                                                    \
        for (int l = 0; l < width; l++)                                                            \
            STATEMENT                                                                              \
    }
#define HALVES(STATEMENT)                                                                          \
    HALF(16, STATEMENT) HALF(8, STATEMENT) HALF(4, STATEMENT) HALF(2, STATEMENT) HALF(1, STATEMENT)

#define DEFINE_LANES(REAL, SUFFIX)                                                                 \
    static inline REAL sum_of_lanes_##SUFFIX(REAL *part)                                           \
    {                                                                                              \
        HALVES(part[l] += part[l + width];)                                                        \
        return part[0];                                                                            \
    }                                                                                              \
    static inline REAL sum_##SUFFIX(ptrdiff_t n, const REAL *x)                                    \
    {                                                                                              \
        REAL part[LANES] = {0};                                                                    \
        EACH_LANE(n, part[l] += x[i];)                                                             \
        return sum_of_lanes_##SUFFIX(part);                                                        \
    }                                                                                              \
    /* sum of x y; x and y may be the same */                                                      \
    static inline REAL dot_##SUFFIX(ptrdiff_t n, const REAL *x, const REAL *y)                     \
    {                                                                                              \
        REAL part[LANES] = {0};                                                                    \
        EACH_LANE(n, part[l] += x[i] * y[i];)                                                      \
        return sum_of_lanes_##SUFFIX(part);                                                        \
    }                                                                                              \
    /* of one number at least; a NaN counts only if it is the first */                             \
    static inline REAL largest_##SUFFIX(ptrdiff_t n, const REAL *x)                                \
    {                                                                                              \
        REAL part[LANES];                                                                          \
        for (int l = 0; l < LANES; l++)                                                            \
            part[l] = x[0];                                                                        \
        EACH_LANE(n, part[l] = x[i] > part[l] ? x[i] : part[l];)                                   \
        HALVES(part[l] = part[l + width] > part[l] ? part[l + width] : part[l];)                   \
        return part[0];                                                                            \
    }

DEFINE_LANES(float, f32)
DEFINE_LANES(double, f64)
#define dot(n, x, y) EITHER(dot, x)(n, x, y)

#endif
