/* The dot products of one query and the keys that it looks at. */
#ifndef MINILLM_DOTS_H
#define MINILLM_DOTS_H
#include "either.h"
#include "lanes.h"
#include "tile.h"

enum { AT_ONCE = 8 }; /* lines, none of which waits for another */

#define DEFINE_FEW_DOTS(REAL, SUFFIX)                                                              \
    static __attribute__((noinline)) void few_dots_##SUFFIX(                                       \
        ptrdiff_t width, const REAL *x, const REAL *const *line, ptrdiff_t first, REAL *out)       \
    {                                                                                              \
        enum { PARTS = VECTOR_BYTES / sizeof(REAL) };                                              \
        tile_##SUFFIX##_vec sum[AT_ONCE] = {{0}};                                                  \
        REAL part[AT_ONCE][PARTS];                                                                 \
        ptrdiff_t j = 0;                                                                           \
        for (; j + PARTS <= width; j += PARTS)                                                     \
            UNROLL for (int i = 0; i < AT_ONCE; i++)                                               \
                sum[i] += *(const tile_##SUFFIX##_vec *)(x + j) *                                  \
                          *(const tile_##SUFFIX##_vec *)(line[i] + first + j);                     \
        UNROLL for (int i = 0; i < AT_ONCE; i++)                                                   \
            *(tile_##SUFFIX##_vec *)part[i] = sum[i];                                              \
        for (int l = 0; j < width; j++, l++)                                                       \
            for (int i = 0; i < AT_ONCE; i++)                                                      \
                part[i][l] += x[j] * line[i][first + j];                                           \
        UNROLL for (int half = PARTS / 2; half > 0; half /= 2)                                     \
            UNROLL for (int i = 0; i < AT_ONCE; i++)                                               \
                for (int l = 0; l < half; l++)                                                     \
                    part[i][l] += part[i][l + half];                                               \
        UNROLL for (int i = 0; i < AT_ONCE; i++)                                                   \
            out[i] = part[i][0];                                                                   \
    }

/* out[s] = scale x . line s from column `first` on, of n lines */
#define DEFINE_DOTS(REAL, SUFFIX)                                                                  \
    DEFINE_FEW_DOTS(REAL, SUFFIX)                                                                  \
    static void dots_##SUFFIX(ptrdiff_t n, ptrdiff_t width, REAL scale, const REAL *x,             \
                              const REAL *const *lines, ptrdiff_t first, REAL *out)                \
    {                                                                                              \
        const REAL *last[AT_ONCE];                                                                 \
        REAL sums[AT_ONCE];                                                                        \
        for (ptrdiff_t s = 0; s < n; s += AT_ONCE) {                                               \
            const ptrdiff_t count = n - s < AT_ONCE ? n - s : AT_ONCE;                             \
            for (ptrdiff_t i = 0; i < AT_ONCE; i++)                                                \
                last[i] = lines[i < count ? s + i : s];                                            \
            few_dots_##SUFFIX(width, x, last, first, sums);                                        \
            for (ptrdiff_t i = 0; i < count; i++)                                                  \
                out[s + i] = scale * sums[i];                                                      \
        }                                                                                          \
    }

DEFINE_DOTS(float, f32)
DEFINE_DOTS(double, f64)
#define dots(n, width, scale, x, ...) EITHER(dots, x)(n, width, scale, x, __VA_ARGS__)

#endif
