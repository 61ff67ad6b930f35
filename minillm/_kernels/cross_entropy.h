/* One row of softmax and cross-entropy: ops/cross_entropy.py says what is computed. */
#ifndef MINILLM_CROSS_ENTROPY_H
#define MINILLM_CROSS_ENTROPY_H
#include <math.h>
#include "lanes.h"
#include "maths.h"

#define DEFINE_CROSS_ENTROPY(REAL, SUFFIX, LOG)                                                    \
    static REAL cross_entropy_row_##SUFFIX(ptrdiff_t V, const REAL *z, ptrdiff_t target,           \
                                           REAL smoothing, REAL *p)                                \
    {                                                                                              \
        const REAL largest = largest_##SUFFIX(V, z);                                               \
        for (ptrdiff_t v = 0; v < V; v++)                                                          \
            p[v] = z[v] - largest;                                                                 \
        REAL expected = p[target];                                                                 \
        if (smoothing > 0)                                                                         \
            expected = (1 - smoothing) * expected + smoothing * (sum_##SUFFIX(V, p) / (REAL)V);    \
        for (ptrdiff_t v = 0; v < V; v++)                                                          \
            p[v] = exp_##SUFFIX(p[v]);                                                             \
        const REAL total = sum_##SUFFIX(V, p);                                                     \
        for (ptrdiff_t v = 0; v < V; v++)                                                          \
            p[v] /= total;                                                                         \
        return LOG(total) - expected;                                                              \
    }                                                                                              \
    static void cross_entropy_row_backward_##SUFFIX(ptrdiff_t V, const REAL *p, ptrdiff_t target,  \
                                                    REAL weight, REAL smoothing, REAL *dz)         \
    {                                                                                              \
        const REAL each = smoothing / (REAL)V;                                                     \
        for (ptrdiff_t v = 0; v < V; v++)                                                          \
            dz[v] = (p[v] - each) * weight;                                                        \
        dz[target] = (p[target] - (each + (1 - smoothing))) * weight;                              \
    }

DEFINE_CROSS_ENTROPY(float, f32, logf)
DEFINE_CROSS_ENTROPY(double, f64, log)

#endif
