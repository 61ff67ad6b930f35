/* One prediction of word2vec: `count` logistic regressions that share their input.
 *
 * A row is about a hundred numbers, so that everything below is two passes over
 * `count` rows that are in the first-level cache after the first. The second
 * goes across the rows, one vector of the width at a time: h and its gradient
 * stay in registers while all rows pass by, and each row is read and written once.
 *
 * The sums are taken in vectors of 64 bytes, whatever the width of the machine's vectors:
 * the bits do not depend on them, but where a multiply-add is fused.
 */
#ifndef MINILLM_WORD2VEC_H
#define MINILLM_WORD2VEC_H
#include <stddef.h>
#include <stdint.h>
#include "maths.h"

/* splitmix64 (Steele, Lea and Flood 2014) */
static inline uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

#if defined(__GNUC__)
#define DEFINE_VECTOR(REAL, SUFFIX)                                                                \
    typedef REAL vector_##SUFFIX __attribute__((vector_size(64), aligned(sizeof(REAL))));
#else /* a vector of one number */
#define DEFINE_VECTOR(REAL, SUFFIX) typedef REAL vector_##SUFFIX;
#endif

#define DEFINE_WORD2VEC(REAL, SUFFIX)                                                              \
    DEFINE_VECTOR(REAL, SUFFIX)                                                                    \
    /* u . h */                                                                                    \
    static inline REAL dot_##SUFFIX(ptrdiff_t n, const REAL *u, const REAL *h)                     \
    {                                                                                              \
        enum { LANES = sizeof(vector_##SUFFIX) / sizeof(REAL) };                                   \
        union { vector_##SUFFIX v; REAL x[LANES]; } sum = {0};                                     \
        ptrdiff_t i = 0;                                                                           \
        for (; i + LANES <= n; i += LANES)                                                         \
            sum.v += *(const vector_##SUFFIX *)(u + i) * *(const vector_##SUFFIX *)(h + i);        \
        for (int width = LANES / 2; width > 0; width /= 2)                                         \
            for (int l = 0; l < width; l++)                                                        \
                sum.x[l] += sum.x[l + width];                                                      \
        for (; i < n; i++)                                                                         \
            sum.x[0] += u[i] * h[i];                                                               \
        return sum.x[0];                                                                           \
    }                                                                                              \
    /* u[k] += g[k] h for every row, and dh = sum of g[k] u[k], as the rows were before */         \
    static inline void step_##SUFFIX(ptrdiff_t n, ptrdiff_t count, REAL *const *u,                 \
                                     const REAL *g, const REAL *h, REAL *dh)                       \
    {                                                                                              \
        enum { LANES = sizeof(vector_##SUFFIX) / sizeof(REAL) };                                   \
        ptrdiff_t i = 0;                                                                           \
        for (; i + LANES <= n; i += LANES) {                                                       \
            const vector_##SUFFIX in = *(const vector_##SUFFIX *)(h + i);                          \
            vector_##SUFFIX change = {0};                                                         \
            for (ptrdiff_t k = 0; k < count; k++) {                                                \
                vector_##SUFFIX *row = (vector_##SUFFIX *)(u[k] + i);                              \
                const vector_##SUFFIX before = *row;                                               \
                change += g[k] * before;                                                           \
                *row = before + g[k] * in;                                                         \
            }                                                                                      \
            *(vector_##SUFFIX *)(dh + i) = change;                                                 \
        }                                                                                          \
        for (; i < n; i++) {                                                                       \
            REAL change = 0;                                                                       \
            for (ptrdiff_t k = 0; k < count; k++) {                                                \
                const REAL before = u[k][i];                                                       \
                change += g[k] * before;                                                           \
                u[k][i] = before + g[k] * h[i];                                                    \
            }                                                                                      \
            dh[i] = change;                                                                        \
        }                                                                                          \
    }                                                                                              \
    /* y += a x */                                                                                 \
    static inline void add_scaled_##SUFFIX(ptrdiff_t n, REAL a, const REAL *x, REAL *y)            \
    {                                                                                              \
        enum { LANES = sizeof(vector_##SUFFIX) / sizeof(REAL) };                                   \
        ptrdiff_t i = 0;                                                                           \
        for (; i + LANES <= n; i += LANES)                                                         \
            *(vector_##SUFFIX *)(y + i) += a * *(const vector_##SUFFIX *)(x + i);                  \
        for (; i < n; i++)                                                                         \
            y[i] += a * x[i];                                                                      \
    }                                                                                              \
    /* From scores to the probability p of each row's label, in place; g = rate (label - sigma) */ \
    static inline void slopes_##SUFFIX(ptrdiff_t count, REAL rate, const REAL *sign,               \
                                       REAL *p, REAL *g)                                           \
    {                                                                                              \
        for (ptrdiff_t k = 0; k < count; k++) {                                                    \
            p[k] = sigmoid_##SUFFIX(sign[k] * p[k]);                                               \
            g[k] = rate * sign[k] * (1 - p[k]);                                                    \
        }                                                                                          \
    }

DEFINE_WORD2VEC(float, f32)
DEFINE_WORD2VEC(double, f64)

#endif
