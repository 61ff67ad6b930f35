/* exp, tanh, the sigmoid and the tail of a normal distribution, of one number, written so that a
 * loop over them vectorises.
 *
 * No branch, no table, no call: only arithmetic and choices between two values,
 * which the compiler turns into vector instructions in any loop that calls them.
 *
 *     exp(x) = 2^n exp(r),    n = round(x / ln 2),    r = x - n ln 2,    |r| <= ln 2 / 2
 *
 * - exp(r) - 1 is the polynomial r + r^2 q(r) with the smallest maximum error.
 * - n comes from adding a number so large that the sum has no room for a fraction:
 *   its low bits are then n, in place to be shifted into an exponent.
 * - ln 2 is two numbers, the first with so few bits that n times it is exact.
 * - 2^n is two factors, since 2^128 is no float and 2^-149 a subnormal one.
 * - The bounds are comparisons that a NaN fails, so that a NaN goes through.
 *
 * The tail of a normal distribution is the reason for erf here:
 *
 *     Q(x) = P(X > x) = erfc(x / sqrt(2)) / 2 = exp(-x^2 / 2) p(t) / (x + k),  t = (x - k) / (x + k)
 *
 * for x from 0 up, with one polynomial p for all of them, through Chebyshev's nodes. The idea is
 * Shepherd and Laframboise's (1981), "Chebyshev approximation of (1 + 2x) exp(x^2) erfc x"; the
 * coefficients are for an x up to 14.5, or 39 of double, where Q is no longer a number above zero.
 * Unlike 1 - erf, it has all of its digits where it is small.
 *
 * Worst errors found, in units in the last place of the exact result, over the
 * range where that is a normal number (tests/kernels/test_maths.py measures them):
 * below 4 for tanh and for the sigmoid, below 6 for Q, in either precision.
 */
#ifndef MINILLM_MATHS_H
#define MINILLM_MATHS_H
#include <math.h>
#include <stdint.h>
#include <string.h>
#include "either.h"

/* The coefficients of q, p and l, the highest power first */
#define START(coefficient) sum = coefficient;
#define THEN(coefficient) sum = sum * x + coefficient;
#define POLYNOMIAL(REAL, NAME, TERMS)                                                              \
    ALWAYS_INLINE REAL NAME(REAL x)                                                                \
    {                                                                                              \
        REAL sum;                                                                                  \
        TERMS return sum;                                                                          \
    }
#define Q_f32                                                                                      \
    START(1.39263256e-3f) THEN(8.36329279e-3f) THEN(4.16665538e-2f) THEN(1.66665763e-1f) THEN(0.5f)
#define P_f32                                                                                      \
    START(3.759146721e-5f) THEN(-0.0002232922347f) THEN(-0.0009363197798f) THEN(0.001036026408f)   \
    THEN(0.006935334589f) THEN(-0.01046836008f) THEN(-0.04725805024f) THEN(0.2300183146f)          \
    THEN(-0.5093321716f) THEN(0.7290836818f)
#define Q_f64                                                                                      \
    START(2.0914831351380410561e-9) THEN(2.5105419192016336433e-8) THEN(2.7557273295539724343e-7)  \
    THEN(2.7557254913486702019e-6) THEN(2.480158732582228205e-5) THEN(1.9841269875205076848e-4)    \
    THEN(1.3888888888883669627e-3) THEN(8.3333333333260249508e-3) THEN(4.1666666666666669814e-2)   \
    THEN(1.6666666666666671074e-1) THEN(0.5)
#define P_f64                                                                                      \
    START(-9.653425420228899157e-10) THEN(7.2695454790186440663e-11) THEN(1.3924023993501807661e-8)\
    THEN(1.4578593347036737295e-8) THEN(-7.6380820534904578149e-8) THEN(-1.5426320536771115499e-7) \
    THEN(2.6368248576407623878e-7) THEN(1.0198048518135176196e-6) THEN(-6.2513210404786796301e-7)  \
    THEN(-5.9188927317632366357e-6) THEN(7.15005595621909825e-7) THEN(0.000035144181157760972795)  \
    THEN(-1.907866531661357419e-6) THEN(-0.00023109481831937621136)                                \
    THEN(0.00013334425401904911618) THEN(0.0016308184418903595964)                                 \
    THEN(-0.0034796923622425333441) THEN(-0.0075401889655930590206)                                \
    THEN(0.060396574890699464128) THEN(-0.18652185795969416326) THEN(0.3871374007422188786)        \
    THEN(-0.60789664197189175887) THEN(0.75528513041575147989)

#define L_f32                                                                                      \
    START(0.2815777957f) THEN(0.2796515822f) THEN(0.4002459645f) THEN(0.6666632295f) THEN(2)
#define L_f64                                                                                      \
    START(0.1778057996229121) THEN(0.09880878969059387) THEN(0.13591287652456496)                  \
    THEN(0.15363678087245317) THEN(0.1818285969547191) THEN(0.22222190864634755)                   \
    THEN(0.2857142911160455) THEN(0.39999999995287916) THEN(0.6666666666668257) THEN(2)

/* DIGITS: of the mantissa; BITS: of a number.  LN2_HIGH + LN2_LOW = ln 2.  Beyond LEAST
 * and MOST, exp(x) no longer changes, nor tanh(x) beyond FLAT. */
#define LEAST_EXPONENT_f32 -88.0296919f /* -127 ln 2 */
#define MOST_EXPONENT_f32 88.7228391f   /* 128 ln 2 */
#define LEAST_EXPONENT_f64 -709.0895657128241
#define MOST_EXPONENT_f64 709.782712893384
#define DEFINE_MATHS(REAL, SUFFIX, BITS, DIGITS, LN2_HIGH, LN2_LOW, LEAST, MOST, FLAT, K, ABS)     \
    enum { BIAS_##SUFFIX = (1 << (BITS - DIGITS - 2)) - 1 };                                       \
    /* 2^n, of the lowest bits of n alone: unsigned, so that it may wrap */                        \
    ALWAYS_INLINE REAL power_of_two_##SUFFIX(uint##BITS##_t n)                                     \
    {                                                                                              \
        const uint##BITS##_t bits = (n + BIAS_##SUFFIX) << DIGITS;                                 \
        REAL power;                                                                                \
        memcpy(&power, &bits, sizeof power);                                                       \
        return power;                                                                              \
    }                                                                                              \
    POLYNOMIAL(REAL, q_##SUFFIX, Q_##SUFFIX)                                                       \
    POLYNOMIAL(REAL, p_##SUFFIX, P_##SUFFIX)                                                       \
    POLYNOMIAL(REAL, l_##SUFFIX, L_##SUFFIX)                                                       \
    /* x = n ln 2 + r; returns exp(r) - 1 */                                                       \
    ALWAYS_INLINE REAL reduce_##SUFFIX(REAL x, int##BITS##_t *n)                                   \
    {                                                                                              \
        const REAL large = (REAL)((uint##BITS##_t)3 << (DIGITS - 1));                              \
        const REAL shifted = x * (REAL)1.4426950408889634 + large;                                 \
        const REAL whole = shifted - large;                                                        \
        const REAL r = (x - whole * LN2_HIGH) - whole * LN2_LOW;                                   \
        uint##BITS##_t bits, bits_of_large;                                                        \
        memcpy(&bits, &shifted, sizeof bits);                                                      \
        memcpy(&bits_of_large, &large, sizeof bits);                                               \
        *n = (int##BITS##_t)(bits - bits_of_large);                                                \
        return r * r * q_##SUFFIX(r) + r;                                                          \
    }                                                                                              \
    ALWAYS_INLINE REAL exp_##SUFFIX(REAL x)                                                        \
    {                                                                                              \
        int##BITS##_t n;                                                                           \
        x = x > (REAL)MOST ? (REAL)MOST : x;                                                       \
        x = x < (REAL)LEAST ? (REAL)LEAST : x;                                                     \
        const REAL e = reduce_##SUFFIX(x, &n) + 1;                                                 \
        /* An arithmetic shift of a 64-bit number is one instruction on AVX-512 alone.  The bit in \
         * which a logical one differs is none of the lowest. */                                   \
        const uint##BITS##_t half = (uint##BITS##_t)n >> 1;                                        \
        return e * power_of_two_##SUFFIX(half) * power_of_two_##SUFFIX((uint##BITS##_t)n - half);  \
    }                                                                                              \
    /* exp(x) where that is a normal number: quicker, with no choice between two values */         \
    ALWAYS_INLINE REAL exp_of_normal_##SUFFIX(REAL x)                                              \
    {                                                                                              \
        int##BITS##_t n;                                                                           \
        const REAL p = reduce_##SUFFIX(x, &n), power = power_of_two_##SUFFIX((uint##BITS##_t)n);   \
        return power * p + power;                                                                  \
    }                                                                                              \
    /* exp(x) of any x.  A subnormal result is 0, as a power_of_two of LEAST_EXPONENT / ln 2 is; it is \
     * infinite from MOST_EXPONENT - ln 2 / 2 on.  These bounds are arguments, because of constants GCC \
     * computes all that follows beforehand, and then chooses. */                                  \
    ALWAYS_INLINE REAL exp_within_##SUFFIX(REAL x, REAL least, REAL most)                          \
    {                                                                                              \
        int##BITS##_t n;                                                                           \
        x = x > most ? most : x;                                                                   \
        x = x < least ? least : x;                                                                 \
        const REAL e = reduce_##SUFFIX(x, &n) + 1;                                                 \
        return e * power_of_two_##SUFFIX((uint##BITS##_t)n);                                       \
    }                                                                                              \
    /* exp(x) of an x that is not positive, but for rounding.  A subnormal result is 0. */         \
    ALWAYS_INLINE REAL exp_for_sum_##SUFFIX(REAL x)                                                \
    {                                                                                              \
        const REAL least = (1 - BIAS_##SUFFIX) * (REAL)0.6931471805599453;                         \
        return x < least ? 0 : exp_of_normal_##SUFFIX(x);                                          \
    }                                                                                              \
    /* The logarithm of such a sum, 1 at least: the y with exp(y) = x, by two of Halley's steps    \
     * from where the bits of the exponent and the fraction, read as one number, already are. */   \
    ALWAYS_INLINE REAL log_of_sum_##SUFFIX(REAL x)                                                 \
    {                                                                                              \
        const int##BITS##_t one = (int##BITS##_t)BIAS_##SUFFIX << DIGITS; /* the bits of 1 */      \
        int##BITS##_t bits;                                                                        \
        memcpy(&bits, &x, sizeof bits);                                                            \
        const REAL place = (REAL)0.6931471805599453 / (REAL)((int##BITS##_t)1 << DIGITS);          \
        const REAL rough = (REAL)(bits - one) * place + (REAL)0.0298;                              \
        const REAL near = exp_of_normal_##SUFFIX(rough);                                           \
        const REAL y = rough + 2 * (x - near) / (x + near), e = exp_of_normal_##SUFFIX(y);         \
        return y + 2 * (x - e) / (x + e);                                                          \
    }                                                                                              \
    /* log(1 + e) of an e from 0 to 1: 2 artanh(s) with s = e / (2 + e) */                         \
    ALWAYS_INLINE REAL log_of_more_##SUFFIX(REAL e)                                                \
    {                                                                                              \
        const REAL s = e / (2 + e);                                                                \
        return s * l_##SUFFIX(s * s);                                                              \
    }                                                                                              \
    /* With an exponential of at most 1, which needs neither bounds nor two factors */             \
    ALWAYS_INLINE REAL sigmoid_##SUFFIX(REAL x)                                                    \
    {                                                                                              \
        const REAL e = exp_for_sum_##SUFFIX(-ABS(x));                                              \
        return (x < 0 ? e : 1) / (1 + e);                                                          \
    }                                                                                              \
    /* tanh(x) = e / (e + 2) with e = exp(2 |x|) - 1, which keeps its digits near zero */          \
    ALWAYS_INLINE REAL tanh_##SUFFIX(REAL x)                                                       \
    {                                                                                              \
        int##BITS##_t n;                                                                           \
        REAL size = x < 0 ? -x : x;                                                                \
        size = size > (REAL)FLAT ? (REAL)FLAT : size;                                              \
        const REAL p = reduce_##SUFFIX(2 * size, &n);                                              \
        const REAL power = power_of_two_##SUFFIX((uint##BITS##_t)n);                               \
        const REAL e = power * p + (power - 1);                                                    \
        const REAL t = e / (e + 2);                                                                \
        return x < 0 ? -t : t;                                                                     \
    }                                                                                              \
    /* exp(-x^2 / 2).  The square has two parts, h^2, which is exact (h has half of the digits),   \
     * and the rest: rounded as a whole, it would cost x^2 / 4 units in the last place. */         \
    ALWAYS_INLINE REAL bell_##SUFFIX(REAL x)                                                       \
    {                                                                                              \
        const uint##BITS##_t unit = (uint##BITS##_t)1 << (DIGITS + 2) / 2;                         \
        uint##BITS##_t bits;                                                                       \
        REAL h;                                                                                    \
        memcpy(&bits, &x, sizeof bits);                                                            \
        bits = (bits + unit / 2) & ~(unit - 1);                                                    \
        memcpy(&h, &bits, sizeof h);                                                               \
        const REAL rest = (REAL)0.5 * (h - x) * (h + x), sixth = (REAL)0.16666666666666667;        \
        return exp_for_sum_##SUFFIX((REAL)-0.5 * h * h) *                                          \
               (1 + rest * (1 + rest * ((REAL)0.5 + rest * sixth)));                               \
    }                                                                                              \
    /* Q(x) of an x from 0 on; *bell becomes exp(-x^2 / 2) */                                      \
    ALWAYS_INLINE REAL normal_tail_##SUFFIX(REAL x, REAL *bell)                                    \
    {                                                                                              \
        const REAL u = 1 / (x + K), p = p_##SUFFIX((x - K) * u);                                   \
        *bell = bell_##SUFFIX(x);                                                                  \
        return *bell * (p * u);                                                                    \
    }

DEFINE_MATHS(float, f32, 32, 23, 0.693359375f, -2.12194440e-4f, -104, 89, 10, 3, fabsf)
DEFINE_MATHS(double, f64, 64, 52, 6.93145751953125e-1, 1.42860682030941723212e-6, -746, 710, 20, 4,
             fabs)

#endif
