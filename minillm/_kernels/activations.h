/* The Gaussian error linear unit in both forms, the gated unit of a row, SiLU and softplus: ops/activations.py,
 * ops/activations.py and ops/activations.py have the equations.
 *
 * In the tanh form, (1 + tanh(u)) / 2 is the sigmoid of 2 u: the same number in fewer steps, and
 * for a negative u with all of its digits.  In the exact form, Phi(x) is the tail Q(-x) of a
 * negative x, and 1 - Q(x) of a positive one.
 */
#ifndef MINILLM_ACTIVATIONS_H
#define MINILLM_ACTIVATIONS_H
#include <stddef.h>
#include "lanes.h"
#include "maths.h"

#define GELU_SCALE 1.5957691216057308 /* 2 sqrt(2 / pi) */
#define GELU_CUBIC 0.044715
#define DENSITY_AT_ZERO 0.3989422804014327 /* 1 / sqrt(2 pi), of the standard normal */

#define DEFINE_GELU(REAL, SUFFIX)                                                                  \
    static void gelu_##SUFFIX(ptrdiff_t n, const REAL *restrict x, REAL *restrict y)               \
    {                                                                                              \
        const REAL scale = (REAL)GELU_SCALE, cubic = (REAL)(GELU_SCALE * GELU_CUBIC);              \
        for (ptrdiff_t i = 0; i < n; i++)                                                          \
            y[i] = x[i] * sigmoid_##SUFFIX(x[i] * (scale + cubic * (x[i] * x[i])));                \
    }                                                                                              \
    static void gelu_backward_##SUFFIX(ptrdiff_t n, const REAL *restrict dy,                       \
                                       const REAL *restrict x, REAL *restrict dx)                  \
    {                                                                                              \
        const REAL scale = (REAL)GELU_SCALE, cubic = (REAL)(GELU_SCALE * GELU_CUBIC);              \
        for (ptrdiff_t i = 0; i < n; i++) {                                                        \
            const REAL square = x[i] * x[i];                                                       \
            const REAL s = sigmoid_##SUFFIX(x[i] * (scale + cubic * square));                      \
            dx[i] = dy[i] * (s + x[i] * (s * (1 - s)) * (scale + 3 * cubic * square));             \
        }                                                                                          \
    }

/* Phi(x), and exp(-x^2 / 2); beyond FAR neither changes.  It is read from memory: of a constant,
 * compilers compute all that follows beforehand, and then choose three times instead of once. */
#define DEFINE_EXACT_GELU(REAL, SUFFIX, FAR, ABS)                                                  \
    ALWAYS_INLINE REAL normal_cdf_##SUFFIX(REAL x, REAL far, REAL *bell)                           \
    {                                                                                              \
        const REAL size = ABS(x), tail = normal_tail_##SUFFIX(size > far ? far : size, bell);      \
        return x < 0 ? tail : 1 - tail;                                                            \
    }                                                                                              \
    static void exact_gelu_##SUFFIX(ptrdiff_t n, const REAL *restrict x, REAL *restrict y)         \
    {                                                                                              \
        const volatile REAL bound = (REAL)FAR;                                                     \
        const REAL far = bound;                                                                    \
        for (ptrdiff_t i = 0; i < n; i++) {                                                        \
            REAL bell;                                                                             \
            y[i] = x[i] * normal_cdf_##SUFFIX(x[i], far, &bell);                                   \
        }                                                                                          \
    }                                                                                              \
    static void exact_gelu_backward_##SUFFIX(ptrdiff_t n, const REAL *restrict dy,                 \
                                             const REAL *restrict x, REAL *restrict dx)            \
    {                                                                                              \
        const volatile REAL bound = (REAL)FAR;                                                     \
        const REAL far = bound;                                                                    \
        for (ptrdiff_t i = 0; i < n; i++) {                                                        \
            REAL bell;                                                                             \
            const REAL cdf = normal_cdf_##SUFFIX(x[i], far, &bell);                                \
            dx[i] = dy[i] * (cdf + x[i] * ((REAL)DENSITY_AT_ZERO * bell));                         \
        }                                                                                          \
    }

#define DEFINE_SWIGLU(REAL, SUFFIX)                                                                \
    static void swiglu_##SUFFIX(ptrdiff_t F, const REAL *restrict gate, const REAL *restrict up,   \
                                REAL *restrict y)                                                  \
    {                                                                                              \
        for (ptrdiff_t f = 0; f < F; f++)                                                          \
            y[f] = gate[f] * sigmoid_##SUFFIX(gate[f]) * up[f];                                    \
    }                                                                                              \
    static void swiglu_backward_##SUFFIX(ptrdiff_t F, const REAL *restrict dy,                     \
                                         const REAL *restrict gate, const REAL *restrict up,       \
                                         REAL *restrict dgate, REAL *restrict dup)                 \
    {                                                                                              \
        for (ptrdiff_t f = 0; f < F; f++) {                                                        \
            const REAL s = sigmoid_##SUFFIX(gate[f]);                                              \
            dgate[f] = dy[f] * up[f] * s * (1 + gate[f] * (1 - s));                                \
            dup[f] = dy[f] * gate[f] * s;                                                          \
        }                                                                                          \
    }

#define DEFINE_SOFT_UNITS(REAL, SUFFIX, ABS)                                                       \
    static void silu_##SUFFIX(ptrdiff_t n, const REAL *restrict x, REAL *restrict y)               \
    {                                                                                              \
        for (ptrdiff_t i = 0; i < n; i++)                                                          \
            y[i] = x[i] * sigmoid_##SUFFIX(x[i]);                                                  \
    }                                                                                              \
    static void silu_backward_##SUFFIX(ptrdiff_t n, const REAL *restrict dy,                       \
                                       const REAL *restrict x, REAL *restrict dx)                  \
    {                                                                                              \
        for (ptrdiff_t i = 0; i < n; i++) {                                                        \
            const REAL s = sigmoid_##SUFFIX(x[i]);                                                 \
            dx[i] = dy[i] * s * (1 + x[i] * (1 - s));                                              \
        }                                                                                          \
    }                                                                                              \
    /* log(1 + exp(x)) = max(x, 0) + log(1 + e), e = exp(-|x|), which keeps its digits where e is small */\
    static void softplus_##SUFFIX(ptrdiff_t n, const REAL *restrict x, REAL *restrict y)           \
    {                                                                                              \
        for (ptrdiff_t i = 0; i < n; i++)                                                          \
            y[i] = (x[i] > 0 ? x[i] : 0) + log_of_more_##SUFFIX(exp_for_sum_##SUFFIX(-ABS(x[i]))); \
    }                                                                                              \
    static void softplus_backward_##SUFFIX(ptrdiff_t n, const REAL *restrict dy,                   \
                                           const REAL *restrict x, REAL *restrict dx)              \
    {                                                                                              \
        for (ptrdiff_t i = 0; i < n; i++)                                                          \
            dx[i] = dy[i] * sigmoid_##SUFFIX(x[i]);                                                \
    }

DEFINE_SWIGLU(float, f32)
DEFINE_SWIGLU(double, f64)
DEFINE_GELU(float, f32)
DEFINE_GELU(double, f64)
DEFINE_EXACT_GELU(float, f32, 14.5, fabsf)
DEFINE_EXACT_GELU(double, f64, 39, fabs)
DEFINE_SOFT_UNITS(float, f32, fabsf)
DEFINE_SOFT_UNITS(double, f64, fabs)
#define gelu_block(n, x, y) EITHER(gelu, y)(n, x, y)
#define gelu_block_backward(n, dy, x, dx) EITHER(gelu_backward, dx)(n, dy, x, dx)
#define exact_gelu_block(n, x, y) EITHER(exact_gelu, y)(n, x, y)
#define exact_gelu_block_backward(n, dy, x, dx) EITHER(exact_gelu_backward, dx)(n, dy, x, dx)
#define silu_block(n, x, y) EITHER(silu, y)(n, x, y)
#define silu_block_backward(n, dy, x, dx) EITHER(silu_backward, dx)(n, dy, x, dx)
#define softplus_block(n, x, y) EITHER(softplus, y)(n, x, y)
#define softplus_block_backward(n, dy, x, dx) EITHER(softplus_backward, dx)(n, dy, x, dx)
/* x and dx: F numbers that gate, and F that are gated */
#define swiglu_row(F, x, y) EITHER(swiglu, y)(F, x, (x) + (F), y)
#define swiglu_row_backward(F, dy, x, dx)                                                          \
    EITHER(swiglu_backward, dx)(F, dy, x, (x) + (F), dx, (dx) + (F))

#endif
