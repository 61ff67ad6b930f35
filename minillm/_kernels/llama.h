/* The parts of a Llama's block that no other kernel has, for one row. */
#ifndef MINILLM_LLAMA_H
#define MINILLM_LLAMA_H
#include "lanes.h"
#include "maths.h"

#define DEFINE_LLAMA(REAL, SUFFIX)                                                                 \
    static void gated_##SUFFIX(ptrdiff_t n, const REAL *RESTRICT gate, const REAL *RESTRICT up,    \
                               REAL *RESTRICT y)                                                   \
    {                                                                                              \
        for (ptrdiff_t j = 0; j < n; j++)                                                          \
            y[j] = gate[j] * sigmoid_##SUFFIX(gate[j]) * up[j];                                    \
    }                                                                                              \
    static void scaled_##SUFFIX(ptrdiff_t n, REAL scale, const REAL *RESTRICT x,                   \
                                const REAL *RESTRICT gain, REAL *RESTRICT y)                       \
    {                                                                                              \
        for (ptrdiff_t j = 0; j < n; j++)                                                          \
            y[j] = gain[j] * (x[j] * scale);                                                       \
    }                                                                                              \
    /* a head of 2 n numbers, by the angles of its n pairs */                                      \
    static void rotate_##SUFFIX(ptrdiff_t n, const REAL *RESTRICT cos, const REAL *RESTRICT sin,   \
                                const REAL *RESTRICT x, REAL *RESTRICT y)                          \
    {                                                                                              \
        for (ptrdiff_t j = 0; j < n; j++) {                                                        \
            y[j] = x[j] * cos[j] - x[j + n] * sin[j];                                              \
            y[j + n] = x[j] * sin[j] + x[j + n] * cos[j];                                          \
        }                                                                                          \
    }

DEFINE_LLAMA(float, f32)
DEFINE_LLAMA(double, f64)

#endif
