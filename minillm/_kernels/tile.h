/* The innermost loop of every matrix product here: one tile, held in registers.
 *
 *     out (rows, vectors * LANES)  =  start  +  a (rows, depth)  times  b (depth, vectors * LANES)
 *
 * For each step along the depth it loads one line of b (`vectors` vectors) and
 * one number from each row of a, and does rows * vectors multiply-adds.  A tile
 * of 6 by 4 vectors does 24 of them for 10 loads, and its 24 sums never leave
 * the registers; that is why it runs at the speed of the multipliers, where a
 * plain loop runs at the speed of the loads.
 *
 * Each sum is taken in the order of the depth, in one register, whatever the
 * shape of the tile.  So a number of the product has the same bits however the
 * product was cut: into tiles, into blocks of the depth (where sums are stored
 * and loaded again), or between threads.
 *
 * a, start and out are given as pointers to their rows, which may lie anywhere; no
 * start is a start from zero.  b is best packed: the lines of one panel next to
 * each other, so that they stream.
 *
 * GCC holds the shorter side of the tile in registers by itself, and loads the numbers of the longer
 * one in turn.  clang must be told to, and of 4 by 3 vectors it still puts sums on the stack.
 *
 * GCC's vector extension needs no names of instructions.  In a tile only the fused
 * multiply-add is named: left to itself the compiler fuses in tiles of some
 * shapes and not of others, and the bits would differ.  The sizes below follow
 * the flags that setup.py compiles each twin with.  Other compilers get the
 * plain loop at the end.
 */
#ifndef MINILLM_TILE_H
#define MINILLM_TILE_H
#include <stddef.h>
#include <string.h>

#if defined(__clang__)
#define ROWS_BY_THREE 3
#define ONE_LINE_AT_A_TIME(rows, vectors) ((rows) < (vectors))
#else
#define ROWS_BY_THREE 4
#define ONE_LINE_AT_A_TIME(rows, vectors) 0
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
#elif defined(__aarch64__) && defined(__GNUC__)
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
#endif
#define TILE_VECTORS 4 /* the widest panel */
#define TILE_SIZE (24 * VECTOR_BYTES) /* bytes of the largest tile */

/* Fetch a line of the cache that will be needed in some microseconds. */
#if defined(__GNUC__)
#define PREFETCH(address) __builtin_prefetch(address, 0, 2)
#else
#define PREFETCH(address) ((void)(address))
#endif

#if defined(__GNUC__)

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")

#define DEFINE_TILE(REAL, NAME)                                                                    \
    typedef REAL NAME##_vec __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(REAL))));     \
    ALWAYS_INLINE void NAME##_body(const int rows, const int vectors, ptrdiff_t depth,             \
                                   const REAL *const *a, ptrdiff_t step, const REAL *b,            \
                                   ptrdiff_t ldb, const REAL *const *start, REAL *const *out)      \
    {                                                                                              \
        const ptrdiff_t lanes = VECTOR_BYTES / sizeof(REAL);                                       \
        NAME##_vec sum[8][TILE_VECTORS], line[TILE_VECTORS];                                       \
        const REAL *row[8];                                                                        \
        UNROLL for (int m = 0; m < rows; m++) {                                                    \
            row[m] = a[m];                                                                         \
            UNROLL for (int v = 0; v < vectors; v++)                                               \
                sum[m][v] = start ? *(const NAME##_vec *)(start[m] + v * lanes)                    \
                                  : (NAME##_vec){0};                                               \
        }                                                                                          \
        for (ptrdiff_t k = 0, at = 0; k < depth; k++, at += step, b += ldb) {                      \
            if (ONE_LINE_AT_A_TIME(rows, vectors))                                                 \
                UNROLL for (int v = 0; v < vectors; v++) {                                         \
                    line[v] = *(const NAME##_vec *)(b + v * lanes);                                \
                    UNROLL for (int m = 0; m < rows; m++)                                          \
                        sum[m][v] = ADD_PRODUCT_##REAL(sum[m][v], row[m][at], line[v]);            \
                }                                                                                  \
            else {                                                                                 \
                UNROLL for (int v = 0; v < vectors; v++)                                           \
                    line[v] = *(const NAME##_vec *)(b + v * lanes);                                \
                UNROLL for (int m = 0; m < rows; m++)                                              \
                    UNROLL for (int v = 0; v < vectors; v++)                                       \
                        sum[m][v] = ADD_PRODUCT_##REAL(sum[m][v], row[m][at], line[v]);            \
            }                                                                                      \
        }                                                                                          \
        UNROLL for (int m = 0; m < rows; m++)                                                      \
            UNROLL for (int v = 0; v < vectors; v++)                                               \
                *(NAME##_vec *)(out[m] + v * lanes) = sum[m][v];                                   \
    }

/* One compiled function for each shape of tile, so that its loops unroll. */
#define SHAPE(REAL, NAME, ROWS, VECTORS)                                                           \
    static __attribute__((noinline)) void NAME##_##ROWS##_##VECTORS(                               \
        ptrdiff_t depth, const REAL *const *a, const REAL *b, ptrdiff_t ldb,                       \
        const REAL *const *start, REAL *const *out)                                                \
    {                                                                                              \
        if (ROWS <= TILE_ROWS(VECTORS))                                                            \
            NAME##_body(ROWS, VECTORS, depth, a, 1, b, ldb, start, out);                           \
    }                                                                                              \
    static __attribute__((noinline)) void NAME##_apart_##ROWS##_##VECTORS(                         \
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
                            const REAL *b, ptrdiff_t ldb, const REAL *const *start,                \
                            REAL *const *out)                                                      \
    {                                                                                              \
        static void (*const shapes[TILE_VECTORS][8])(                                              \
            ptrdiff_t, const REAL *const *, const REAL *, ptrdiff_t, const REAL *const *,          \
            REAL *const *) = {                                                                     \
            NAMES(NAME, 1), NAMES(NAME, 2), NAMES(NAME, 3), NAMES(NAME, 4)};                       \
        shapes[vectors - 1][rows - 1](depth, a, b, ldb, start, out);                               \
    }                                                                                              \
    /* The same where the numbers of a row of a lie `step` apart: a may be a transpose */          \
    static inline void NAME##_apart(int rows, int vectors, ptrdiff_t depth, const REAL *const *a,  \
                                    ptrdiff_t step, const REAL *b, ptrdiff_t ldb,                  \
                                    const REAL *const *start, REAL *const *out)                    \
    {                                                                                              \
        static void (*const shapes[TILE_VECTORS][8])(                                              \
            ptrdiff_t, const REAL *const *, ptrdiff_t, const REAL *, ptrdiff_t,                    \
            const REAL *const *, REAL *const *) = {                                                \
            NAMES(NAME##_apart, 1), NAMES(NAME##_apart, 2), NAMES(NAME##_apart, 3),                \
            NAMES(NAME##_apart, 4)};                                                               \
        shapes[vectors - 1][rows - 1](depth, a, step, b, ldb, start, out);                         \
    }

/* out (rows, n) += a (rows, count) times count lines of b, which are read once from end to end:
 * for few rows, where the time is that of reading b, and long streams read fastest.  The next
 * lines are fetched meanwhile, for the processor itself stops doing so at the end of each page. */
#define LINES 8
#define DEFINE_LINES(REAL, NAME)                                                                   \
    ALWAYS_INLINE NAME##_vec NAME##_add_lines(const int count, NAME##_vec sum, const REAL *a,      \
                                              const REAL *const *b, ptrdiff_t j)                   \
    {                                                                                              \
        UNROLL for (int k = 0; k < count; k++)                                                     \
            sum = ADD_PRODUCT_##REAL(sum, a[k], *(const NAME##_vec *)(b[k] + j));                  \
        return sum;                                                                                \
    }                                                                                              \
    ALWAYS_INLINE void NAME##_lines_body(int rows, const int count, ptrdiff_t n,                   \
                                         const REAL *const *a, const REAL *const *b,               \
                                         REAL *const *out)                                         \
    {                                                                                              \
        const ptrdiff_t lanes = VECTOR_BYTES / sizeof(REAL), last = n - lanes;                     \
        ptrdiff_t j = 0;                                                                           \
        const ptrdiff_t ahead = count > 1 ? LINES * (b[1] - b[0]) : 0; /* of the next lines */     \
        for (; j + 2 * lanes <= n && rows == 1; j += 2 * lanes) {                                  \
            UNROLL for (int k = 0; k < count && count > 1; k++)                                    \
                for (int c = 0; c < 2 * VECTOR_BYTES; c += 64)                                     \
                    PREFETCH((const char *)(b[k] + j + ahead) + c);                                \
            NAME##_vec *sum = (NAME##_vec *)(out[0] + j);                                          \
            NAME##_vec one = NAME##_add_lines(count, sum[0], a[0], b, j);                          \
            NAME##_vec two = NAME##_add_lines(count, sum[1], a[0], b, j + lanes);                  \
            sum[0] = one;                                                                          \
            sum[1] = two;                                                                          \
        }                                                                                          \
        for (; j + lanes <= n; j += lanes) {                                                       \
            NAME##_vec line[LINES];                                                                \
            UNROLL for (int k = 0; k < count; k++)                                                 \
                line[k] = *(const NAME##_vec *)(b[k] + j);                                         \
            for (int m = 0; m < rows; m++) {                                                       \
                NAME##_vec sum = *(NAME##_vec *)(out[m] + j);                                      \
                UNROLL for (int k = 0; k < count; k++)                                             \
                    sum = ADD_PRODUCT_##REAL(sum, a[m][k], line[k]);                               \
                *(NAME##_vec *)(out[m] + j) = sum;                                                 \
            }                                                                                      \
        }                                                                                          \
        /* The rest are the end of a vector that overlaps the one before. */                       \
        for (int m = 0; m < rows && j < n && last > 0; m++) {                                      \
            NAME##_vec sum = *(NAME##_vec *)(out[m] + last);                                       \
            sum = NAME##_add_lines(count, sum, a[m], b, last);                                     \
            memcpy(out[m] + j, (char *)&sum + (j - last) * sizeof(REAL), (n - j) * sizeof(REAL));  \
        }                                                                                          \
        for (int m = 0; m < rows && n < lanes; m++) {                                              \
            NAME##_vec sum = {0}, line = {0};                                                      \
            memcpy(&sum, out[m], n * sizeof(REAL));                                                \
            for (int k = 0; k < count; k++) {                                                      \
                memcpy(&line, b[k], n * sizeof(REAL));                                             \
                sum = ADD_PRODUCT_##REAL(sum, a[m][k], line);                                      \
            }                                                                                      \
            memcpy(out[m], &sum, n * sizeof(REAL));                                                \
        }                                                                                          \
    }                                                                                              \
    static void NAME##_lines(int rows, int count, ptrdiff_t n, const REAL *const *a,               \
                             const REAL *const *b, REAL *const *out)                               \
    {                                                                                              \
        if (count == LINES)                                                                        \
            NAME##_lines_body(rows, LINES, n, a, b, out);                                          \
        else                                                                                       \
            for (int k = 0; k < count; k++, b++) {                                                 \
                const REAL *a_k[8];                                                                \
                for (int m = 0; m < rows; m++)                                                     \
                    a_k[m] = a[m] + k;                                                             \
                NAME##_lines_body(rows, 1, n, a_k, b, out);                                        \
            }                                                                                      \
    }

/* out (n) += a (count) times columns of `count` lines of b: for one row, where b comes from a cache.  Half
 * as many loads as of whole lines, since the sums stay in registers; but memory gives long streams fastest. */
#define DEFINE_ROW(REAL, NAME)                                                                     \
    ALWAYS_INLINE void NAME##_row_body(const int vectors, ptrdiff_t count, const REAL *a,          \
                                       const REAL *const *b, ptrdiff_t j, REAL *out)               \
    {                                                                                              \
        const ptrdiff_t lanes = VECTOR_BYTES / sizeof(REAL);                                       \
        NAME##_vec sum[8];                                                                         \
        UNROLL for (int v = 0; v < vectors; v++)                                                   \
            sum[v] = *(const NAME##_vec *)(out + v * lanes);                                       \
        for (ptrdiff_t k = 0; k < count; k++)                                                      \
            UNROLL for (int v = 0; v < vectors; v++)                                               \
                sum[v] = ADD_PRODUCT_##REAL(sum[v], a[k],                                          \
                                            *(const NAME##_vec *)(b[k] + j + v * lanes));          \
        UNROLL for (int v = 0; v < vectors; v++)                                                   \
            *(NAME##_vec *)(out + v * lanes) = sum[v];                                             \
    }                                                                                              \
    static void NAME##_row(ptrdiff_t count, ptrdiff_t n, const REAL *a, const REAL *const *b,      \
                           ptrdiff_t first, REAL *out)                                             \
    {                                                                                              \
        const ptrdiff_t lanes = VECTOR_BYTES / sizeof(REAL);                                       \
        ptrdiff_t j = 0;                                                                           \
        for (; j + 8 * lanes <= n; j += 8 * lanes)                                                 \
            NAME##_row_body(8, count, a, b, first + j, out + j);                                   \
        for (; j + 2 * lanes <= n; j += 2 * lanes)                                                 \
            NAME##_row_body(2, count, a, b, first + j, out + j);                                   \
        for (; j + lanes <= n; j += lanes)                                                         \
            NAME##_row_body(1, count, a, b, first + j, out + j);                                   \
        if (j < n) { /* the rest: in a vector, too, so that the sums are the same */               \
            NAME##_vec sum = {0}, line = {0};                                                      \
            memcpy(&sum, out + j, (n - j) * sizeof(REAL));                                         \
            for (ptrdiff_t k = 0; k < count; k++) {                                                \
                memcpy(&line, b[k] + first + j, (n - j) * sizeof(REAL));                           \
                sum = ADD_PRODUCT_##REAL(sum, a[k], line);                                         \
            }                                                                                      \
            memcpy(out + j, &sum, (n - j) * sizeof(REAL));                                         \
        }                                                                                          \
    }

#else

#define LINES 8
#define DEFINE_LINES(REAL, NAME)                                                                   \
    static void NAME##_lines(int rows, int count, ptrdiff_t n, const REAL *const *a,               \
                             const REAL *const *b, REAL *const *out)                               \
    {                                                                                              \
        for (int m = 0; m < rows; m++)                                                             \
            for (int k = 0; k < count; k++)                                                        \
                for (ptrdiff_t j = 0; j < n; j++)                                                  \
                    out[m][j] += a[m][k] * b[k][j];                                                \
    }

#define DEFINE_ROW(REAL, NAME)                                                                     \
    static void NAME##_row(ptrdiff_t count, ptrdiff_t n, const REAL *a, const REAL *const *b,      \
                           ptrdiff_t first, REAL *out)                                             \
    {                                                                                              \
        for (ptrdiff_t k = 0; k < count; k++)                                                      \
            for (ptrdiff_t j = 0; j < n; j++)                                                      \
                out[j] += a[k] * b[k][first + j];                                                  \
    }

#define DEFINE_TILES(REAL, NAME)                                                                   \
    static void NAME##_apart(int rows, int vectors, ptrdiff_t depth, const REAL *const *a,         \
                             ptrdiff_t step, const REAL *b, ptrdiff_t ldb,                         \
                             const REAL *const *start, REAL *const *out)                           \
    {                                                                                              \
        const ptrdiff_t width = vectors * (ptrdiff_t)(VECTOR_BYTES / sizeof(REAL));                \
        for (int m = 0; m < rows; m++)                                                             \
            for (ptrdiff_t j = 0; j < width; j++)                                                  \
                out[m][j] = start ? start[m][j] : 0;                                               \
        for (ptrdiff_t k = 0; k < depth; k++, b += ldb)                                            \
            for (int m = 0; m < rows; m++)                                                         \
                for (ptrdiff_t j = 0; j < width; j++)                                              \
                    out[m][j] += a[m][k * step] * b[j];                                            \
    }                                                                                              \
    static void NAME(int rows, int vectors, ptrdiff_t depth, const REAL *const *a, const REAL *b,  \
                     ptrdiff_t ldb, const REAL *const *start, REAL *const *out)                    \
    {                                                                                              \
        NAME##_apart(rows, vectors, depth, a, 1, b, ldb, start, out);                              \
    }

#endif

DEFINE_TILES(float, tile_f32)
DEFINE_TILES(double, tile_f64)
DEFINE_LINES(float, tile_f32)
DEFINE_LINES(double, tile_f64)
DEFINE_ROW(float, tile_f32)
DEFINE_ROW(double, tile_f64)

/* A transpose is made of squares: to[j * ld + i] = lines[i][start + j], for i and j below 4 or below
 * SQUARE.  4 by 4 is two rounds of shuffles in vectors of four numbers. */
static inline void transpose_4x4_f32(float *to, ptrdiff_t ld, const float *const *lines,
                                     ptrdiff_t start)
{
#if defined(__GNUC__) && (__GNUC__ >= 12 || defined(__clang__))
    typedef float four __attribute__((vector_size(16), aligned(4)));
    const four a = *(const four *)(lines[0] + start), b = *(const four *)(lines[1] + start);
    const four c = *(const four *)(lines[2] + start), d = *(const four *)(lines[3] + start);
    const four ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
    const four cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5);
    const four ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    const four cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    *(four *)to = __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5);
    *(four *)(to + ld) = __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7);
    *(four *)(to + 2 * ld) = __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5);
    *(four *)(to + 3 * ld) = __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7);
#else
    for (int j = 0; j < 4; j++)
        for (int i = 0; i < 4; i++)
            to[j * ld + i] = lines[i][start + j];
#endif
}

/* A wider vector holds quarters of four numbers.  The same two rounds transpose each quarter by
 * itself, and then whole quarters change places.  A line of the cache is read once: where the lines
 * lie a power of two apart, it would not stay for a second time. */
#if defined(__AVX512F__)
#define SQUARE 16
#define WIDE(NAME) _mm512_##NAME##_ps
static inline void store_quarters(float *to, ptrdiff_t ld, const __m512 *x)
{
    for (int j = 0; j < 4; j++) {
        const __m512 ab_even = _mm512_shuffle_f32x4(x[j], x[j + 4], 0x88);
        const __m512 ab_odd = _mm512_shuffle_f32x4(x[j], x[j + 4], 0xDD);
        const __m512 cd_even = _mm512_shuffle_f32x4(x[j + 8], x[j + 12], 0x88);
        const __m512 cd_odd = _mm512_shuffle_f32x4(x[j + 8], x[j + 12], 0xDD);
        _mm512_storeu_ps(to + j * ld, _mm512_shuffle_f32x4(ab_even, cd_even, 0x88));
        _mm512_storeu_ps(to + (j + 4) * ld, _mm512_shuffle_f32x4(ab_odd, cd_odd, 0x88));
        _mm512_storeu_ps(to + (j + 8) * ld, _mm512_shuffle_f32x4(ab_even, cd_even, 0xDD));
        _mm512_storeu_ps(to + (j + 12) * ld, _mm512_shuffle_f32x4(ab_odd, cd_odd, 0xDD));
    }
}
#elif defined(__AVX2__)
#define SQUARE 8
#define WIDE(NAME) _mm256_##NAME##_ps
static inline void store_quarters(float *to, ptrdiff_t ld, const __m256 *x)
{
    for (int j = 0; j < 4; j++) {
        _mm256_storeu_ps(to + j * ld, _mm256_permute2f128_ps(x[j], x[j + 4], 0x20));
        _mm256_storeu_ps(to + (j + 4) * ld, _mm256_permute2f128_ps(x[j], x[j + 4], 0x31));
    }
}
#else
#define SQUARE 4
#endif

static inline void transpose_square_f32(float *to, ptrdiff_t ld, const float *const *lines,
                                        ptrdiff_t start)
{
#if defined(WIDE)
    __typeof__(WIDE(setzero)()) x[SQUARE];
    for (int i = 0; i < SQUARE; i += 4) {
        x[i] = WIDE(loadu)(lines[i] + start), x[i + 1] = WIDE(loadu)(lines[i + 1] + start);
        x[i + 2] = WIDE(loadu)(lines[i + 2] + start), x[i + 3] = WIDE(loadu)(lines[i + 3] + start);
        const __typeof__(x[0]) ab_low = WIDE(unpacklo)(x[i], x[i + 1]);
        const __typeof__(x[0]) ab_high = WIDE(unpackhi)(x[i], x[i + 1]);
        const __typeof__(x[0]) cd_low = WIDE(unpacklo)(x[i + 2], x[i + 3]);
        const __typeof__(x[0]) cd_high = WIDE(unpackhi)(x[i + 2], x[i + 3]);
        x[i] = WIDE(shuffle)(ab_low, cd_low, 0x44), x[i + 1] = WIDE(shuffle)(ab_low, cd_low, 0xEE);
        x[i + 2] = WIDE(shuffle)(ab_high, cd_high, 0x44);
        x[i + 3] = WIDE(shuffle)(ab_high, cd_high, 0xEE);
    }
    store_quarters(to, ld, x);
#else
    transpose_4x4_f32(to, ld, lines, start);
#endif
}

static inline void transpose_4x4_f64(double *to, ptrdiff_t ld, const double *const *lines,
                                     ptrdiff_t start)
{
    for (int j = 0; j < 4; j++)
        for (int i = 0; i < 4; i++)
            to[j * ld + i] = lines[i][start + j];
}

static inline void transpose_square_f64(double *to, ptrdiff_t ld, const double *const *lines,
                                        ptrdiff_t start)
{
    for (int i = 0; i < SQUARE; i += 4)
        for (int j = 0; j < SQUARE; j += 4)
            transpose_4x4_f64(to + j * ld + i, ld, lines + i, start + j);
}

#endif
