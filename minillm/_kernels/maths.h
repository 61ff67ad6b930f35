/* exp, tanh, the sigmoid and the tail of a normal distribution, of one number, written so that a
 * loop over them vectorises.
 *
 * No branch, no table, no call: only arithmetic and choices between two values,
 * which the compiler turns into vector instructions in any loop that calls them.
 *
 *     exp(x) = 2^n exp(r),    n = round(x / ln 2),    r = x - n ln 2,    |r| <= ln 2 / 2
 *
 * - exp(r) - 1 is a polynomial, r + r^2 q(r), that of the smallest maximum error.
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
 * for x from 0 up, with one polynomial p for all of them: that of Chebyshev's nodes. The idea is
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
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__)
#define POINT static inline __attribute__((always_inline))
#else
#define POINT static __inline
#endif

/* --- float32 --------------------------------------------------------------- */

POINT float power_of_two_f32(int32_t n) /* 2^n for -126 <= n <= 127 */
{
    uint32_t bits = (uint32_t)(n + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return power;
}

/* x = n ln 2 + r; returns exp(r) - 1 */
POINT float reduce_f32(float x, int32_t *n)
{
    const float large = 12582912.0f; /* 1.5 * 2^23 */
    const float shifted = x * 1.44269504f + large;
    const float whole = shifted - large;
    const float r = (x - whole * 0.693359375f) - whole * -2.12194440e-4f;
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    *n = (int32_t)((uint32_t)bits - 0x4B400000u);
    float q = 1.39263256e-3f;
    q = q * r + 8.36329279e-3f;
    q = q * r + 4.16665538e-2f;
    q = q * r + 1.66665763e-1f;
    q = q * r + 0.5f;
    return r * r * q + r;
}

POINT float exp_f32(float x)
{
    int32_t n;
    x = x > 89.0f ? 89.0f : x;
    x = x < -104.0f ? -104.0f : x;
    const float e = reduce_f32(x, &n) + 1.0f;
    const int32_t half = n >> 1;
    return e * power_of_two_f32(half) * power_of_two_f32(n - half);
}

POINT float sigmoid_f32(float x)
{
    return 1.0f / (1.0f + exp_f32(-x));
}

/* tanh(x) = e / (e + 2) with e = exp(2 |x|) - 1, which keeps its digits near zero */
POINT float tanh_f32(float x)
{
    int32_t n;
    float size = x < 0.0f ? -x : x;
    size = size > 10.0f ? 10.0f : size;
    const float p = reduce_f32(2.0f * size, &n);
    const float power = power_of_two_f32(n);
    const float e = power * p + (power - 1.0f);
    const float t = e / (e + 2.0f);
    return x < 0.0f ? -t : t;
}

/* exp(-x^2 / 2). The square has two parts, h^2, which is exact, and the rest: rounded as a whole, it
   would cost x^2 / 4 units in the last place. */
POINT float bell_f32(float x)
{
    uint32_t bits;
    float h;
    memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0x800u) & 0xFFFFF000u; /* half of the digits */
    memcpy(&h, &bits, sizeof h);
    const float rest = 0.5f * (h - x) * (h + x);
    return exp_f32(-0.5f * h * h) * (1.0f + rest * (1.0f + rest * (0.5f + rest * 0.166666667f)));
}

/* Q(x) of x from 0 to 14.5; *bell becomes exp(-x^2 / 2) */
POINT float normal_tail_f32(float x, float *bell)
{
    const float u = 1.0f / (x + 3.0f), t = (x - 3.0f) * u;
    float p = 3.759146721e-5f;
    p = p * t - 0.0002232922347f;
    p = p * t - 0.0009363197798f;
    p = p * t + 0.001036026408f;
    p = p * t + 0.006935334589f;
    p = p * t - 0.01046836008f;
    p = p * t - 0.04725805024f;
    p = p * t + 0.2300183146f;
    p = p * t - 0.5093321716f;
    p = p * t + 0.7290836818f;
    *bell = bell_f32(x);
    return *bell * (p * u);
}

/* --- float64: the same with more digits ------------------------------------ */

/* 2^n of the low 12 bits of n: unsigned, so that it may wrap */
POINT double power_of_two_f64(uint64_t n)
{
    uint64_t bits = (n + 1023) << 52;
    double power;
    memcpy(&power, &bits, sizeof power);
    return power;
}

POINT double reduce_f64(double x, int64_t *n)
{
    const double large = 6755399441055744.0; /* 1.5 * 2^52 */
    const double shifted = x * 1.4426950408889634 + large;
    const double whole = shifted - large;
    const double r = (x - whole * 6.93145751953125e-1) - whole * 1.42860682030941723212e-6;
    int64_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    *n = (int64_t)((uint64_t)bits - 0x4338000000000000u);
    double q = 2.0914831351380410561e-9;
    q = q * r + 2.5105419192016336433e-8;
    q = q * r + 2.7557273295539724343e-7;
    q = q * r + 2.7557254913486702019e-6;
    q = q * r + 2.480158732582228205e-5;
    q = q * r + 1.9841269875205076848e-4;
    q = q * r + 1.3888888888883669627e-3;
    q = q * r + 8.3333333333260249508e-3;
    q = q * r + 4.1666666666666669814e-2;
    q = q * r + 1.6666666666666671074e-1;
    q = q * r + 0.5;
    return r * r * q + r;
}

POINT double exp_f64(double x)
{
    int64_t n;
    x = x > 710.0 ? 710.0 : x;
    x = x < -746.0 ? -746.0 : x;
    const double e = reduce_f64(x, &n) + 1.0;
    /* An arithmetic shift of a 64-bit number is one instruction on AVX-512 alone. The bits in
       which a logical one differs are none of the low 12. */
    const uint64_t half = (uint64_t)n >> 1;
    return e * power_of_two_f64(half) * power_of_two_f64((uint64_t)n - half);
}

POINT double sigmoid_f64(double x)
{
    return 1.0 / (1.0 + exp_f64(-x));
}

POINT double tanh_f64(double x)
{
    int64_t n;
    double size = x < 0.0 ? -x : x;
    size = size > 20.0 ? 20.0 : size;
    const double p = reduce_f64(2.0 * size, &n);
    const double power = power_of_two_f64((uint64_t)n);
    const double e = power * p + (power - 1.0);
    const double t = e / (e + 2.0);
    return x < 0.0 ? -t : t;
}

POINT double bell_f64(double x)
{
    uint64_t bits;
    double h;
    memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0x4000000u) & 0xFFFFFFFFF8000000u;
    memcpy(&h, &bits, sizeof h);
    const double rest = 0.5 * (h - x) * (h + x);
    return exp_f64(-0.5 * h * h) * (1.0 + rest * (1.0 + rest * (0.5 + rest * 0.16666666666666667)));
}

/* of x from 0 to 39 */
POINT double normal_tail_f64(double x, double *bell)
{
    const double u = 1.0 / (x + 4.0), t = (x - 4.0) * u;
    double p = -9.653425420228899157e-10;
    p = p * t + 7.2695454790186440663e-11;
    p = p * t + 1.3924023993501807661e-8;
    p = p * t + 1.4578593347036737295e-8;
    p = p * t - 7.6380820534904578149e-8;
    p = p * t - 1.5426320536771115499e-7;
    p = p * t + 2.6368248576407623878e-7;
    p = p * t + 1.0198048518135176196e-6;
    p = p * t - 6.2513210404786796301e-7;
    p = p * t - 5.9188927317632366357e-6;
    p = p * t + 7.15005595621909825e-7;
    p = p * t + 0.000035144181157760972795;
    p = p * t - 1.907866531661357419e-6;
    p = p * t - 0.00023109481831937621136;
    p = p * t + 0.00013334425401904911618;
    p = p * t + 0.0016308184418903595964;
    p = p * t - 0.0034796923622425333441;
    p = p * t - 0.0075401889655930590206;
    p = p * t + 0.060396574890699464128;
    p = p * t - 0.18652185795969416326;
    p = p * t + 0.3871374007422188786;
    p = p * t - 0.60789664197189175887;
    p = p * t + 0.75528513041575147989;
    *bell = bell_f64(x);
    return *bell * (p * u);
}

#endif
