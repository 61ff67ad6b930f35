/* One query and many keys.
 *
 * The dot product is a function of its own here: inlined into a large one, the compiler keeps
 * its lanes in memory, and adds them up one by one.
 */
#ifndef MINILLM_DECODER_H
#define MINILLM_DECODER_H
#include "lanes.h"

#if defined(__GNUC__)
#define NOINLINE __attribute__((noinline))
#else
#define NOINLINE
#endif

/* out[s] = scale x . line s, of n lines, `width` numbers each, one behind the other. */
#define DEFINE_DOTS(REAL, SUFFIX)                                                                  \
    static NOINLINE REAL one_dot_##SUFFIX(ptrdiff_t width, const REAL *x, const REAL *y)           \
    {                                                                                              \
        return dot_##SUFFIX(width, x, y);                                                          \
    }                                                                                              \
    static inline void dots_##SUFFIX(ptrdiff_t n, ptrdiff_t width, REAL scale, const REAL *x,      \
                                     const REAL *lines, REAL *out)                                 \
    {                                                                                              \
        for (ptrdiff_t s = 0; s < n; s++)                                                          \
            out[s] = scale * one_dot_##SUFFIX(width, x, lines + s * width);                        \
    }

DEFINE_DOTS(float, f32)
DEFINE_DOTS(double, f64)

#endif
