/* One row of softmax and cross-entropy: cross_entropy.py says what is computed.
 *
 * Maxima and sums are taken in LANES partial ones, so that they vectorise without
 * leave to reorder; the bits do not depend on the machine's vectors.
 */
#ifndef MINILLM_CROSS_ENTROPY_H
#define MINILLM_CROSS_ENTROPY_H
#include <math.h>
#include <stddef.h>
#include "maths.h"

#define LANES 16

#define DEFINE_CROSS_ENTROPY(REAL, SUFFIX, LOG)                                                    \
    static REAL cross_entropy_row_##SUFFIX(ptrdiff_t V, const REAL *z, ptrdiff_t target,           \
                                           REAL smoothing, REAL *p)                                \
    {                                                                                              \
        REAL largest = z[0], total = 0, mean = 0;                                                  \
        REAL most[LANES], sums[LANES] = {0}, means[LANES] = {0};                                   \
        const ptrdiff_t whole = V - V % LANES;                                                     \
        for (int l = 0; l < LANES; l++)                                                            \
            most[l] = z[0];                                                                        \
        for (ptrdiff_t v = 0; v < whole; v += LANES)                                               \
            for (int l = 0; l < LANES; l++)                                                        \
                most[l] = z[v + l] > most[l] ? z[v + l] : most[l];                                 \
        for (int l = 0; l < LANES; l++)                                                            \
            largest = most[l] > largest ? most[l] : largest;                                       \
        for (ptrdiff_t v = whole; v < V; v++)                                                      \
            largest = z[v] > largest ? z[v] : largest;                                             \
        for (ptrdiff_t v = 0; v < V; v++)                                                          \
            p[v] = exp_##SUFFIX(z[v] - largest);                                                   \
        for (ptrdiff_t v = 0; v < whole; v += LANES)                                               \
            for (int l = 0; l < LANES; l++) {                                                      \
                sums[l] += p[v + l];                                                               \
                means[l] += z[v + l] - largest;                                                    \
            }                                                                                      \
        for (ptrdiff_t v = whole; v < V; v++) {                                                    \
            sums[v - whole] += p[v];                                                               \
            means[v - whole] += z[v] - largest;                                                    \
        }                                                                                          \
        for (int l = 0; l < LANES; l++) {                                                          \
            total += sums[l];                                                                      \
            mean += means[l];                                                                      \
        }                                                                                          \
        for (ptrdiff_t v = 0; v < V; v++)                                                          \
            p[v] /= total;                                                                         \
        const REAL expected = z[target] - largest;                                                 \
        if (smoothing > 0)                                                                         \
            return LOG(total) - ((1 - smoothing) * expected + smoothing * (mean / (REAL)V));       \
        return LOG(total) - expected;                                                              \
    }                                                                                              \
    static void cross_entropy_row_backward_##SUFFIX(ptrdiff_t V, const REAL *p, ptrdiff_t target,  \
                                                    REAL weight, REAL smoothing, REAL *dz)         \
    {                                                                                              \
        const REAL each = smoothing / (REAL)V;                                                     \
        for (ptrdiff_t v = 0; v < V; v++)                                                          \
            dz[v] = (p[v] - each) * weight;                                                        \
        dz[target] -= (1 - smoothing) * weight;                                                    \
    }

DEFINE_CROSS_ENTROPY(float, f32, logf)
DEFINE_CROSS_ENTROPY(double, f64, log)

#endif
