/* One row of softmax and cross-entropy, and of the most probable ids: ops/cross_entropy.py and
 * decoding/beam.py have the equations. */
#ifndef MINILLM_CROSS_ENTROPY_H
#define MINILLM_CROSS_ENTROPY_H
#include <math.h>
#include <stdint.h>
#include "either.h"
#include "lanes.h"
#include "maths.h"

#define DEFINE_CROSS_ENTROPY(REAL, SUFFIX, LOG)                                                    \
    /* The shifted logits' sum, exponentials and these' sum are one pass: exp takes most of it. */ \
    static REAL cross_entropy_row_##SUFFIX(ptrdiff_t V, const REAL *restrict z, ptrdiff_t target,  \
                                           REAL smoothing, REAL *restrict p)                       \
    {                                                                                              \
        const REAL largest = largest_##SUFFIX(V, z);                                               \
        REAL sums[LANES] = {0}, levels[LANES] = {0}, expected = z[target] - largest;               \
        EACH_LANE(V, levels[l] += z[i] - largest;                                                  \
                  sums[l] += p[i] = exp_for_sum_##SUFFIX(z[i] - largest);)                         \
        if (smoothing > 0)                                                                         \
            expected = (1 - smoothing) * expected +                                                \
                       smoothing * (sum_of_lanes_##SUFFIX(levels) / (REAL)V);                      \
        const REAL total = sum_of_lanes_##SUFFIX(sums), inverse = 1 / total;                       \
        for (ptrdiff_t v = 0; v < V; v++)                                                          \
            p[v] *= inverse;                                                                       \
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

/* The `count` most probable ids, 1 to V of them, and their log probabilities; of equal ones the
 * first.  Each lane's largest logit is one logit, so that at least `count` of all logits reach the
 * count-th largest of these.  Smaller ones are left out, and most blocks have only these. */
#define DEFINE_MOST_PROBABLE(REAL, SUFFIX)                                                         \
    static REAL lane_maxima_##SUFFIX(ptrdiff_t V, const REAL *z, ptrdiff_t count, REAL *largest)   \
    {                                                                                              \
        REAL part[LANES];                                                                          \
        for (int l = 0; l < LANES; l++)                                                            \
            part[l] = -(REAL)INFINITY;                                                             \
        EACH_LANE(V, part[l] = z[i] > part[l] ? z[i] : part[l];)                                   \
        for (int k = 1; k < LANES; k++) { /* sorts them */                                         \
            const REAL one = part[k];                                                              \
            int place = k;                                                                         \
            for (; place > 0 && one > part[place - 1]; place--)                                    \
                part[place] = part[place - 1];                                                     \
            part[place] = one;                                                                     \
        }                                                                                          \
        *largest = part[0];                                                                        \
        return count > LANES ? -(REAL)INFINITY : part[count - 1];                                  \
    }                                                                                              \
    static void most_probable_row_##SUFFIX(ptrdiff_t V, const REAL *z, ptrdiff_t count,            \
                                           int64_t *ids, double *log_p)                            \
    {                                                                                              \
        enum { BLOCK = 2 * LANES };                                                                \
        REAL largest, part[LANES] = {0};                                                           \
        const REAL least = lane_maxima_##SUFFIX(V, z, count, &largest);                            \
        ptrdiff_t found = 0;                                                                       \
        EACH_LANE(V, part[l] += exp_for_sum_##SUFFIX(z[i] - largest);)                             \
        const double log_total = log((double)sum_of_lanes_##SUFFIX(part));                         \
        for (ptrdiff_t start = 0; start < V; start += BLOCK) {                                     \
            const ptrdiff_t end = start + BLOCK < V ? start + BLOCK : V;                           \
            int some = 0;                                                                          \
            for (ptrdiff_t v = start; v < end; v++)                                                \
                some |= z[v] >= least;                                                             \
            if (!some)                                                                             \
                continue;                                                                          \
            for (ptrdiff_t v = start; v < end; v++) {                                              \
                if (z[v] < least || (found == count && !((double)z[v] > log_p[count - 1])))        \
                    continue;                                                                      \
                ptrdiff_t place = found < count ? found++ : count - 1;                             \
                for (; place > 0 && (double)z[v] > log_p[place - 1]; place--) {                    \
                    ids[place] = ids[place - 1];                                                   \
                    log_p[place] = log_p[place - 1];                                               \
                }                                                                                  \
                ids[place] = v;                                                                    \
                log_p[place] = (double)z[v]; /* not yet normalised */                              \
            }                                                                                      \
        }                                                                                          \
        for (ptrdiff_t k = 0; k < count; k++)                                                      \
            log_p[k] = (log_p[k] - (double)largest) - log_total;                                   \
    }

DEFINE_MOST_PROBABLE(float, f32)
DEFINE_MOST_PROBABLE(double, f64)
#define cross_entropy_row(V, z, ...) EITHER(cross_entropy_row, z)(V, z, __VA_ARGS__)
#define cross_entropy_row_backward(V, p, ...) EITHER(cross_entropy_row_backward, p)(V, p, __VA_ARGS__)
#define most_probable_row(V, z, count, ids, log_p) EITHER(most_probable_row, z)(V, z, count, ids, log_p)

#endif
