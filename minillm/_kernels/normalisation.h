/* One row of layer normalisation: ops/layer_norm.py has the equations. */
#ifndef MINILLM_NORMALISATION_H
#define MINILLM_NORMALISATION_H
#include <math.h>
#include "lanes.h"

#define LAYER_NORM_SUMS(REAL, d, l)                                                                \
    {                                                                                              \
        const REAL x_hat = (x[d] - mean) * inverse_std, dx_hat = dy[d] * gain[d];                  \
        dgain[d] += dy[d] * x_hat;                                                                 \
        dbias[d] += dy[d];                                                                         \
        level[l] += dx_hat;                                                                        \
        along[l] += dx_hat * x_hat;                                                                \
    }

#define DEFINE_LAYER_NORM(REAL, SUFFIX, SQRT)                                                      \
    static void layer_norm_row_##SUFFIX(ptrdiff_t D, const REAL *RESTRICT x,                       \
                                        const REAL *RESTRICT gain, const REAL *RESTRICT bias,      \
                                        REAL eps, REAL *RESTRICT y, REAL *RESTRICT mean,           \
                                        REAL *RESTRICT inverse_std)                                \
    {                                                                                              \
        const REAL middle = sum_##SUFFIX(D, x) / (REAL)D;                                          \
        for (ptrdiff_t d = 0; d < D; d++)                                                          \
            y[d] = x[d] - middle;                                                                  \
        const REAL inverse = 1 / SQRT(dot_##SUFFIX(D, y, y) / (REAL)D + eps);                      \
        for (ptrdiff_t d = 0; d < D; d++)                                                          \
            y[d] = y[d] * inverse * gain[d] + bias[d];                                             \
        *mean = middle;                                                                            \
        *inverse_std = inverse;                                                                    \
    }                                                                                              \
    /* adds to dgain and dbias */                                                                  \
    static void layer_norm_row_backward_##SUFFIX(                                                  \
        ptrdiff_t D, const REAL *RESTRICT dy, const REAL *RESTRICT x, const REAL *RESTRICT gain,   \
        REAL mean, REAL inverse_std, REAL *RESTRICT dx, REAL *RESTRICT dgain,                      \
        REAL *RESTRICT dbias)                                                                      \
    {                                                                                              \
        REAL level[LANES] = {0}, along[LANES] = {0}; /* sums of dx_hat and of dx_hat x_hat */      \
        ptrdiff_t i = 0;                                                                           \
        for (; i + LANES <= D; i += LANES)                                                         \
            for (int l = 0; l < LANES; l++)                                                        \
                LAYER_NORM_SUMS(REAL, i + l, l)                                                    \
        for (int l = 0; i < D; i++, l++)                                                           \
            LAYER_NORM_SUMS(REAL, i, l)                                                            \
        const REAL mean_level = sum_of_lanes_##SUFFIX(level) / (REAL)D;                            \
        const REAL mean_along = sum_of_lanes_##SUFFIX(along) / (REAL)D;                            \
        for (ptrdiff_t d = 0; d < D; d++) {                                                        \
            const REAL x_hat = (x[d] - mean) * inverse_std;                                        \
            dx[d] = (dy[d] * gain[d] - mean_level - x_hat * mean_along) * inverse_std;             \
        }                                                                                          \
    }

DEFINE_LAYER_NORM(float, f32, sqrtf)
DEFINE_LAYER_NORM(double, f64, sqrt)

#endif
