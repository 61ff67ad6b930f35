/* One row of layer normalisation, and of that by the root mean square, which has neither mean nor bias:
 * ops/norms.py has the equations. */
#ifndef MINILLM_NORMALISATION_H
#define MINILLM_NORMALISATION_H
#include <math.h>
#include "lanes.h"
#include "maths.h"

#define DEFINE_NORM(REAL, SUFFIX, SQRT)                                                            \
    static void layer_norm_row_##SUFFIX(ptrdiff_t D, const REAL *restrict x,                       \
                                        const REAL *restrict gain, const REAL *restrict bias,      \
                                        REAL eps, REAL *restrict y, REAL *restrict mean,           \
                                        REAL *restrict inverse_std)                                \
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
    static void rms_norm_row_##SUFFIX(ptrdiff_t D, const REAL *restrict x,                         \
                                      const REAL *restrict gain, REAL eps, REAL *restrict y,       \
                                      REAL *restrict inverse_rms)                                  \
    {                                                                                              \
        const REAL inverse = 1 / SQRT(dot_##SUFFIX(D, x, x) / (REAL)D + eps);                      \
        for (ptrdiff_t d = 0; d < D; d++)                                                          \
            y[d] = gain[d] * (x[d] * inverse);                                                     \
        *inverse_rms = inverse;                                                                    \
    }                                                                                              \
    /* adds to dgain and dbias; has_mean is a constant of the caller */                            \
    ALWAYS_INLINE void norm_row_backward_##SUFFIX(                                                 \
        const int has_mean, ptrdiff_t D, const REAL *restrict dy, const REAL *restrict x,          \
        const REAL *restrict gain, REAL mean, REAL inverse, REAL *restrict dx,                     \
        REAL *restrict dgain, REAL *restrict dbias)                                                \
    {                                                                                              \
        REAL level[LANES] = {0}, along[LANES] = {0}; /* sums of dx_hat and of dx_hat x_hat */      \
        EACH_LANE(                                                                                 \
            D, const REAL x_hat = (has_mean ? x[i] - mean : x[i]) * inverse;                       \
            const REAL dx_hat = dy[i] * gain[i];                                                   \
            dgain[i] += dy[i] * x_hat;                                                             \
            along[l] += dx_hat * x_hat;                                                            \
            if (has_mean)                                                                          \
                dbias[i] += dy[i], level[l] += dx_hat;)                                            \
        const REAL mean_level = has_mean ? sum_of_lanes_##SUFFIX(level) / (REAL)D : 0;             \
        const REAL mean_along = sum_of_lanes_##SUFFIX(along) / (REAL)D;                            \
        for (ptrdiff_t d = 0; d < D; d++) {                                                        \
            const REAL x_hat = (has_mean ? x[d] - mean : x[d]) * inverse;                          \
            const REAL dx_hat = dy[d] * gain[d];                                                   \
            dx[d] = ((has_mean ? dx_hat - mean_level : dx_hat) - x_hat * mean_along) * inverse;    \
        }                                                                                          \
    }

DEFINE_NORM(float, f32, sqrtf)
DEFINE_NORM(double, f64, sqrt)
#define layer_norm_row(D, x, gain, bias, eps, y, mean, inverse_std)                                \
    EITHER(layer_norm_row, y)(D, x, gain, bias, eps, y, mean, inverse_std)
#define layer_norm_row_backward(D, dy, x, gain, mean, inverse_std, dx, dgain, dbias)               \
    EITHER(norm_row_backward, dx)(1, D, dy, x, gain, mean, inverse_std, dx, dgain, dbias)
#define rms_norm_row(D, x, gain, eps, y, inverse_rms)                                              \
    EITHER(rms_norm_row, y)(D, x, gain, eps, y, inverse_rms)
#define rms_norm_row_backward(D, dy, x, gain, inverse_rms, dx, dgain)                              \
    EITHER(norm_row_backward, dx)(0, D, dy, x, gain, 0, inverse_rms, dx, dgain, NULL)

#endif
