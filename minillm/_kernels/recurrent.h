/* The cells of the recurrences, forward and backward: some columns of one row of the batch.
 *
 * They are in C for the sake of restrict: a cell's backward has so many arrays that a compiler which does
 * not know that they lie apart makes no vector code of it.
 *
 * Forward, one vector of hidden columns, the gates' pre-activations one vector apart (the rnn: n columns).
 * Backward, n columns: the gates stand H apart, as the forward has kept them.
 */
#ifndef MINILLM_RECURRENT_H
#define MINILLM_RECURRENT_H
#include "lanes.h"
#include "maths.h"
#include "tile.h"

enum { RNN = 1, GRU = 3, LSTM = 4 }; /* the number of gates */

#define DEFINE_CELLS(REAL, SUFFIX)                                                                 \
    /* h = tanh(a) */                                                                              \
    ALWAYS_INLINE void rnn_cell_##SUFFIX(ptrdiff_t n, const REAL *restrict a, REAL *restrict h)    \
    {                                                                                              \
        for (ptrdiff_t j = 0; j < n; j++)                                                          \
            h[j] = tanh_##SUFFIX(a[j]);                                                            \
    }                                                                                              \
    static void rnn_cell_backward_##SUFFIX(ptrdiff_t n, const REAL *restrict sums,                 \
                                           const REAL *restrict dhs, REAL *restrict dh_prev,       \
                                           const REAL *restrict h, REAL *restrict da)              \
    {                                                                                              \
        for (ptrdiff_t j = 0; j < n; j++) {                                                        \
            da[j] = (sums[j] + dhs[j]) * (1 - h[j] * h[j]);                                        \
            dh_prev[j] = 0;                                                                        \
        }                                                                                          \
    }                                                                                              \
    /* a becomes the gates i, f, g, o; c = f c + i g; h = o tanh(c) */                             \
    ALWAYS_INLINE void lstm_cell_##SUFFIX(REAL *restrict a, REAL *restrict c, REAL *restrict h)    \
    {                                                                                              \
        enum { lanes = VECTOR_BYTES / sizeof(REAL) };                                              \
        for (int j = 0; j < lanes; j++) {                                                          \
            const REAL i = sigmoid_##SUFFIX(a[j]), f = sigmoid_##SUFFIX(a[lanes + j]);             \
            const REAL g = tanh_##SUFFIX(a[2 * lanes + j]);                                        \
            const REAL o = sigmoid_##SUFFIX(a[3 * lanes + j]);                                     \
            a[j] = i, a[lanes + j] = f, a[2 * lanes + j] = g, a[3 * lanes + j] = o;                \
            c[j] = f * c[j] + i * g;                                                               \
            h[j] = o * tanh_##SUFFIX(c[j]);                                                        \
        }                                                                                          \
    }                                                                                              \
    static void lstm_cell_backward_##SUFFIX(                                                       \
        ptrdiff_t n, const REAL *restrict sums, const REAL *restrict dhs, REAL *restrict dh_prev,  \
        REAL *restrict dc, const REAL *restrict gates, ptrdiff_t H, const REAL *restrict c,        \
        const REAL *restrict c_prev, REAL *restrict da_i, REAL *restrict da_f,                     \
        REAL *restrict da_g, REAL *restrict da_o)                                                  \
    {                                                                                              \
        for (ptrdiff_t j = 0; j < n; j++) {                                                        \
            const REAL i = gates[j], f = gates[H + j], g = gates[2 * H + j], o = gates[3 * H + j]; \
            /* h = o tanh(c) */                                                                    \
            const REAL dh = sums[j] + dhs[j], tanh_c = tanh_##SUFFIX(c[j]);                        \
            const REAL dc_t = dc[j] + dh * o * (1 - tanh_c * tanh_c);                              \
            /* c = f c_prev + i g, where i, f, o = sigmoid(a) and g = tanh(a) */                   \
            da_i[j] = dc_t * g * i * (1 - i);                                                      \
            da_f[j] = dc_t * c_prev[j] * f * (1 - f);                                              \
            da_g[j] = dc_t * i * (1 - g * g);                                                      \
            da_o[j] = dh * tanh_c * o * (1 - o);                                                   \
            dc[j] = dc_t * f;                                                                      \
            dh_prev[j] = 0;                                                                        \
        }                                                                                          \
    }                                                                                              \
    /* a: r, z and h_n = h_prev W_hn + b_hn, of which a becomes r, z and n = tanh(x_n + r h_n);    \
     * x_n = x W_xn + b_xn becomes h_n; h = (1 - z) n + z h_prev */                                \
    ALWAYS_INLINE void gru_cell_##SUFFIX(REAL *restrict a, REAL *restrict x_n,                     \
                                 const REAL *restrict h_prev, REAL *restrict h)                    \
    {                                                                                              \
        enum { lanes = VECTOR_BYTES / sizeof(REAL) };                                              \
        for (int j = 0; j < lanes; j++) {                                                          \
            const REAL r = sigmoid_##SUFFIX(a[j]), z = sigmoid_##SUFFIX(a[lanes + j]);             \
            const REAL h_n = a[2 * lanes + j], n = tanh_##SUFFIX(x_n[j] + r * h_n);                \
            a[j] = r, a[lanes + j] = z, a[2 * lanes + j] = n, x_n[j] = h_n;                        \
            h[j] = (1 - z) * n + z * h_prev[j];                                                    \
        }                                                                                          \
    }                                                                                              \
    /* dh_prev: the part that reaches h_prev through z */                                          \
    static void gru_cell_backward_##SUFFIX(                                                        \
        ptrdiff_t columns, const REAL *restrict sums, const REAL *restrict dhs,                    \
        REAL *restrict dh_prev, const REAL *restrict gates, ptrdiff_t H,                           \
        const REAL *restrict h_n, const REAL *restrict h_prev, REAL *restrict da_r,                \
        REAL *restrict da_z, REAL *restrict da_n, REAL *restrict da_hn)                            \
    {                                                                                              \
        for (ptrdiff_t j = 0; j < columns; j++) {                                                  \
            const REAL r = gates[j], z = gates[H + j], n = gates[2 * H + j];                       \
            /* h = (1 - z) n + z h_prev, where n = tanh(x_n + r h_n) and r, z = sigmoid(a) */      \
            const REAL dh = sums[j] + dhs[j], da = dh * (1 - z) * (1 - n * n);                     \
            da_r[j] = da * h_n[j] * r * (1 - r);                                                   \
            da_z[j] = dh * (h_prev[j] - n) * z * (1 - z);                                          \
            da_n[j] = da;                                                                          \
            da_hn[j] = da * r;                                                                     \
            dh_prev[j] = dh * z;                                                                   \
        }                                                                                          \
    }                                                                                              \
    /* n: columns of the rnn, whole vectors; more: the lstm's c, or the gru's x_n */               \
    static void cell_##SUFFIX(int cell, ptrdiff_t n, REAL *a, REAL *more, const REAL *h_prev,      \
                              REAL *h)                                                             \
    {                                                                                              \
        if (cell == RNN)                                                                           \
            rnn_cell_##SUFFIX(n, a, h);                                                            \
        else if (cell == LSTM)                                                                     \
            lstm_cell_##SUFFIX(a, more, h);                                                        \
        else                                                                                       \
            gru_cell_##SUFFIX(a, more, h_prev, h);                                                 \
    }                                                                                              \
    /* dh is sums + dhs; dh_prev and dc become what reaches the step before through the cell       \
     * alone.  kept: the rnn's h, the lstm's c, the gru's h_n; before: the lstm's c of the step    \
     * before, the gru's h; da_hn: the gru's */                                                    \
    static inline void cell_backward_##SUFFIX(                                                     \
        int cell, ptrdiff_t n, ptrdiff_t H, const REAL *sums, const REAL *dhs, REAL *dh_prev,      \
        REAL *dc, const REAL *gates, const REAL *kept, const REAL *before, REAL *da, REAL *da_hn)  \
    {                                                                                              \
        if (cell == RNN)                                                                           \
            rnn_cell_backward_##SUFFIX(n, sums, dhs, dh_prev, kept, da);                           \
        else if (cell == LSTM)                                                                     \
            lstm_cell_backward_##SUFFIX(n, sums, dhs, dh_prev, dc, gates, H, kept, before, da,     \
                                        da + H, da + 2 * H, da + 3 * H);                           \
        else                                                                                       \
            gru_cell_backward_##SUFFIX(n, sums, dhs, dh_prev, gates, H, kept, before, da, da + H,  \
                                       da + 2 * H, da_hn);                                         \
    }

DEFINE_CELLS(float, f32)
DEFINE_CELLS(double, f64)
#define run_cell(kind, n, a, more, h_prev, h) EITHER(cell, h)(kind, n, a, more, h_prev, h)
#define run_cell_backward(cell, n, H, sums, dhs, dh_prev, dc, gates, kept, before, da, da_hn)      \
    EITHER(cell_backward, da)                                                                      \
    (cell, n, H, sums, dhs, dh_prev, dc, gates, kept, before, da, da_hn)

#endif
