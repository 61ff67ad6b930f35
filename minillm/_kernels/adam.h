/* One step of Adam over a block of adam.pyx. */
#ifndef MINILLM_ADAM_H
#define MINILLM_ADAM_H
#include <math.h>
#include "either.h"
#include "lanes.h"

#define DEFINE_ADAM(REAL, SUFFIX, SQRT)                                                            \
    static void adam_##SUFFIX(ptrdiff_t n, REAL *restrict p, const REAL *restrict g,               \
                              REAL *restrict m, REAL *restrict v, REAL beta1, REAL rest1,          \
                              REAL beta2, REAL rest2, REAL step_size, REAL root_correction,        \
                              REAL eps, REAL decay)                                                \
    {                                                                                              \
        for (ptrdiff_t i = 0; i < n; i++) {                                                        \
            m[i] = beta1 * m[i] + rest1 * g[i];                                                    \
            v[i] = beta2 * v[i] + rest2 * (g[i] * g[i]);                                           \
            p[i] = decay * p[i] - step_size * (m[i] / (SQRT(v[i]) * root_correction + eps));       \
        }                                                                                          \
    }

DEFINE_ADAM(float, f32, sqrtf)
DEFINE_ADAM(double, f64, sqrt)
#define adam(n, p, ...) EITHER(adam, p)(n, p, __VA_ARGS__)

#endif
