/* The Gaussian error linear unit: ops/gelu.py says what is computed.
 *
 * (1 + tanh(u)) / 2 is the sigmoid of 2 u: the same number in fewer steps, and for a
 * negative u with all of its digits.
 */
#ifndef MINILLM_ACTIVATIONS_H
#define MINILLM_ACTIVATIONS_H
#include <stddef.h>
#include "lanes.h"
#include "maths.h"

#define GELU_SCALE 1.5957691216057308 /* 2 sqrt(2 / pi) */
#define GELU_CUBIC 0.044715

#define DEFINE_GELU(REAL, SUFFIX)                                                                  \
    static void gelu_##SUFFIX(ptrdiff_t n, const REAL *RESTRICT x, REAL *RESTRICT y)               \
    {                                                                                              \
        const REAL scale = (REAL)GELU_SCALE, cubic = (REAL)(GELU_SCALE * GELU_CUBIC);              \
        for (ptrdiff_t i = 0; i < n; i++)                                                          \
            y[i] = x[i] * sigmoid_##SUFFIX(x[i] * (scale + cubic * (x[i] * x[i])));                \
    }                                                                                              \
    static void gelu_backward_##SUFFIX(ptrdiff_t n, const REAL *RESTRICT dy,                       \
                                       const REAL *RESTRICT x, REAL *RESTRICT dx)                  \
    {                                                                                              \
        const REAL scale = (REAL)GELU_SCALE, cubic = (REAL)(GELU_SCALE * GELU_CUBIC);              \
        for (ptrdiff_t i = 0; i < n; i++) {                                                        \
            const REAL square = x[i] * x[i];                                                       \
            const REAL s = sigmoid_##SUFFIX(x[i] * (scale + cubic * square));                      \
            dx[i] = dy[i] * (s + x[i] * (s * (1 - s)) * (scale + 3 * cubic * square));             \
        }                                                                                          \
    }

DEFINE_GELU(float, f32)
DEFINE_GELU(double, f64)

#endif
