/* The innermost loop of every matrix product here: one tile, held in registers.
 *
 *     out (rows, vectors * LANES)  =  start  +  a (rows, depth)  times  b (depth, vectors * LANES)
 *
 * For each step along the depth it loads one line of b (`vectors` vectors) and
 * one number from each row of a, and does rows * vectors multiply-adds.  A tile
 * of 6 by 4 vectors does 24 of them for 10 loads, and its 24 sums stay in
 * registers; that is why it runs at the speed of the multipliers, where a
 * plain loop runs at the speed of the loads.
 *
 * Each sum is taken in the order of the depth, whatever the shape of the tile.
 * Every STRETCH terms are summed from zero, in one register, and then added to the
 * sum of the stretches before.  An addition rounds in proportion to its result,
 * so that many short sums have smaller errors than a long one.  A number of the
 * product has the same bits however the product was cut: into tiles, into blocks
 * of whole stretches (where sums are stored and loaded again), or between threads.
 *
 * a, start and out are given as pointers to their rows, which may lie anywhere; no
 * start is a start from zero.  b is best packed: the lines of one panel next to
 * each other, so that they stream.
 *
 * The shorter side of the tile is held in registers, and the numbers of the longer one are loaded in
 * turn.  The loads of b are volatile: GCC would otherwise load a line again for each row, and such a load
 * mostly crosses two lines of the cache.  Of 4 by 3 vectors, clang puts sums on the stack.
 *
 * GCC's vector extension needs no names of instructions.  In a tile only the fused
 * multiply-add is named: left to itself the compiler fuses in tiles of some
 * shapes and not of others, and the bits would differ.  The sizes below follow
 * the flags that setup.py compiles each twin with.
 */
#ifndef MINILLM_TILE_H
#define MINILLM_TILE_H
#include <math.h>
#include <stddef.h>
#include <string.h>
#include "either.h"

#if defined(__clang__)
#define ROWS_BY_THREE 3
#else
#define ROWS_BY_THREE 4
#endif

#if defined(__AVX512F__)
#include <immintrin.h>
#define VECTOR_BYTES 64 /* 32 registers: 24 sums */
#define TILE_ROWS(vectors) ((vectors) == 4 ? 6 : 8)
#define ADD_PRODUCT_float(sum, x, line) _mm512_fmadd_ps(_mm512_set1_ps(x), line, sum)
#define ADD_PRODUCT_double(sum, x, line) _mm512_fmadd_pd(_mm512_set1_pd(x), line, sum)
#elif defined(__AVX2__)
#include <immintrin.h>
#define VECTOR_BYTES 32 /* 16 registers: 12 sums */
#define TILE_ROWS(vectors) ((vectors) == 4 ? 3 : (vectors) == 3 ? ROWS_BY_THREE : 6)
#define ADD_PRODUCT_float(sum, x, line) _mm256_fmadd_ps(_mm256_set1_ps(x), line, sum)
#define ADD_PRODUCT_double(sum, x, line) _mm256_fmadd_pd(_mm256_set1_pd(x), line, sum)
#elif defined(__aarch64__)
#include <arm_neon.h>
#define VECTOR_BYTES 16 /* 32 registers */
#define TILE_ROWS(vectors) ((vectors) == 4 ? 6 : 8)
#define ADD_PRODUCT_float(sum, x, line) vfmaq_n_f32(sum, line, x)
#define ADD_PRODUCT_double(sum, x, line) vfmaq_n_f64(sum, line, x)
#else
#define VECTOR_BYTES 16 /* 16 registers, and the product needs one of them */
#define TILE_ROWS(vectors) ((vectors) == 4 ? 3 : (vectors) == 3 ? ROWS_BY_THREE : 6)
#define ADD_PRODUCT_float(sum, x, line) ((sum) + (x) * (line))
#define ADD_PRODUCT_double(sum, x, line) ((sum) + (x) * (line))
#define ADD_PRODUCT(sum, x, y) ((sum) + (x) * (y))
#endif
#ifndef ADD_PRODUCT /* of one number as of vectors */
#define ADD_PRODUCT(sum, x, y) fmaf(x, y, sum)
#endif
#if defined(__clang__) || defined(__AVX2__) || defined(__aarch64__)
#define BY_LINE(rows, vectors) ((rows) < (vectors))
#else /* here GCC has no register for the line */
#define BY_LINE(rows, vectors) 0
#endif
#define TILE_VECTORS 4 /* the widest panel */
#define STRETCH 256 /* terms, or pairs of them, that are summed from zero */
#define LINES 8 /* of b, that are read at a time where it comes from memory */
/* Bytes of a panel of b that is wider than two vectors, and of a block; tiles that pass over a panel
 * together, and rows that read b where it lies, up to FEW_BYTES of it (gemm.pxi); and the cache into
 * which a line is fetched that will be needed soon. */
#if defined(__AVX2__) && !defined(__AVX512F__)
enum { PANEL_BYTES = 32768, BLOCK_BYTES = 2097152, TILES_TOGETHER = 8, FEW_ROWS = 12, LEVEL = 3 };
#else
enum { PANEL_BYTES = 1048576, BLOCK_BYTES = 524288, TILES_TOGETHER = 1, FEW_ROWS = 32, LEVEL = 2 };
#endif
#define PREFETCH(address) __builtin_prefetch(address, 0, LEVEL)
#define TILE_SIZE (24 * VECTOR_BYTES) /* bytes of the largest tile */

#define UNROLL _Pragma("GCC unroll 16")
#if defined(__AVX2__) && !defined(__AVX512F__)
#define BY_FOUR _Pragma("GCC unroll 4") /* steps of the depth: 12 multiply-adds are few for a loop */
#else
#define BY_FOUR
#endif

#define DEFINE_TILE(REAL, NAME)                                                                    \
    typedef REAL NAME##_vec __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL))));     \
    ALWAYS_INLINE void NAME##_body(const int rows, const int vectors, ptrdiff_t depth,             \
                                   const REAL *const *a, ptrdiff_t step, const REAL *b,            \
                                   ptrdiff_t ldb, const REAL *const *start, REAL *const *out)      \
    {                                                                                              \
        const ptrdiff_t lanes = VECTOR_BYTES / sizeof(REAL);                                       \
        NAME##_vec sum[8][TILE_VECTORS], line[TILE_VECTORS];                                       \
        const REAL *row[8];                                                                        \
        UNROLL for (int m = 0; m < rows; m++)                                                      \
            row[m] = a[m];                                                                         \
        ptrdiff_t k = 0, at = 0;                                                                   \
        do {                                                                                       \
            const ptrdiff_t last = depth - k < STRETCH ? depth : k + STRETCH;                      \
            UNROLL for (int m = 0; m < rows; m++)                                                  \
                UNROLL for (int v = 0; v < vectors; v++)                                           \
                    sum[m][v] = (NAME##_vec){0};                                                   \
            BY_FOUR for (; k < last; k++, at += step, b += ldb) {                                  \
                if (BY_LINE(rows, vectors))                                                        \
                    UNROLL for (int v = 0; v < vectors; v++) {                                     \
                        line[v] = *(const volatile NAME##_vec *)(b + v * lanes);                   \
                        UNROLL for (int m = 0; m < rows; m++)                                      \
                            sum[m][v] = ADD_PRODUCT_##REAL(sum[m][v], row[m][at], line[v]);        \
                    }                                                                              \
                else {                                                                             \
                    UNROLL for (int v = 0; v < vectors; v++)                                       \
                        line[v] = *(const NAME##_vec *)(b + v * lanes);                            \
                    UNROLL for (int m = 0; m < rows; m++)                                          \
                        UNROLL for (int v = 0; v < vectors; v++)                                   \
                            sum[m][v] = ADD_PRODUCT_##REAL(sum[m][v], row[m][at], line[v]);        \
                }                                                                                  \
            }                                                                                      \
            UNROLL for (int m = 0; m < rows && start; m++)                                         \
                UNROLL for (int v = 0; v < vectors; v++)                                           \
                    sum[m][v] += *(const NAME##_vec *)(start[m] + v * lanes);                      \
            UNROLL for (int m = 0; m < rows; m++)                                                  \
                UNROLL for (int v = 0; v < vectors; v++)                                           \
                    *(NAME##_vec *)(out[m] + v * lanes) = sum[m][v];                               \
            start = (const REAL *const *)out;                                                      \
        } while (k < depth);                                                                       \
    }

/* One compiled function for each shape of tile, so that its loops unroll. */
#define SHAPE(REAL, NAME, ROWS, VECTORS)                                                           \
    static __attribute__((noinline)) void NAME##_##ROWS##_##VECTORS(                               \
        ptrdiff_t depth, const REAL *const *a, ptrdiff_t step, const REAL *b, ptrdiff_t ldb,       \
        const REAL *const *start, REAL *const *out)                                                \
    {                                                                                              \
        if (ROWS <= TILE_ROWS(VECTORS))                                                            \
            NAME##_body(ROWS, VECTORS, depth, a, step, b, ldb, start, out);                        \
    }
#define SHAPES(REAL, NAME, VECTORS)                                                                \
    SHAPE(REAL, NAME, 1, VECTORS) SHAPE(REAL, NAME, 2, VECTORS)                                    \
    SHAPE(REAL, NAME, 3, VECTORS) SHAPE(REAL, NAME, 4, VECTORS)                                    \
    SHAPE(REAL, NAME, 5, VECTORS) SHAPE(REAL, NAME, 6, VECTORS)                                    \
    SHAPE(REAL, NAME, 7, VECTORS) SHAPE(REAL, NAME, 8, VECTORS)
#define NAMES(NAME, VECTORS)                                                                       \
    {NAME##_1_##VECTORS, NAME##_2_##VECTORS, NAME##_3_##VECTORS, NAME##_4_##VECTORS,               \
     NAME##_5_##VECTORS, NAME##_6_##VECTORS, NAME##_7_##VECTORS, NAME##_8_##VECTORS}

#define DEFINE_TILES(REAL, NAME)                                                                   \
    DEFINE_TILE(REAL, NAME)                                                                        \
    SHAPES(REAL, NAME, 1) SHAPES(REAL, NAME, 2) SHAPES(REAL, NAME, 3) SHAPES(REAL, NAME, 4)        \
    static inline void NAME(int rows, int vectors, ptrdiff_t depth, const REAL *const *a,          \
                            ptrdiff_t step, const REAL *b, ptrdiff_t ldb,                          \
                            const REAL *const *start, REAL *const *out)                            \
    {                                                                                              \
        static void (*const shapes[TILE_VECTORS][8])(                                              \
            ptrdiff_t, const REAL *const *, ptrdiff_t, const REAL *, ptrdiff_t,                    \
            const REAL *const *, REAL *const *) = {                                                \
            NAMES(NAME, 1), NAMES(NAME, 2), NAMES(NAME, 3), NAMES(NAME, 4)};                       \
        shapes[vectors - 1][rows - 1](depth, a, step, b, ldb, start, out);                         \
    }

/* Columns n0 to n1, whole vectors, of out (rows, :) += a (rows, count) times `count` lines of b, which
 * may lie anywhere: for few rows, where reading b takes most of the time.
 *
 * From memory, long streams come fastest: of LINES lines at a time, a vector of each is read for
 * all rows.  Those that are `ahead` are fetched meanwhile, because the processor itself stops
 * doing so at the end of each page.  Any other number of lines is read once for each row, with half as
 * many loads, since the sums stay in registers. */
#define DEFINE_LINES(REAL, NAME)                                                                   \
    ALWAYS_INLINE void NAME##_columns(const int vectors, ptrdiff_t count, ptrdiff_t n,             \
                                      const REAL *a, const REAL *const *b, REAL *out)              \
    {                                                                                              \
        const ptrdiff_t lanes = VECTOR_BYTES / sizeof(REAL);                                       \
        NAME##_vec sum[8];                                                                         \
        UNROLL for (int v = 0; v < vectors; v++)                                                   \
            sum[v] = *(const NAME##_vec *)(out + n + v * lanes);                                   \
        for (ptrdiff_t k = 0; k < count; k++)                                                      \
            UNROLL for (int v = 0; v < vectors; v++)                                               \
                sum[v] = ADD_PRODUCT_##REAL(sum[v], a[k],                                          \
                                            *(const NAME##_vec *)(b[k] + n + v * lanes));          \
        UNROLL for (int v = 0; v < vectors; v++)                                                   \
            *(NAME##_vec *)(out + n + v * lanes) = sum[v];                                         \
    }                                                                                              \
    ALWAYS_INLINE void NAME##_stream(const int vectors, int rows, ptrdiff_t n,                     \
                                     const REAL *const *a, const REAL *const *b, ptrdiff_t ahead,  \
                                     REAL *const *out)                                             \
    {                                                                                              \
        const ptrdiff_t lanes = VECTOR_BYTES / sizeof(REAL);                                       \
        NAME##_vec line[2][LINES];                                                                 \
        UNROLL for (int k = 0; k < LINES; k++) {                                                   \
            for (int c = 0; c < vectors * VECTOR_BYTES; c += 64)                                   \
                PREFETCH((const char *)(b[k] + n + ahead) + c);                                    \
            UNROLL for (int v = 0; v < vectors; v++)                                               \
                line[v][k] = *(const NAME##_vec *)(b[k] + n + v * lanes);                          \
        }                                                                                          \
        for (int m = 0; m < rows; m++)                                                             \
            UNROLL for (int v = 0; v < vectors; v++) {                                             \
                NAME##_vec sum = *(NAME##_vec *)(out[m] + n + v * lanes);                          \
                UNROLL for (int k = 0; k < LINES; k++)                                             \
                    sum = ADD_PRODUCT_##REAL(sum, a[m][k], line[v][k]);                            \
                *(NAME##_vec *)(out[m] + n + v * lanes) = sum;                                     \
            }                                                                                      \
    }                                                                                              \
    static void add_lines_##NAME(int rows, ptrdiff_t count, ptrdiff_t n0, ptrdiff_t n1,            \
                                 const REAL *const *a, const REAL *const *b, ptrdiff_t ahead,      \
                                 REAL *const *out)                                                 \
    {                                                                                              \
        const ptrdiff_t lanes = VECTOR_BYTES / sizeof(REAL);                                       \
        for (int m = 0; m < rows && count != LINES; m++) {                                         \
            ptrdiff_t n = n0;                                                                      \
            for (; n + 8 * lanes <= n1; n += 8 * lanes)                                            \
                NAME##_columns(8, count, n, a[m], b, out[m]);                                      \
            for (; n + 2 * lanes <= n1; n += 2 * lanes)                                            \
                NAME##_columns(2, count, n, a[m], b, out[m]);                                      \
            if (n < n1)                                                                            \
                NAME##_columns(1, count, n, a[m], b, out[m]);                                      \
        }                                                                                          \
        for (; n0 + 2 * lanes <= n1 && rows == 1 && count == LINES; n0 += 2 * lanes)               \
            NAME##_stream(2, 1, n0, a, b, ahead, out);                                             \
        for (; n0 < n1 && count == LINES; n0 += lanes)                                             \
            NAME##_stream(1, rows, n0, a, b, ahead, out);                                          \
    }

DEFINE_TILES(float, tile_f32)
DEFINE_TILES(double, tile_f64)
DEFINE_LINES(float, tile_f32)
DEFINE_LINES(double, tile_f64)
#define tile(rows, vectors, depth, a, step, b, ldb, start, out)                                    \
    EITHER(tile, b)(rows, vectors, depth, a, step, b, ldb, start, out)
#define tile_lines(rows, count, n0, n1, a, b, ahead, out)                                          \
    EITHER(add_lines_tile, *(b))(rows, count, n0, n1, a, b, ahead, out)

/* A transpose is made of squares: to[j * ld + i] = lines[i][start + j], for i and j below SIZE.
 * LOW takes turns with the first halves of two vectors, HIGH with their second halves.  So each round
 * brings together what lay half the lines apart, and after log2(SIZE) rounds all is in place.
 * A line of the cache is read once: where the lines lie a power of two apart, it would not stay. */
#if defined(__clang__) || __GNUC__ >= 12
#define LOW_4 0, 4, 1, 5
#define HIGH_4 2, 6, 3, 7
#define LOW_8 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH_8 4, 12, 5, 13, 6, 14, 7, 15
#define LOW_16 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH_16 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#define DEFINE_SQUARE(REAL, NAME, SIZE)                                                            \
    static inline void NAME(REAL *to, ptrdiff_t ld, const REAL *const *lines, ptrdiff_t start)     \
    {                                                                                              \
        typedef REAL vec __attribute__((vector_size(SIZE * sizeof(REAL)), aligned(sizeof(REAL)))); \
        vec x[SIZE], y[SIZE];                                                                      \
        UNROLL for (int i = 0; i < SIZE; i++)                                                      \
            x[i] = *(const vec *)(lines[i] + start);                                               \
        UNROLL for (int round = 1; round < SIZE; round *= 2) {                                     \
            UNROLL for (int i = 0; i < SIZE / 2; i++) {                                            \
                y[2 * i] = __builtin_shufflevector(x[i], x[i + SIZE / 2], LOW_##SIZE);             \
                y[2 * i + 1] = __builtin_shufflevector(x[i], x[i + SIZE / 2], HIGH_##SIZE);        \
            }                                                                                      \
            UNROLL for (int i = 0; i < SIZE; i++)                                                  \
                x[i] = y[i];                                                                       \
        }                                                                                          \
        UNROLL for (int j = 0; j < SIZE; j++)                                                      \
            *(vec *)(to + j * ld) = x[j];                                                          \
    }
#else
#define DEFINE_SQUARE(REAL, NAME, SIZE)                                                            \
    static inline void NAME(REAL *to, ptrdiff_t ld, const REAL *const *lines, ptrdiff_t start)     \
    {                                                                                              \
        for (int j = 0; j < SIZE; j++)                                                             \
            for (int i = 0; i < SIZE; i++)                                                         \
                to[j * ld + i] = lines[i][start + j];                                              \
    }
#endif

#if defined(__AVX512F__)
#define SQUARE_SIDE(itemsize) (64 / (itemsize))
DEFINE_SQUARE(float, transpose_square_f32, 16)
DEFINE_SQUARE(double, transpose_square_f64, 8)
#else
#define SQUARE_SIDE(itemsize) 4
#define transpose_square_f32 transpose_4x4_f32
#define transpose_square_f64 transpose_4x4_f64
#endif
DEFINE_SQUARE(float, transpose_4x4_f32, 4)
DEFINE_SQUARE(double, transpose_4x4_f64, 4)
#define transpose_4x4(to, ld, lines, start) EITHER(transpose_4x4, to)(to, ld, lines, start)
#define transpose_square(to, ld, lines, start) EITHER(transpose_square, to)(to, ld, lines, start)

#endif
