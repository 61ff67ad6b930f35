/* The innermost loops of attention: over the width of one query, key or value, or over the scores
 * of one query or of many. */
#ifndef MINILLM_ATTENTION_H
#define MINILLM_ATTENTION_H
#include <math.h>
#include <string.h>
#include "lanes.h"
#include "maths.h"
#include "tile.h"

#define DEFINE_ATTENTION(REAL, SUFFIX, LOG)                                                        \
    /* y += a x */                                                                                 \
    static inline void add_scaled_##SUFFIX(ptrdiff_t n, REAL a, const REAL *restrict x,            \
                                           REAL *restrict y)                                       \
    {                                                                                              \
        for (ptrdiff_t i = 0; i < n; i++)                                                          \
            y[i] += a * x[i];                                                                      \
    }                                                                                              \
    /* The scores of the n keys that a query may see become its weights, in place.  Returns the    \
       logarithm of the sum of their exponentials.  Where all are minus infinity, the weights      \
       are zeros, and so is that logarithm, as where there is no key. */                           \
    static inline REAL softmax_##SUFFIX(ptrdiff_t n, REAL *restrict x)                             \
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
    /* The same in the order of softmax_columns, whose bits it has: minus infinity gives zeros */   \
    static inline void softmax_row_##SUFFIX(ptrdiff_t n, REAL *restrict x)                         \
    {                                                                                              \
        REAL largest = n > 0 ? largest_##SUFFIX(n, x) : 0, sum = 0;                                \
        largest = largest == -INFINITY ? 0 : largest;                                              \
        for (ptrdiff_t i = 0; i < n; i++)                                                          \
            x[i] = exp_for_sum_##SUFFIX(x[i] - largest);                                           \
        for (ptrdiff_t i = 0; i < n; i++)                                                          \
            sum += x[i];                                                                           \
        const REAL inverse = sum == 0 ? 0 : 1 / sum;                                               \
        for (ptrdiff_t i = 0; i < n; i++)                                                          \
            x[i] *= inverse;                                                                       \
    }                                                                                              \
    /* weights = softmax(scores): dweights become dscores, in place */                             \
    static inline void softmax_backward_##SUFFIX(ptrdiff_t n, const REAL *restrict w,              \
                                                 REAL *restrict dw)                                \
    {                                                                                              \
        const REAL mean = dot_##SUFFIX(n, w, dw);                                                  \
        for (ptrdiff_t i = 0; i < n; i++)                                                          \
            dw[i] = w[i] * (dw[i] - mean);                                                         \
    }                                                                                              \
    /* hidden = tanh(query + key) */                                                               \
    static inline void hidden_##SUFFIX(ptrdiff_t n, const REAL *restrict query,                    \
                                       const REAL *restrict key, REAL *restrict hidden)            \
    {                                                                                              \
        for (ptrdiff_t i = 0; i < n; i++)                                                          \
            hidden[i] = tanh_##SUFFIX(query[i] + key[i]);                                          \
    }                                                                                              \
    /* score = v . hidden; hidden = tanh(query + key) */                                           \
    static inline void hidden_backward_##SUFFIX(                                                   \
        ptrdiff_t n, REAL dscore, const REAL *restrict query, const REAL *restrict key,            \
        const REAL *restrict v, REAL *restrict dquery, REAL *restrict dkey, REAL *restrict dv)     \
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
#define add_scaled(n, a, x, y) EITHER(add_scaled, y)(n, a, x, y)
#define softmax(n, x) EITHER(softmax, x)(n, x)
#define softmax_row(n, x) EITHER(softmax_row, x)(n, x)
#define softmax_backward(n, w, dw) EITHER(softmax_backward, dw)(n, w, dw)
#define hidden(n, query, key, out) EITHER(hidden, out)(n, query, key, out)
#define hidden_backward(n, dscore, query, key, v, dquery, dkey, dv)                                \
    EITHER(hidden_backward, dv)(n, dscore, query, key, v, dquery, dkey, dv)

/* --- many queries at once ------------------------------------------------------
 *
 * Their scores stand in columns: one line for each key, `ld` numbers from one to the next, and in
 * it one number for each query.  These functions take as many queries as a vector has numbers, so
 * that a sum over the keys is a sum of vectors, with nothing to be added up within one. */
#define PER_VECTOR(REAL) (VECTOR_BYTES / (int)sizeof(REAL))
/* Compilers would unroll so short a loop before they make vectors of it. */
#if defined(__clang__)
#define EACH_QUERY(REAL)                                                                           \
    _Pragma("clang loop unroll(disable)") for (int l = 0; l < PER_VECTOR(REAL); l++)
#else
#define EACH_QUERY(REAL) _Pragma("GCC unroll 1") for (int l = 0; l < PER_VECTOR(REAL); l++)
#endif
#define LARGER(a, b) ((a) > (b) ? (a) : (b))

/* A loop over lanes in a function of its own: inside a larger one, it does not always vectorise. */
#define APART static __attribute__((noinline))

#define DEFINE_COLUMNS(REAL, SUFFIX)                                                               \
    /* Query l sees the `window` keys up to position + l, and of the first `sinks` keys those up   \
       to there: its other scores become `filling` */                                              \
    static inline void hide_##SUFFIX(ptrdiff_t n, ptrdiff_t ld, ptrdiff_t position,                \
                                     ptrdiff_t window, ptrdiff_t sinks, REAL filling, REAL *x)     \
    {                                                                                              \
        for (ptrdiff_t s = sinks; s < n && s < position - window + PER_VECTOR(REAL); s++) {            \
            const int seeing = (int)(s - position + window);                                       \
            EACH_QUERY(REAL)                                                                       \
                x[s * ld + l] = l < seeing ? x[s * ld + l] : filling;                              \
        }                                                                                          \
        for (ptrdiff_t s = position < 0 ? 0 : position + 1; s < n; s++) {                          \
            const int hidden = (int)(s - position);                                                \
            EACH_QUERY(REAL)                                                                       \
                x[s * ld + l] = l < hidden ? filling : x[s * ld + l];                              \
        }                                                                                          \
    }                                                                                              \
    /* Scores become weights.  A query that looks at nothing has the sum 0, and log_sum 0. */      \
    APART void softmax_columns_##SUFFIX(ptrdiff_t n, ptrdiff_t ld, REAL *restrict x,               \
                                        REAL *restrict log_sums, REAL *restrict sums)              \
    {                                                                                              \
        REAL largest[PER_VECTOR(REAL)], sum[PER_VECTOR(REAL)], inverse[PER_VECTOR(REAL)];          \
        ptrdiff_t s = 0;                                                                           \
        EACH_QUERY(REAL)                                                                           \
            largest[l] = -INFINITY, sum[l] = 0;                                                    \
        for (; s + 4 <= n; s += 4) {                                                               \
            const REAL *a = x + s * ld, *b = a + ld, *c = b + ld, *d = c + ld;                     \
            EACH_QUERY(REAL) {                                                                     \
                const REAL ab = LARGER(a[l], b[l]), cd = LARGER(c[l], d[l]), all = LARGER(ab, cd); \
                largest[l] = LARGER(all, largest[l]); /* may pass over a NaN, as a sum does not */ \
            }                                                                                      \
        }                                                                                          \
        for (; s < n; s++)                                                                         \
            EACH_QUERY(REAL)                                                                       \
                largest[l] = LARGER(x[s * ld + l], largest[l]);                                    \
        EACH_QUERY(REAL)                                                                           \
            largest[l] = largest[l] == -INFINITY ? 0 : largest[l];                                 \
        for (s = 0; s < n; s++)                                                                    \
            EACH_QUERY(REAL) {                                                                     \
                x[s * ld + l] = exp_for_sum_##SUFFIX(x[s * ld + l] - largest[l]);                  \
                sum[l] += x[s * ld + l];                                                           \
            }                                                                                      \
        EACH_QUERY(REAL) {                                                                         \
            inverse[l] = sum[l] == 0 ? 0 : 1 / sum[l];                                             \
            largest[l] = sum[l] == 0 ? 0 : largest[l] + log_of_sum_##SUFFIX(sum[l]);               \
        }                                                                                          \
        memcpy(sums, sum, sizeof sum);                                                             \
        memcpy(log_sums, largest, sizeof largest);                                                 \
        for (s = 0; s < n; s++)                                                                    \
            EACH_QUERY(REAL)                                                                       \
                x[s * ld + l] *= inverse[l];                                                       \
    }                                                                                              \
    APART void softmax_again_columns_##SUFFIX(ptrdiff_t n, ptrdiff_t ld,                           \
                                              const REAL *restrict log_sums, REAL *restrict x)     \
    {                                                                                              \
        REAL log_sum[PER_VECTOR(REAL)];                                                            \
        memcpy(log_sum, log_sums, sizeof log_sum);                                                 \
        for (ptrdiff_t s = 0; s < n; s++)                                                          \
            EACH_QUERY(REAL)                                                                       \
                x[s * ld + l] = exp_for_sum_##SUFFIX(x[s * ld + l] - log_sum[l]);                  \
    }                                                                                              \
    /* dweights become dscores, zeros for a query without weights; and the sums of weights */      \
    APART void softmax_backward_columns_##SUFFIX(ptrdiff_t n, ptrdiff_t ld,                        \
                                                 const REAL *restrict w, REAL *restrict dw,        \
                                                 REAL *restrict sums)                              \
    {                                                                                              \
        REAL mean[PER_VECTOR(REAL)], sum[PER_VECTOR(REAL)];                                        \
        EACH_QUERY(REAL)                                                                           \
            mean[l] = sum[l] = 0;                                                                  \
        for (ptrdiff_t s = 0; s < n; s++)                                                          \
            EACH_QUERY(REAL) {                                                                     \
                sum[l] += w[s * ld + l];                                                           \
                mean[l] += w[s * ld + l] * dw[s * ld + l];                                         \
            }                                                                                      \
        for (ptrdiff_t s = 0; s < n; s++)                                                          \
            EACH_QUERY(REAL) {                                                                     \
                const REAL dscore = w[s * ld + l] * (dw[s * ld + l] - mean[l]);                    \
                dw[s * ld + l] = sum[l] == 0 ? 0 : dscore;                                         \
            }                                                                                      \
        memcpy(sums, sum, sizeof sum);                                                             \
    }

DEFINE_COLUMNS(float, f32)
DEFINE_COLUMNS(double, f64)
#define hide(n, ld, position, window, sinks, filling, x)                                           \
    EITHER(hide, x)(n, ld, position, window, sinks, filling, x)
#define softmax_columns(n, ld, x, log_sums, sums)                                                  \
    EITHER(softmax_columns, x)(n, ld, x, log_sums, sums)
#define softmax_again_columns(n, ld, log_sums, x)                                                  \
    EITHER(softmax_again_columns, x)(n, ld, log_sums, x)
#define softmax_backward_columns(n, ld, w, dw, sums)                                               \
    EITHER(softmax_backward_columns, dw)(n, ld, w, dw, sums)

#endif
