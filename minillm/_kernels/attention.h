/* The innermost loops of attention: over the width of one query, key or value. */
#ifndef MINILLM_ATTENTION_H
#define MINILLM_ATTENTION_H
#include <math.h>
#include <string.h>
#include "lanes.h"
#include "maths.h"

#define DEFINE_ATTENTION(REAL, SUFFIX, LOG)                                                        \
    /* y += a x */                                                                                 \
    static inline void add_scaled_##SUFFIX(ptrdiff_t n, REAL a, const REAL *RESTRICT x,            \
                                           REAL *RESTRICT y)                                       \
    {                                                                                              \
        for (ptrdiff_t i = 0; i < n; i++)                                                          \
            y[i] += a * x[i];                                                                      \
    }                                                                                              \
    /* The scores of the n keys that a query may see become its weights, in place.  Returns the    \
       logarithm of the sum of their exponentials.  Where all are minus infinity, the weights      \
       are zeros, and so is that logarithm, as where there is no key. */                           \
    static inline REAL softmax_##SUFFIX(ptrdiff_t n, REAL *RESTRICT x)                             \
    {                                                                                              \
        if (n == 0)                                                                                \
            return 0;                                                                              \
        const REAL largest = largest_##SUFFIX(n, x); /* may pass over a NaN, as a sum does not */  \
        if (largest == -INFINITY && sum_##SUFFIX(n, x) == -INFINITY) {                             \
            memset(x, 0, n * sizeof *x);                                                           \
            return 0;                                                                              \
        }                                                                                          \
        for (ptrdiff_t i = 0; i < n; i++)                                                          \
            x[i] = exp_##SUFFIX(x[i] - largest);                                                   \
        const REAL sum = sum_##SUFFIX(n, x), inverse = 1 / sum;                                    \
        for (ptrdiff_t i = 0; i < n; i++)                                                          \
            x[i] *= inverse;                                                                       \
        return largest + LOG(sum);                                                                 \
    }                                                                                              \
    /* The same weights again, from the scores and that logarithm */                               \
    static inline void softmax_again_##SUFFIX(ptrdiff_t n, REAL log_sum, REAL *RESTRICT x)         \
    {                                                                                              \
        for (ptrdiff_t i = 0; i < n; i++)                                                          \
            x[i] = exp_##SUFFIX(x[i] - log_sum);                                                   \
    }                                                                                              \
    /* weights = softmax(scores): dweights become dscores, in place */                             \
    static inline void softmax_backward_##SUFFIX(ptrdiff_t n, const REAL *RESTRICT w,              \
                                                 REAL *RESTRICT dw)                                \
    {                                                                                              \
        const REAL mean = dot_##SUFFIX(n, w, dw);                                                  \
        for (ptrdiff_t i = 0; i < n; i++)                                                          \
            dw[i] = w[i] * (dw[i] - mean);                                                         \
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

DEFINE_ATTENTION(float, f32, logf)
DEFINE_ATTENTION(double, f64, log)

#endif
