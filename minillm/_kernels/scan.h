/* Recurrences without a product by weights in each step, of a block of columns:
 * ops/linear_recurrence.py, ops/selective_scan.py and ops/gated_delta_rule.py have the equations.
 *
 * All steps of a block are done before the next block, so that its state never leaves the fastest
 * cache.  The columns of a block stand side by side, and the compiler turns the loops over them into
 * vector instructions.  Backwards keep no states: the ones at the start of every SPAN steps are computed
 * again in a pass from the first step to the last, and then, from the last span to the first, all
 * states of a span. */
#ifndef MINILLM_SCAN_H
#define MINILLM_SCAN_H
#include <stddef.h>
#include <string.h>
#include "lanes.h"
#include "maths.h"

enum { SPAN = 32, COLUMNS = LANES, PARTS = 8, AHEAD = 8 };

/* Rows are computed by COLUMNS numbers at a time, a count that the compiler knows: as one loop, rows of
 * 256 numbers took 1.5 times as long.  The backward takes the last ones first, so that memory is read
 * in one direction all the time, which the processor foresees. */
#define DEFINE_LINEAR(REAL, SUFFIX)                                                                \
    ALWAYS_INLINE void linear_step_##SUFFIX(ptrdiff_t n, const REAL *restrict a,                   \
                                            const REAL *restrict b, REAL *restrict h,              \
                                            REAL *restrict hs)                                     \
    {                                                                                              \
        for (ptrdiff_t i = 0; i < n; i++)                                                          \
            hs[i] = h[i] = a[i] * h[i] + b[i];                                                     \
    }                                                                                              \
    /* n columns of T steps that are D apart; h (n,) is the state, before and after */             \
    static void linear_scan_##SUFFIX(ptrdiff_t T, ptrdiff_t D, ptrdiff_t n, const REAL *a,         \
                                     const REAL *b, REAL *h, REAL *hs)                             \
    {                                                                                              \
        for (ptrdiff_t t = 0; t < T; t++, a += D, b += D, hs += D) {                               \
            ptrdiff_t i = 0;                                                                       \
            for (; i + COLUMNS <= n; i += COLUMNS)                                                 \
                linear_step_##SUFFIX(COLUMNS, a + i, b + i, h + i, hs + i);                        \
            linear_step_##SUFFIX(n - i, a + i, b + i, h + i, hs + i);                              \
        }                                                                                          \
    }                                                                                              \
    ALWAYS_INLINE void linear_step_back_##SUFFIX(ptrdiff_t n, const REAL *restrict dhs,            \
                                                 const REAL *restrict a,                           \
                                                 const REAL *restrict before, REAL *restrict dh,   \
                                                 REAL *restrict da, REAL *restrict db)             \
    {                                                                                              \
        for (ptrdiff_t i = 0; i < n; i++) {                                                        \
            const REAL g = dhs[i] + dh[i];                                                         \
            da[i] = g * before[i];                                                                 \
            db[i] = g;                                                                             \
            dh[i] = g * a[i];                                                                      \
        }                                                                                          \
    }                                                                                              \
    /* dh (n,) is the gradient of the last state, and becomes the one of h0 */                     \
    static void linear_scan_backward_##SUFFIX(ptrdiff_t T, ptrdiff_t D, ptrdiff_t n,               \
                                              const REAL *dhs, const REAL *a, const REAL *h0,      \
                                              const REAL *hs, REAL *dh, REAL *da, REAL *db)        \
    {                                                                                              \
        for (ptrdiff_t t = T - 1; t >= 0; t--) {                                                   \
            const REAL *before = t > 0 ? hs + (t - 1) * D : h0;                                    \
            const ptrdiff_t rest = n % COLUMNS, at = t * D;                                        \
            for (ptrdiff_t i = n - COLUMNS; i >= 0; i -= COLUMNS)                                  \
                linear_step_back_##SUFFIX(COLUMNS, dhs + at + i, a + at + i, before + i, dh + i,   \
                                          da + at + i, db + at + i);                               \
            linear_step_back_##SUFFIX(rest, dhs + at, a + at, before, dh, da + at, db + at);       \
        }                                                                                          \
    }

/* The selective scan works on COLUMNS columns, the last block of a row on fewer, with zeros in the
 * others.  A and states are (N, COLUMNS), so that y is a sum of vectors rather than a sum inside
 * each of them. */
#define DEFINE_SELECTIVE(REAL, SUFFIX)                                                             \
    /* x (n,) -> line (COLUMNS,), with zeros behind.  Rows are too far apart for the processor to foresee \
     * the next ones, so the one AHEAD rows further on is asked for. */                            \
    ALWAYS_INLINE void load_line_##SUFFIX(ptrdiff_t n, const REAL *x, ptrdiff_t D, REAL *line)     \
    {                                                                                              \
        for (ptrdiff_t i = 0; i < COLUMNS; i += 64 / sizeof(REAL))                                 \
            __builtin_prefetch(x + AHEAD * D + i);                                                 \
        if (n == COLUMNS) {                                                                        \
            memcpy(line, x, COLUMNS * sizeof(REAL));                                               \
            return;                                                                                \
        }                                                                                          \
        for (ptrdiff_t i = 0; i < COLUMNS; i++)                                                    \
            line[i] = i < n ? x[i] : 0;                                                            \
    }                                                                                              \
    ALWAYS_INLINE void store_line_##SUFFIX(ptrdiff_t n, const REAL *line, REAL *x)                 \
    {                                                                                              \
        if (n == COLUMNS)                                                                          \
            memcpy(x, line, COLUMNS * sizeof(REAL));                                               \
        else                                                                                       \
            memcpy(x, line, n * sizeof(REAL));                                                     \
    }                                                                                              \
    /* (n, N) -> (N, COLUMNS), and back */                                                         \
    static void turn_##SUFFIX(ptrdiff_t n, ptrdiff_t N, const REAL *rows, REAL *columns)           \
    {                                                                                              \
        for (ptrdiff_t s = 0; s < N; s++)                                                          \
            for (ptrdiff_t i = 0; i < COLUMNS; i++)                                                \
                columns[s * COLUMNS + i] = i < n ? rows[i * N + s] : 0;                            \
    }                                                                                              \
    static void turn_back_##SUFFIX(ptrdiff_t n, ptrdiff_t N, const REAL *columns, REAL *rows)      \
    {                                                                                              \
        for (ptrdiff_t i = 0; i < n; i++)                                                          \
            for (ptrdiff_t s = 0; s < N; s++)                                                      \
                rows[i * N + s] = columns[s * COLUMNS + i];                                        \
    }                                                                                              \
    /* One step: h becomes e h + delta x b with e = exp(delta A), which is kept unless e is NULL.  \
     * y = c . h + skip x, unless y is NULL. */                                                    \
    ALWAYS_INLINE void selective_step_##SUFFIX(                                                    \
        ptrdiff_t N, const REAL *restrict x, const REAL *restrict delta, const REAL *restrict A,   \
        const REAL *restrict b, const REAL *restrict c, const REAL *restrict skip, const REAL *before, \
        REAL *h, REAL *restrict e, REAL *restrict y)                                               \
    {                                                                                              \
        const volatile REAL bounds[] = {LEAST_EXPONENT_##SUFFIX, MOST_EXPONENT_##SUFFIX};          \
        const REAL least = bounds[0], most = bounds[1];                                            \
        REAL u[COLUMNS], sum[COLUMNS];                                                             \
        for (int i = 0; i < COLUMNS; i++) {                                                        \
            u[i] = delta[i] * x[i];                                                                \
            if (y)                                                                                 \
                sum[i] = skip[i] * x[i];                                                           \
        }                                                                                          \
        for (ptrdiff_t s = 0; s < N; s++, A += COLUMNS, before += COLUMNS, h += COLUMNS)           \
            for (int i = 0; i < COLUMNS; i++) {                                                    \
                const REAL decay = exp_within_##SUFFIX(delta[i] * A[i], least, most);              \
                const REAL new = decay * before[i] + u[i] * b[s];                                  \
                if (e)                                                                             \
                    e[s * COLUMNS + i] = decay;                                                    \
                if (y)                                                                             \
                    sum[i] += c[s] * new;                                                          \
                h[i] = new;                                                                        \
            }                                                                                      \
        if (y)                                                                                     \
            memcpy(y, sum, sizeof sum);                                                            \
    }                                                                                              \
    /* skip (COLUMNS,).  y may be NULL: only the state is computed */                              \
    static void selective_scan_##SUFFIX(ptrdiff_t T, ptrdiff_t D, ptrdiff_t N, ptrdiff_t n,        \
                                        const REAL *x, const REAL *delta, const REAL *A,           \
                                        const REAL *b, const REAL *c, const REAL *skip, REAL *h,   \
                                        REAL *y)                                                   \
    {                                                                                              \
        REAL x_t[COLUMNS], delta_t[COLUMNS], y_t[COLUMNS];                                         \
        for (ptrdiff_t t = 0; t < T; t++) {                                                        \
            load_line_##SUFFIX(n, x + t * D, D, x_t);                                              \
            load_line_##SUFFIX(n, delta + t * D, D, delta_t);                                      \
            if (!y) {                                                                              \
                selective_step_##SUFFIX(N, x_t, delta_t, A, b + t * N, NULL, NULL, h, h, NULL, NULL); \
                continue;                                                                          \
            }                                                                                      \
            selective_step_##SUFFIX(N, x_t, delta_t, A, b + t * N, c + t * N, skip, h, h, NULL, y_t); \
            store_line_##SUFFIX(n, y_t, y + t * D);                                              \
        }                                                                                          \
    }                                                                                              \
    /* A text of one step, whose states (D, N) would be turned for nothing: h from the state before. \
     * The sums run as in the scan. */                                                             \
    static void selective_one_##SUFFIX(ptrdiff_t D, ptrdiff_t N, const REAL *restrict x,           \
                                       const REAL *restrict delta, const REAL *restrict A_log,     \
                                       const REAL *restrict b, const REAL *restrict c,             \
                                       const REAL *restrict skip, const REAL *restrict before,     \
                                       REAL *restrict h, REAL *restrict y)                         \
    {                                                                                              \
        const volatile REAL bounds[] = {LEAST_EXPONENT_##SUFFIX, MOST_EXPONENT_##SUFFIX};          \
        const REAL least = bounds[0], most = bounds[1];                                            \
        for (ptrdiff_t i = 0; i < D; i++, A_log += N, before += N, h += N) {                       \
            const REAL u = delta[i] * x[i];                                                        \
            for (ptrdiff_t s = 0; s < N; s++) {                                                    \
                const REAL A = -exp_within_##SUFFIX(A_log[s], least, most);                        \
                h[s] = exp_within_##SUFFIX(delta[i] * A, least, most) * before[s] + u * b[s];      \
            }                                                                                      \
            y[i] = skip[i] * x[i];                                                                 \
            for (ptrdiff_t s = 0; s < N; s++)                                                      \
                y[i] += c[s] * h[s];                                                               \
        }                                                                                          \
    }\
    /* y_k = x_{2 k} + x_{2 k + 1} */                                                              \
    static void add_pairs_##SUFFIX(ptrdiff_t n, const REAL *restrict x, REAL *restrict y)          \
    {                                                                                              \
        for (ptrdiff_t k = 0; k < n; k++)                                                          \
            y[k] = x[2 * k] + x[2 * k + 1];                                                        \
    }                                                                                              \
    /* The sums of n lines of PARTS numbers, which are lost.  All lines of a span are added up at once,\
     * in pairs: a sum within one vector alone is a dozen instructions that wait for each other. */\
    static void sum_parts_##SUFFIX(ptrdiff_t n, REAL *parts, REAL *room, REAL *sums)               \
    {                                                                                              \
        add_pairs_##SUFFIX(4 * n, parts, room);                                                    \
        add_pairs_##SUFFIX(2 * n, room, parts);                                                    \
        add_pairs_##SUFFIX(n, parts, sums);                                                        \
    }                                                                                              \
    /* One step back, from h_t = e h_prev + u b.  dh and dA are added to, the other results are new; \
     * db and dc (N, PARTS) are parts of sums over the columns. */                                 \
    ALWAYS_INLINE void selective_step_back_##SUFFIX(                                               \
        ptrdiff_t N, int n, const REAL *restrict dy, const REAL *restrict x,                       \
        const REAL *restrict delta, const REAL *restrict A, const REAL *restrict b,                \
        const REAL *restrict c, const REAL *restrict h_t, const REAL *restrict h_prev,             \
        const REAL *restrict e, REAL *restrict dh, REAL *restrict dA, REAL *restrict du,           \
        REAL *restrict through_A, REAL *restrict db, REAL *restrict dc)                            \
    {                                                                                              \
        REAL u[COLUMNS];                                                                           \
        for (int i = 0; i < COLUMNS; i++) {                                                        \
            u[i] = delta[i] * x[i];                                                                \
            du[i] = through_A[i] = 0;                                                              \
        }                                                                                          \
        for (ptrdiff_t s = 0; s < N; s++) {                                                        \
            REAL of_b[COLUMNS], of_c[COLUMNS];                                                     \
            const REAL b_s = b[s], c_s = c[s];                                                     \
            const ptrdiff_t at = s * COLUMNS;                                                      \
            for (int i = 0; i < COLUMNS; i++) {                                                    \
                /* y = c . h */                                                                    \
                const REAL g = dh[at + i] + dy[i] * c_s;                                           \
                of_c[i] = dy[i] * h_t[at + i];                                                     \
                /* h = e h_prev + u b */                                                           \
                of_b[i] = g * u[i];                                                                \
                du[i] += g * b_s;                                                                  \
                const REAL ge = g * e[at + i], dm = ge * h_prev[at + i];                           \
                dh[at + i] = ge;                                                                   \
                /* e = exp(m), m = delta A */                                                      \
                through_A[i] += dm * A[at + i];                                                    \
                dA[at + i] += dm * delta[i];                                                       \
            }                                                                                      \
            for (int i = n; i < COLUMNS; i++) /* no columns: 0 times an infinity is NaN */         \
                of_b[i] = of_c[i] = 0;                                                             \
            HALF(16, { of_b[l] += of_b[l + width]; of_c[l] += of_c[l + width]; })                  \
            HALF(8, {                                                                              \
                db[s * PARTS + l] = of_b[l] + of_b[l + width];                                     \
                dc[s * PARTS + l] = of_c[l] + of_c[l + width];                                     \
            })                                                                                     \
        }                                                                                          \
    }                                                                                              \
    /* At most SPAN steps.  h is the state before them; hs and es (SPAN, N, COLUMNS) and room (5, SPAN, N, \
     * PARTS / 2) are room.  dh, dA, dskip are added to; db and dc (T, N) are sums over the columns of \
     * the block alone. */                                                                         \
    static void selective_span_backward_##SUFFIX(                                                  \
        ptrdiff_t T, ptrdiff_t D, ptrdiff_t N, ptrdiff_t n, const REAL *dy, const REAL *x,         \
        const REAL *delta, const REAL *A, const REAL *b, const REAL *c, const REAL *skip,          \
        const REAL *h, REAL *hs, REAL *es, REAL *room, REAL *dh, REAL *dx, REAL *ddelta, REAL *dA, \
        REAL *db, REAL *dc, REAL *dskip)                                                           \
    {                                                                                              \
        REAL x_t[COLUMNS], delta_t[COLUMNS], dy_t[COLUMNS];                                        \
        const ptrdiff_t size = N * COLUMNS, parts = N * PARTS;                                     \
        REAL *of_b = room + SPAN * parts / 2, *of_c = of_b + SPAN * parts;                         \
        for (ptrdiff_t t = 0; t < T; t++) {                                                        \
            load_line_##SUFFIX(n, x + t * D, D, x_t);                                              \
            load_line_##SUFFIX(n, delta + t * D, D, delta_t);                                      \
            selective_step_##SUFFIX(N, x_t, delta_t, A, b + t * N, NULL, NULL,                     \
                                    t > 0 ? hs + (t - 1) * size : h, hs + t * size, es + t * size, \
                                    NULL);                                                         \
        }                                                                                          \
        for (ptrdiff_t t = T - 1; t >= 0; t--) {                                                   \
            const REAL *h_t = hs + t * size, *h_prev = t > 0 ? h_t - size : h;                     \
            REAL du[COLUMNS], through_A[COLUMNS], dx_t[COLUMNS], ddelta_t[COLUMNS];                \
            load_line_##SUFFIX(n, x + t * D, -D, x_t);                                             \
            load_line_##SUFFIX(n, delta + t * D, -D, delta_t);                                     \
            load_line_##SUFFIX(n, dy + t * D, -D, dy_t);                                           \
            for (int i = 0; i < COLUMNS; i++)                                                      \
                dskip[i] += dy_t[i] * x_t[i];                                                      \
            if (n == COLUMNS) /* compiled for itself */                                            \
                selective_step_back_##SUFFIX(N, COLUMNS, dy_t, x_t, delta_t, A, b + t * N,         \
                                             c + t * N, h_t, h_prev, es + t * size, dh, dA, du,    \
                                             through_A, of_b + t * parts, of_c + t * parts);       \
            else                                                                                   \
                selective_step_back_##SUFFIX(N, n, dy_t, x_t, delta_t, A, b + t * N,               \
                                             c + t * N, h_t, h_prev, es + t * size, dh, dA, du,    \
                                             through_A, of_b + t * parts, of_c + t * parts);       \
            for (int i = 0; i < COLUMNS; i++) {                                                    \
                const REAL of_delta = through_A[i] + du[i] * x_t[i];                               \
                dx_t[i] = du[i] * delta_t[i] + dy_t[i] * skip[i];                                  \
                ddelta_t[i] = of_delta;                                                            \
            }                                                                                      \
            store_line_##SUFFIX(n, dx_t, dx + t * D);                                              \
            store_line_##SUFFIX(n, ddelta_t, ddelta + t * D);                                      \
        }                                                                                          \
        sum_parts_##SUFFIX(T * N, of_b, room, db);                                                 \
        sum_parts_##SUFFIX(T * N, of_c, room, dc);                                                 \
    }

/* The memory of a head (K, V) of the gated delta rule. */
#define DEFINE_DELTA(REAL, SUFFIX)                                                                 \
    /* S' = alpha before; e = v - S'^T k; S becomes S' + beta k e^T */                             \
    ALWAYS_INLINE void delta_step_##SUFFIX(ptrdiff_t K, ptrdiff_t V, const REAL *restrict k,       \
                                           const REAL *restrict v, REAL alpha, REAL beta,          \
                                           const REAL *before, REAL *S, REAL *restrict e)          \
    {                                                                                              \
        memset(e, 0, V * sizeof(REAL));                                                            \
        for (ptrdiff_t i = 0; i < K; i++)                                                          \
            for (ptrdiff_t j = 0; j < V; j++) {                                                    \
                const REAL kept = alpha * before[i * V + j];                                       \
                e[j] += k[i] * kept;                                                               \
                S[i * V + j] = kept;                                                               \
            }                                                                                      \
        for (ptrdiff_t j = 0; j < V; j++)                                                          \
            e[j] = v[j] - e[j];                                                                    \
        for (ptrdiff_t i = 0; i < K; i++) {                                                        \
            const REAL share = beta * k[i];                                                        \
            for (ptrdiff_t j = 0; j < V; j++)                                                      \
                S[i * V + j] += share * e[j];                                                      \
        }                                                                                          \
    }                                                                                              \
    /* o = S^T q */                                                                                \
    ALWAYS_INLINE void answer_##SUFFIX(ptrdiff_t K, ptrdiff_t V, const REAL *restrict S,           \
                                       const REAL *restrict q, REAL *restrict o)                   \
    {                                                                                              \
        memset(o, 0, V * sizeof(REAL));                                                            \
        for (ptrdiff_t i = 0; i < K; i++)                                                          \
            for (ptrdiff_t j = 0; j < V; j++)                                                      \
                o[j] += q[i] * S[i * V + j];                                                       \
    }                                                                                              \
    /* o may be NULL: only the memory is computed */                                               \
    static void delta_scan_##SUFFIX(ptrdiff_t T, ptrdiff_t K, ptrdiff_t V, const REAL *q,          \
                                    const REAL *k, const REAL *v, const REAL *alpha,               \
                                    const REAL *beta, REAL *S, REAL *e, REAL *o)                   \
    {                                                                                              \
        for (ptrdiff_t t = 0; t < T; t++) {                                                        \
            delta_step_##SUFFIX(K, V, k + t * K, v + t * V, alpha[t], beta[t], S, S, e);           \
            if (o)                                                                                 \
                answer_##SUFFIX(K, V, S, q + t * K, o + t * V);                                    \
        }                                                                                          \
    }                                                                                              \
    /* At most SPAN steps.  S is the memory before them; Ss (SPAN, K, V), es (SPAN, V) and de (V) are \
     * room.  dS is the gradient after the steps, and becomes the one before them. */              \
    static void delta_span_backward_##SUFFIX(                                                      \
        ptrdiff_t T, ptrdiff_t K, ptrdiff_t V, const REAL *do_, const REAL *q, const REAL *k,      \
        const REAL *v, const REAL *alpha, const REAL *beta, const REAL *S, REAL *Ss, REAL *es,     \
        REAL *restrict de, REAL *restrict dS, REAL *dq, REAL *dk, REAL *dv, REAL *dalpha,          \
        REAL *dbeta)                                                                               \
    {                                                                                              \
        const ptrdiff_t size = K * V;                                                              \
        for (ptrdiff_t t = 0; t < T; t++)                                                          \
            delta_step_##SUFFIX(K, V, k + t * K, v + t * V, alpha[t], beta[t],                     \
                                t > 0 ? Ss + (t - 1) * size : S, Ss + t * size, es + t * V);       \
        for (ptrdiff_t t = T - 1; t >= 0; t--) {                                                   \
            const REAL *S_t = Ss + t * size, *S_prev = t > 0 ? S_t - size : S, *e = es + t * V;    \
            const REAL *q_t = q + t * K, *k_t = k + t * K, *do_t = do_ + t * V;                    \
            REAL of_beta = 0, of_alpha = 0;                                                        \
            memset(de, 0, V * sizeof(REAL));                                                       \
            for (ptrdiff_t i = 0; i < K; i++) {                                                    \
                REAL *restrict dS_i = dS + i * V;                                                  \
                /* o = S^T q */                                                                    \
                dq[t * K + i] = dot_##SUFFIX(V, S_t + i * V, do_t);                                \
                for (ptrdiff_t j = 0; j < V; j++) {                                                \
                    dS_i[j] += q_t[i] * do_t[j];                                                   \
                    /* S = S' + beta k e^T */                                                      \
                    de[j] += k_t[i] * dS_i[j];                                                     \
                }                                                                                  \
                const REAL dS_e = dot_##SUFFIX(V, dS_i, e);                                        \
                of_beta += k_t[i] * dS_e;                                                          \
                dk[t * K + i] = beta[t] * dS_e;                                                    \
            }                                                                                      \
            dbeta[t] = of_beta;                                                                    \
            /* e = v - S'^T k, and S' = alpha S_prev */                                            \
            for (ptrdiff_t j = 0; j < V; j++)                                                      \
                dv[t * V + j] = de[j] = beta[t] * de[j];                                           \
            for (ptrdiff_t i = 0; i < K; i++) {                                                    \
                REAL *restrict dS_i = dS + i * V;                                                  \
                for (ptrdiff_t j = 0; j < V; j++)                                                  \
                    dS_i[j] -= k_t[i] * de[j];                                                     \
                dk[t * K + i] -= alpha[t] * dot_##SUFFIX(V, S_prev + i * V, de);                   \
                of_alpha += dot_##SUFFIX(V, dS_i, S_prev + i * V);                                 \
                for (ptrdiff_t j = 0; j < V; j++)                                                  \
                    dS_i[j] *= alpha[t];                                                           \
            }                                                                                      \
            dalpha[t] = of_alpha;                                                                  \
        }                                                                                          \
    }

DEFINE_LINEAR(float, f32)
DEFINE_LINEAR(double, f64)
DEFINE_SELECTIVE(float, f32)
DEFINE_SELECTIVE(double, f64)
DEFINE_DELTA(float, f32)
DEFINE_DELTA(double, f64)
#define linear_scan(T, D, n, a, b, h, hs) EITHER(linear_scan, h)(T, D, n, a, b, h, hs)
#define linear_scan_backward(T, D, n, dhs, a, h0, hs, dh, da, db)                                  \
    EITHER(linear_scan_backward, dh)(T, D, n, dhs, a, h0, hs, dh, da, db)
#define turn(n, N, rows, columns) EITHER(turn, columns)(n, N, rows, columns)
#define turn_back(n, N, columns, rows) EITHER(turn_back, rows)(n, N, columns, rows)
#define selective_scan(T, D, N, n, x, delta, A, b, c, skip, h, y)                                  \
    EITHER(selective_scan, h)(T, D, N, n, x, delta, A, b, c, skip, h, y)
#define selective_one(D, N, x, delta, A_log, b, c, skip, before, h, y)                             \
    EITHER(selective_one, h)(D, N, x, delta, A_log, b, c, skip, before, h, y)
#define selective_span_backward(T, D, N, n, dy, x, delta, A, b, c, skip, h, hs, es, room, dh, dx, ddelta, dA, db, dc, dskip) \
    EITHER(selective_span_backward, dh)                                                            \
    (T, D, N, n, dy, x, delta, A, b, c, skip, h, hs, es, room, dh, dx, ddelta, dA, db, dc, dskip)
#define delta_scan(T, K, V, q, k, v, alpha, beta, S, e, o)                                         \
    EITHER(delta_scan, S)(T, K, V, q, k, v, alpha, beta, S, e, o)
#define delta_span_backward(T, K, V, do_, q, k, v, alpha, beta, S, Ss, es, de, dS, dq, dk, dv, dalpha, dbeta) \
    EITHER(delta_span_backward, dS)                                                                \
    (T, K, V, do_, q, k, v, alpha, beta, S, Ss, es, de, dS, dq, dk, dv, dalpha, dbeta)

#endif
