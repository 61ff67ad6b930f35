/* The innermost loops of attention: over the width of one query, key or value.
 *
 * Every sum is taken in LANES partial sums, each in the order of the index, so that
 * it vectorises without leave to reorder; its bits do not depend on the machine's
 * vectors, nor on the number of threads.
 */
#ifndef MINILLM_ATTENTION_H
#define MINILLM_ATTENTION_H
#include <stddef.h>
#include "maths.h"

#define LANES 16

#if defined(_MSC_VER)
#define RESTRICT __restrict
#else
#define RESTRICT restrict
#endif

#define DEFINE_ATTENTION(REAL, SUFFIX)                                                             \
    /* sum of x y */                                                                               \
    static inline REAL dot_##SUFFIX(ptrdiff_t n, const REAL *RESTRICT x, const REAL *RESTRICT y)   \
    {                                                                                              \
        REAL part[LANES] = {0}, sum = 0;                                                           \
        ptrdiff_t i = 0;                                                                           \
        for (; i + LANES <= n; i += LANES)                                                         \
            for (int l = 0; l < LANES; l++)                                                        \
                part[l] += x[i + l] * y[i + l];                                                    \
        for (int l = 0; i < n; i++, l++)                                                           \
            part[l] += x[i] * y[i];                                                                \
        for (int width = LANES / 2; width > 0; width /= 2)                                         \
            for (int l = 0; l < width; l++)                                                        \
                part[l] += part[l + width];                                                        \
        return sum + part[0];                                                                      \
    }                                                                                              \
    /* y += a x */                                                                                 \
    static inline void add_scaled_##SUFFIX(ptrdiff_t n, REAL a, const REAL *RESTRICT x,            \
                                           REAL *RESTRICT y)                                       \
    {                                                                                              \
        for (ptrdiff_t i = 0; i < n; i++)                                                          \
            y[i] += a * x[i];                                                                      \
    }                                                                                              \
    /* The scores become weights, in place: n of them are allowed. */                              \
    static inline void softmax_##SUFFIX(ptrdiff_t n, REAL *RESTRICT x)                             \
    {                                                                                              \
        REAL largest = n > 0 ? x[0] : 0, sum = 0;                                                  \
        for (ptrdiff_t i = 1; i < n; i++)                                                          \
            largest = x[i] > largest ? x[i] : largest;                                             \
        for (ptrdiff_t i = 0; i < n; i++)                                                          \
            x[i] = exp_##SUFFIX(x[i] - largest);                                                   \
        for (ptrdiff_t i = 0; i < n; i++)                                                          \
            sum += x[i];                                                                           \
        for (ptrdiff_t i = 0; i < n; i++)                                                          \
            x[i] /= sum;                                                                           \
    }                                                                                              \
    /* hidden = tanh(query + key) */                                                               \
    static inline void hidden_##SUFFIX(ptrdiff_t n, const REAL *RESTRICT query,                    \
                                       const REAL *RESTRICT key, REAL *RESTRICT hidden)            \
    {                                                                                              \
        for (ptrdiff_t i = 0; i < n; i++)                                                          \
            hidden[i] = tanh_##SUFFIX(query[i] + key[i]);                                          \
    }                                                                                              \
    /* score = v . hidden; hidden = tanh(query + key) */                                           \
    static inline void hidden_backward_##SUFFIX(                                                   \
        ptrdiff_t n, REAL dscore, const REAL *RESTRICT query, const REAL *RESTRICT key,            \
        const REAL *RESTRICT v, REAL *RESTRICT dquery, REAL *RESTRICT dkey, REAL *RESTRICT dv)     \
    {                                                                                              \
        for (ptrdiff_t i = 0; i < n; i++) {                                                        \
            const REAL hidden = tanh_##SUFFIX(query[i] + key[i]);                                  \
            const REAL dhidden = dscore * v[i] * (1 - hidden * hidden);                            \
            dv[i] += dscore * hidden;                                                              \
            dquery[i] += dhidden;                                                                  \
            dkey[i] += dhidden;                                                                    \
        }                                                                                          \
    }

DEFINE_ATTENTION(float, f32)
DEFINE_ATTENTION(double, f64)

#endif
