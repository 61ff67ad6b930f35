/* The cells of the recurrences, forward and backward: some columns of one row of the batch.
 *
 * They are in C for the sake of restrict: a cell's backward has so many arrays that a compiler which does
 * not know that they lie apart makes no vector code of it.
 *
 * Forward, one vector of hidden columns: pre-activations `apart` from each other become gates H apart.
 * Backward, n columns: the gates stand H apart, as the forward has kept them.
 */
#ifndef MINILLM_RECURRENT_H
#define MINILLM_RECURRENT_H
#include "maths.h"
#include "tile.h"

enum { RNN = 1, GRU = 3, LSTM = 4 }; /* the number of gates */

#define DEFINE_CELLS(REAL, SUFFIX)                                                                 \
    enum { lanes_##SUFFIX = VECTOR_BYTES / sizeof(REAL) };                                         \
    static void rnn_cell_backward_##SUFFIX(ptrdiff_t n, const REAL *restrict sums,                 \
                                           const REAL *restrict dhs, REAL *restrict dh_prev,       \
                                           const REAL *restrict h, REAL *restrict da)              \
    {                                                                                              \
        for (ptrdiff_t j = 0; j < n; j++) {                                                        \
            da[j] = (sums[j] + dhs[j]) * (1 - h[j] * h[j]);                                        \
            dh_prev[j] = 0;                                                                        \
        }                                                                                          \
    }                                                                                              \
    /* i, f, o = sigmoid(a), g = tanh(a); c = f c + i g; h = o tanh(c) */                          \
    ALWAYS_INLINE void lstm_cell_##SUFFIX(                                                         \
        const REAL *restrict a_i, const REAL *restrict a_f, const REAL *restrict a_g,              \
        const REAL *restrict a_o, REAL *restrict gates, ptrdiff_t H, REAL *restrict c,             \
        REAL *restrict h)                                                                          \
    {                                                                                              \
        REAL i[lanes_##SUFFIX], f[lanes_##SUFFIX], g[lanes_##SUFFIX], o[lanes_##SUFFIX];           \
        for (int j = 0; j < lanes_##SUFFIX; j++) {                                                 \
            i[j] = sigmoid_##SUFFIX(a_i[j]), f[j] = sigmoid_##SUFFIX(a_f[j]);                      \
            g[j] = tanh_##SUFFIX(a_g[j]), o[j] = sigmoid_##SUFFIX(a_o[j]);                         \
            c[j] = f[j] * c[j] + i[j] * g[j];                                                      \
            h[j] = o[j] * tanh_##SUFFIX(c[j]);                                                     \
        }                                                                                          \
        memcpy(gates, i, VECTOR_BYTES), memcpy(gates + H, f, VECTOR_BYTES);                        \
        memcpy(gates + 2 * H, g, VECTOR_BYTES), memcpy(gates + 3 * H, o, VECTOR_BYTES);            \
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
    /* r, z = sigmoid(a); n = tanh(x_n + r h_n), where x_n = x W_xn + b_xn becomes                 \
     * h_n = h_prev W_hn + b_hn; h = (1 - z) n + z h_prev */                                       \
    ALWAYS_INLINE void gru_cell_##SUFFIX(                                                          \
        const REAL *restrict a_r, const REAL *restrict a_z, const REAL *restrict h_n,              \
        REAL *restrict gates, ptrdiff_t H, REAL *restrict x_n, const REAL *restrict h_prev,        \
        REAL *restrict h)                                                                          \
    {                                                                                              \
        REAL r[lanes_##SUFFIX], z[lanes_##SUFFIX], n[lanes_##SUFFIX];                              \
        for (int j = 0; j < lanes_##SUFFIX; j++) {                                                 \
            r[j] = sigmoid_##SUFFIX(a_r[j]), z[j] = sigmoid_##SUFFIX(a_z[j]);                      \
            n[j] = tanh_##SUFFIX(x_n[j] + r[j] * h_n[j]);                                          \
            h[j] = (1 - z[j]) * n[j] + z[j] * h_prev[j];                                           \
        }                                                                                          \
        memcpy(x_n, h_n, VECTOR_BYTES), memcpy(gates, r, VECTOR_BYTES);                            \
        memcpy(gates + H, z, VECTOR_BYTES), memcpy(gates + 2 * H, n, VECTOR_BYTES);                \
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
    /* more: the lstm's c, or the gru's x_n; the rnn's h = tanh(a) */                              \
    static inline void cell_##SUFFIX(int cell, const REAL *restrict a, ptrdiff_t apart, REAL *more,\
                                     const REAL *h_prev, REAL *restrict h, REAL *gates, ptrdiff_t H)\
    {                                                                                              \
        if (cell == RNN)                                                                           \
            for (int j = 0; j < lanes_##SUFFIX; j++)                                               \
                h[j] = tanh_##SUFFIX(a[j]);                                                        \
        else if (cell == LSTM)                                                                     \
            lstm_cell_##SUFFIX(a, a + apart, a + 2 * apart, a + 3 * apart, gates, H, more, h);     \
        else                                                                                       \
            gru_cell_##SUFFIX(a, a + apart, a + 2 * apart, gates, H, more, h_prev, h);             \
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
#define run_cell(kind, a, apart, more, h_prev, h, gates, H)                                        \
    EITHER(cell, h)(kind, a, apart, more, h_prev, h, gates, H)
#define run_cell_backward(cell, n, H, sums, dhs, dh_prev, dc, gates, kept, before, da, da_hn)      \
    EITHER(cell_backward, da)                                                                      \
    (cell, n, H, sums, dhs, dh_prev, dc, gates, kept, before, da, da_hn)

#endif
