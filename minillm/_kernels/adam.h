/* The loops of adam.pyx, over one block.
 *
 * The sum of squares is taken in LANES partial sums, so that it vectorises without
 * leave to reorder; its bits do not depend on the machine's vectors.
 */
#ifndef MINILLM_ADAM_H
#define MINILLM_ADAM_H
#include <math.h>
#include <stddef.h>

#define LANES 32

#if defined(_MSC_VER)
#define RESTRICT __restrict
#else
#define RESTRICT restrict
#endif

#define DEFINE_ADAM(REAL, SUFFIX, SQRT)                                                            \
    static void adam_##SUFFIX(ptrdiff_t n, REAL *RESTRICT p, const REAL *RESTRICT g,               \
                              REAL *RESTRICT m, REAL *RESTRICT v, REAL beta1, REAL rest1,          \
                              REAL beta2, REAL rest2, REAL step_size, REAL root_correction,        \
                              REAL epsilon, REAL decay)                                            \
    {                                                                                              \
        for (ptrdiff_t i = 0; i < n; i++) {                                                        \
            m[i] = beta1 * m[i] + rest1 * g[i];                                                    \
            v[i] = beta2 * v[i] + rest2 * (g[i] * g[i]);                                           \
            p[i] = decay * p[i] - step_size * (m[i] / (SQRT(v[i]) * root_correction + epsilon));   \
        }                                                                                          \
    }                                                                                              \
    static REAL sum_of_squares_##SUFFIX(ptrdiff_t n, const REAL *g)                                \
    {                                                                                              \
        REAL part[LANES] = {0};                                                                    \
        ptrdiff_t i = 0;                                                                           \
        for (; i + LANES <= n; i += LANES)                                                         \
            for (int l = 0; l < LANES; l++)                                                        \
                part[l] += g[i + l] * g[i + l];                                                    \
        for (int l = 0; i < n; i++, l++)                                                           \
            part[l] += g[i] * g[i];                                                                \
        for (int width = LANES / 2; width > 0; width /= 2)                                         \
            for (int l = 0; l < width; l++)                                                        \
                part[l] += part[l + width];                                                        \
        return part[0];                                                                            \
    }

DEFINE_ADAM(float, f32, sqrtf)
DEFINE_ADAM(double, f64, sqrt)

#endif
