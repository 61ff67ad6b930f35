/* The rotation of a head: ops/rotary.py has the equations. */
#ifndef MINILLM_ROTARY_H
#define MINILLM_ROTARY_H
#include "either.h"
#include "lanes.h"

/* x and y: 2 n numbers, n of which are the first of their pairs */
#define DEFINE_ROTARY(REAL, SUFFIX)                                                                \
    static void rotate_##SUFFIX(ptrdiff_t n, const REAL *restrict x, const REAL *restrict cos,     \
                                const REAL *restrict sin, REAL *restrict y)                        \
    {                                                                                              \
        for (ptrdiff_t i = 0; i < n; i++) {                                                        \
            y[i] = x[i] * cos[i] - x[i + n] * sin[i];                                              \
            y[i + n] = x[i] * sin[i] + x[i + n] * cos[i];                                          \
        }                                                                                          \
    }

DEFINE_ROTARY(float, f32)
DEFINE_ROTARY(double, f64)
#define rotate(n, x, cos, sin, y) EITHER(rotate, y)(n, x, cos, sin, y)

#endif
