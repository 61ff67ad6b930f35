/* One row of layer normalisation, and of that by the root mean square: ops/layer_norm.py and
 * ops/rms_norm.py have the equations. */
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

#define RMS_NORM_SUMS(REAL, d, l)                                                                  \
    {                                                                                              \
        const REAL x_hat = x[d] * inverse;                                                         \
        dgain[d] += dy[d] * x_hat;                                                                 \
        along[l] += dy[d] * gain[d] * x_hat;                                                       \
    }

#define DEFINE_RMS_NORM(REAL, SUFFIX, SQRT)                                                        \
    static void rms_norm_row_##SUFFIX(ptrdiff_t D, const REAL *RESTRICT x,                         \
                                      const REAL *RESTRICT gain, REAL eps, REAL *RESTRICT y,       \
                                      REAL *RESTRICT inverse_rms)                                  \
    {                                                                                              \
        const REAL inverse = 1 / SQRT(dot_##SUFFIX(D, x, x) / (REAL)D + eps);                      \
        for (ptrdiff_t d = 0; d < D; d++)                                                          \
            y[d] = gain[d] * (x[d] * inverse);                                                     \
        *inverse_rms = inverse;                                                                    \
    }                                                                                              \
    /* adds to dgain */                                                                            \
    static void rms_norm_row_backward_##SUFFIX(ptrdiff_t D, const REAL *RESTRICT dy,               \
                                               const REAL *RESTRICT x,                             \
                                               const REAL *RESTRICT gain, REAL inverse,            \
                                               REAL *RESTRICT dx, REAL *RESTRICT dgain)            \
    {                                                                                              \
        REAL along[LANES] = {0}; /* sums of dx_hat x_hat */                                        \
        ptrdiff_t i = 0;                                                                           \
        for (; i + LANES <= D; i += LANES)                                                         \
            for (int l = 0; l < LANES; l++)                                                        \
                RMS_NORM_SUMS(REAL, i + l, l)                                                      \
        for (int l = 0; i < D; i++, l++)                                                           \
            RMS_NORM_SUMS(REAL, i, l)                                                              \
        const REAL mean_along = sum_of_lanes_##SUFFIX(along) / (REAL)D;                            \
        for (ptrdiff_t d = 0; d < D; d++)                                                          \
            dx[d] = (dy[d] * gain[d] - x[d] * inverse * mean_along) * inverse;                     \
    }

DEFINE_RMS_NORM(float, f32, sqrtf)
DEFINE_RMS_NORM(double, f64, sqrt)

#endif
