/* One prediction of word2vec: `count` logistic regressions that share their input.
 *
 * A row is about a hundred numbers, so that everything below is two passes over
 * `count` rows that are in the first-level cache after the first.  The first takes up to
 * four rows at a time, so that h is read once for them.  The second goes across the
 * rows, two vectors of the width at a time: h and its gradient stay in registers
 * while all rows pass by, and each row is read and written once.
 *
 * The sums are taken in vectors of 64 bytes, whatever the width of the machine's vectors:
 * the bits do not depend on them, but where a multiply-add is fused.
 */
#ifndef MINILLM_WORD2VEC_H
#define MINILLM_WORD2VEC_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "either.h"
#include "maths.h"
#include "system.h"

/* splitmix64 (Steele, Lea and Flood 2014) */
static inline uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* Which of `count` copies a round exchanges of the `size` rows that follow the size - 1 most used ones;
 * `count`: none. */
static inline ptrdiff_t row_of_round(ptrdiff_t count, int last_is_top, ptrdiff_t size, ptrdiff_t round)
{
    const ptrdiff_t rank = size - 1 + round % size;
    if (rank >= count)
        return count;
    return last_is_top ? count - 1 - rank : rank;
}

/* Fetch a cache line that will be written. */
#if defined(__x86_64__)
#define PREFETCH(address) __asm__ __volatile__("prefetchw %0" : : "m"(*(const char *)(address)))
#else
#define PREFETCH(address) __builtin_prefetch(address, 1)
#endif

enum { AT_ONCE = 8 }; /* sigmoids: the arrays of a prediction have room for a multiple of it */

#define DEFINE_VECTOR(REAL, SUFFIX)                                                                \
    typedef REAL vector_##SUFFIX __attribute__((vector_size(64), aligned(sizeof(REAL))));          \
    typedef REAL half_##SUFFIX __attribute__((vector_size(32)));                                   \
    typedef REAL quarter_##SUFFIX __attribute__((vector_size(16)));                                \
    /* The sum of its numbers: one half is added to the other until one number is left. */         \
    static inline REAL total_##SUFFIX(const vector_##SUFFIX *v)                                    \
    {                                                                                              \
        enum { LEFT = sizeof(quarter_##SUFFIX) / sizeof(REAL) };                                   \
        const union { vector_##SUFFIX v; half_##SUFFIX x[2]; } whole = {*v};                       \
        const union { half_##SUFFIX v; quarter_##SUFFIX x[2]; } half = {whole.x[0] + whole.x[1]};  \
        const union { quarter_##SUFFIX v; REAL x[LEFT]; } sums = {half.x[0] + half.x[1]};          \
        if (LEFT == 2)                                                                             \
            return sums.x[0] + sums.x[1];                                                          \
        return (sums.x[0] + sums.x[LEFT / 2]) + (sums.x[1] + sums.x[LEFT - 1]);                    \
    }

#define DEFINE_WORD2VEC(REAL, SUFFIX)                                                              \
    DEFINE_VECTOR(REAL, SUFFIX)                                                                    \
    enum { LANES_##SUFFIX = sizeof(vector_##SUFFIX) / sizeof(REAL) };                              \
    /* p[k] = u[k] . h for up to four rows */                                                      \
    static inline void dots_##SUFFIX(ptrdiff_t n, int count, REAL *const *u, const REAL *h, REAL *p)\
    {                                                                                              \
        vector_##SUFFIX sums[4] = {{0}, {0}, {0}, {0}};                                            \
        ptrdiff_t i = 0;                                                                           \
        for (; i + LANES_##SUFFIX <= n; i += LANES_##SUFFIX) {                                     \
            const vector_##SUFFIX in = *(const vector_##SUFFIX *)(h + i);                          \
            for (int k = 0; k < count; k++)                                                        \
                sums[k] += *(const vector_##SUFFIX *)(u[k] + i) * in;                              \
        }                                                                                          \
        for (int k = 0; k < count; k++) {                                                          \
            p[k] = total_##SUFFIX(&sums[k]);                                                       \
            for (ptrdiff_t j = i; j < n; j++)                                                      \
                p[k] += u[k][j] * h[j];                                                            \
        }                                                                                          \
    }                                                                                              \
    /* p[k] = u[k] . h for every row */                                                            \
    static inline void scores_##SUFFIX(ptrdiff_t n, ptrdiff_t count, REAL *const *u, const REAL *h,\
                                       REAL *p)                                                    \
    {                                                                                              \
        ptrdiff_t k = 0;                                                                           \
        for (; k + 4 <= count; k += 4)                                                             \
            dots_##SUFFIX(n, 4, u + k, h, p + k);                                                  \
        for (; k + 2 <= count; k += 2)                                                             \
            dots_##SUFFIX(n, 2, u + k, h, p + k);                                                  \
        if (k < count)                                                                             \
            dots_##SUFFIX(n, 1, u + k, h, p + k);                                                  \
    }                                                                                              \
    /* `step` for one or two vectors of the width */                                               \
    static inline void step_across_##SUFFIX(int vectors, ptrdiff_t count, REAL *const *u, ptrdiff_t i,\
                                            const REAL *g, const REAL *move, const REAL *h, REAL *dh)\
    {                                                                                              \
        vector_##SUFFIX in[2], change[2];                                                          \
        for (int v = 0; v < vectors; v++) {                                                        \
            in[v] = *(const vector_##SUFFIX *)(h + i + v * LANES_##SUFFIX);                        \
            change[v] = (vector_##SUFFIX){0};                                                      \
        }                                                                                          \
        for (ptrdiff_t k = 0; k < count; k++) {                                                    \
            const REAL slope = g[k], length = move[k];                                             \
            REAL *row = u[k] + i;                                                                  \
            for (int v = 0; v < vectors; v++) {                                                    \
                vector_##SUFFIX *part = (vector_##SUFFIX *)(row + v * LANES_##SUFFIX);             \
                const vector_##SUFFIX before = *part;                                              \
                change[v] += slope * before;                                                       \
                *part = before + length * in[v];                                                   \
            }                                                                                      \
        }                                                                                          \
        for (int v = 0; v < vectors; v++)                                                          \
            *(vector_##SUFFIX *)(dh + i + v * LANES_##SUFFIX) = change[v];                         \
    }                                                                                              \
    /* u[k] += move[k] h for every row, and dh = sum of g[k] u[k], as the rows were before */      \
    static inline void step_##SUFFIX(ptrdiff_t n, ptrdiff_t count, REAL *const *u, const REAL *g,  \
                                     const REAL *move, const REAL *h, REAL *dh)                    \
    {                                                                                              \
        ptrdiff_t i = 0;                                                                           \
        for (; i + 2 * LANES_##SUFFIX <= n; i += 2 * LANES_##SUFFIX)                               \
            step_across_##SUFFIX(2, count, u, i, g, move, h, dh);                                  \
        for (; i + LANES_##SUFFIX <= n; i += LANES_##SUFFIX)                                       \
            step_across_##SUFFIX(1, count, u, i, g, move, h, dh);                                  \
        for (; i < n; i++) {                                                                       \
            REAL change = 0;                                                                       \
            for (ptrdiff_t k = 0; k < count; k++) {                                                \
                const REAL before = u[k][i];                                                       \
                change += g[k] * before;                                                           \
                u[k][i] = before + move[k] * h[i];                                                 \
            }                                                                                      \
            dh[i] = change;                                                                        \
        }                                                                                          \
    }                                                                                              \
    /* From scores to the probability p of each row's label, in place; g = rate (label - sigma), and\
     * move = size g */                                                                            \
    static inline void slopes_##SUFFIX(ptrdiff_t count, REAL rate, const REAL *sign, const REAL *size,\
                                       REAL *p, REAL *g, REAL *move)                               \
    {                                                                                              \
        for (ptrdiff_t first = 0; first < count; first += AT_ONCE)                                 \
            for (ptrdiff_t k = first; k < first + AT_ONCE; k++) {                                  \
                p[k] = sigmoid_##SUFFIX(sign[k] * p[k]);                                           \
                g[k] = rate * sign[k] * (1 - p[k]);                                                \
                move[k] = g[k] * size[k];                                                          \
            }                                                                                      \
    }

DEFINE_WORD2VEC(float, f32)
DEFINE_WORD2VEC(double, f64)
#define scores(n, count, u, h, p) EITHER(scores, h)(n, count, u, h, p)
#define slopes(count, rate, sign, size, p, g, move) EITHER(slopes, p)(count, rate, sign, size, p, g, move)
#define step(n, count, u, g, move, h, change) EITHER(step, h)(n, count, u, g, move, h, change)

#endif
