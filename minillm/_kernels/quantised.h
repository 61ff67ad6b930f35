/* Products of rounded activations and quantised weights: the innermost loops.
 *
 * A panel has 16 outputs.  The codes of 4 inputs for each of them are 64 bytes, which AVX-512 multiplies
 * by the activations of these 4 inputs, and adds up, in one instruction (VNNI).  A tile is some rows of
 * activations times one panel:
 *
 *     for each block:    sum = -zero (sum of a) + sum of q a              integers
 *                        y += sum (s t),  and  y += m (t (sum of a))      floats
 *
 * Codes of fewer bits than 8 lie in planes of 4, 2 and 1 bits (quantised/planes.py): 5 bits are 4 + 1.  A
 * line of a plane of p bits has 64 bytes, each with p bits of 8 / p codes.  The same bits of all bytes are
 * one word, 4 inputs: a shift and a mask take it out of the line, and an OR joins the bits of two planes.
 * For one row, reading the codes takes most of the time; they lie in the order in which they are read.  For
 * many rows, the multipliers do.
 *
 * A code of 4 bits may stand for one of 16 levels of 8 bits, which a shuffle of bytes looks up.
 *
 * Blocks with a large t are rounded twice (quantised/codes.py).  What the first rounding left of them is
 * multiplied afterwards, block after block: the rows that have such a block, which may lie anywhere, are divided
 * into tiles.  These are some tenth of all products.  They go to a panel of sums that lies in one piece: the rows of
 * y may be 4096 bytes apart, or a multiple of it, where the first cache has place for 8 or 12 of them.
 *
 * The integers are exact, and the floats are added in the order of the blocks: first all, then what was left.
 * So a number has the same bits whatever the shape of the tile, the number of threads and the instructions that
 * multiply.
 *
 * quantised_tile.h has the tile, with ADD_DOTS for the products of bytes:
 *
 *     vnni     AVX512-VNNI: 64 products of bytes, chosen when the program runs
 *     usual    SSE2, AVX-512: codes and activations as pairs of 16 bits, multiplied and added;
 *              AVX2: 32 products of bytes, added in pairs to sums of 16 bits, as many as these hold;
 *              pairs of 16 bits where codes have 8 and rows are many;
 *              NEON: codes as signed bytes, products of 16 bits, or its own dot products of bytes;
 *              other machines: vectors of C
 */
#ifndef MINILLM_QUANTISED_H
#define MINILLM_QUANTISED_H
#include <math.h>
#include <stdint.h>
#include "tile.h"

enum {
    PANEL = 16,  /* outputs */
    BLOCK = 32,  /* inputs that have one t */
    WORDS = 8,   /* of 4 inputs each, in a block */
    SUPER = 8,   /* blocks whose scales have one factor */
    AHEAD = 8192, /* bytes of codes that are fetched ahead */
};

typedef struct { /* outputs that have one format */
    const uint8_t *codes;
    const void *scale, *offset; /* float16, or integers of 8 bits; offset may be NULL */
    const uint16_t *d, *e;      /* the factors of such integers, or NULL */
    const uint8_t *levels;      /* of the 16 codes of 4 bits, or NULL */
    int bits, words;            /* words that have one scale */
    int zero;
    ptrdiff_t outputs;
} Format;

/* The formats that have a kernel: bits, words, whether scales have factors, whether codes have levels. */
#define EACH_FORMAT(DO)                                                                            \
    DO(8, 8, 0, 0) DO(5, 8, 0, 0) DO(4, 8, 0, 0) DO(4, 8, 0, 1)                                    \
    DO(6, 4, 1, 0) DO(5, 8, 1, 0) DO(4, 8, 1, 0) DO(4, 8, 1, 1) DO(3, 4, 1, 0) DO(2, 4, 1, 0)
#define IS_FORMAT(f, BITS, EACH, FACTORS, LEVELS)                                                  \
    ((f)->bits == BITS && (f)->words == EACH && !(f)->d == !FACTORS && !(f)->levels == !LEVELS)

static inline int is_known(const Format *f)
{
#define OR_THIS(BITS, EACH, FACTORS, LEVELS) || IS_FORMAT(f, BITS, EACH, FACTORS, LEVELS)
    return 0 EACH_FORMAT(OR_THIS);
#undef OR_THIS
}

typedef struct { /* rows of activations, rounded for one matrix: tiles of them, by block, word and row */
    int32_t *a;
    float *t;       /* by block and row */
    int32_t *start; /* -zero (sum of a), by scale and row, of each part */
    float *total;   /* t (sum of a) */
} Rows;

typedef struct { /* what the first rounding left of M rows: by block, tiles of the rows that have it rounded twice */
    Rows rows;
    double *least;  /* (M,) t^2 above which a block is rounded twice */
    int32_t *count; /* of each block: the rows that have it */
    int32_t *which; /* (blocks, M) these rows */
} Rest;

typedef void Tile(const Format *f, ptrdiff_t blocks, ptrdiff_t panel, const Rows *x, float *y);
typedef void Rests(const Format *f, ptrdiff_t blocks, ptrdiff_t panel, ptrdiff_t M, const Rest *rest, float *y);

static int has_dot_products; /* set when the module is imported */

/* A float16 as a float.  A multiplication corrects the exponent, also of subnormal numbers; infinity
 * and NaN, whose exponent would become 16, get the largest one. */
static inline float from_half(uint16_t half)
{
    uint32_t bits = (uint32_t)(half & 0x7FFF) << 13, sign = (uint32_t)(half & 0x8000) << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    x *= 5.192296858534828e33f; /* 2^112 */
    memcpy(&bits, &x, sizeof x);
    bits |= sign | (x >= 65536.0f ? 0x7F800000 : 0);
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The scale of a word of an output, or its offset. */
static inline float scale_at(const Format *f, const void *scales, const uint16_t *factors, ptrdiff_t blocks,
                             ptrdiff_t output, ptrdiff_t word)
{
    const ptrdiff_t panel = output / PANEL, place = output % PANEL;
    const ptrdiff_t at = (panel * (blocks * WORDS / f->words) + word / f->words) * PANEL + place;
    if (!factors)
        return from_half(((const uint16_t *)scales)[at]);
    const ptrdiff_t of_factor = (panel * (blocks / SUPER) + word / (WORDS * SUPER)) * PANEL + place;
    return from_half(factors[of_factor]) * (float)((const int8_t *)scales)[at];
}

/* The bits of a code's first plane; the others are in the second one. */
#define LOW_BITS(bits) ((bits) == 8 ? 8 : (bits) >= 4 ? 4 : 2)

/* The code of input 4 word + i, or its level; `codes` are a panel's from the first one of the output on. */
static inline int code_at(const Format *f, const uint8_t *codes, ptrdiff_t word, int i)
{
    const uint8_t *lines = codes + word / WORDS * f->bits * 4 * PANEL + i;
    const int w = word % WORDS, low = LOW_BITS(f->bits), high = f->bits - low;
    int code = lines[4 * PANEL * (w % low)] >> low * (w / low) & ((1 << low) - 1);
    if (high)
        code |= (lines[4 * PANEL * (low + w % high)] >> high * (w / high) & ((1 << high) - 1)) << low;
    return f->levels ? f->levels[code] : code;
}

/* MOST_ROWS: of a tile.  A_WORDS: of activations for each 4 inputs.  LEAST_CODE: the least code of 8 bits, or
 * the least level, as the tile takes it. */
#if defined(__SSE2__)
#include <immintrin.h>
#endif

typedef int32_t ints __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
typedef float floats __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
typedef uint32_t bytes __attribute__((vector_size(VECTOR_BYTES), aligned(1), may_alias));
typedef uint16_t shorts __attribute__((vector_size(VECTOR_BYTES / 2), aligned(2), may_alias));
typedef int8_t chars __attribute__((vector_size(VECTOR_BYTES / 4), aligned(1), may_alias));
enum {
    LANES_OF_TILE = VECTOR_BYTES / 4,
    VECTORS = VECTOR_BYTES == 32 ? 2 : 1, /* of outputs, at a time: two share the activations that are loaded */
};
#if defined(__clang__) /* it ignores GCC's pragma, and a tile of 4 rows then takes twice the time */
#define UNROLL_ALL _Pragma("clang loop unroll(full)")
#else
#define UNROLL_ALL _Pragma("GCC unroll 16")
#endif
#define FOR_ROWS UNROLL_ALL for (int r = 0; r < rows; r++)
#define FOR_VECTORS UNROLL_ALL for (int v = 0; v < VECTORS; v++)
#define FOR_TILE FOR_ROWS FOR_VECTORS

/* float16 of some outputs as floats: as from_half does it. */
ALWAYS_INLINE floats vector_from_halves(const uint16_t *halves)
{
#if defined(__F16C__) && !defined(__AVX512F__)
    return (floats)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)halves));
#endif
    const bytes half = __builtin_convertvector(*(const shorts *)halves, bytes);
    const floats size = (floats)((half & 0x7FFF) << 13) * 5.192296858534828e33f;
    const bytes not_finite = (bytes)(size >= 65536.0f) & 0x7F800000;
    return (floats)((bytes)size | not_finite | (half & 0x8000) << 16);
}

/* Integers of 8 bits of some outputs as floats; GCC would convert one after the other. */
ALWAYS_INLINE floats vector_from_integers(const int8_t *integers)
{
#if defined(__AVX512F__)
    return (floats)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)integers)));
#elif defined(__AVX2__)
    return (floats)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)integers)));
#elif defined(__SSE2__) /* four copies of each, whose highest one is kept */
    int32_t four;
    memcpy(&four, integers, sizeof four);
    __m128i each = _mm_cvtsi32_si128(four);
    each = _mm_unpacklo_epi8(each, each);
    return (floats)_mm_cvtepi32_ps(_mm_srai_epi32(_mm_unpacklo_epi16(each, each), 24));
#else
    return __builtin_convertvector(*(const chars *)integers, floats);
#endif
}

/* Scales, or offsets, of some outputs. */
ALWAYS_INLINE floats vector_of_scales(const int factors, const void *scales, floats factor, ptrdiff_t i)
{
    if (factors)
        return factor * vector_from_integers((const int8_t *)scales + i);
    return vector_from_halves((const uint16_t *)scales + i);
}

/* A mask of the lowest bits of each byte. */
#define LOWEST(bits) ((bits) == 8 ? ~0u : 0x01010101u * ((1u << (bits)) - 1))

/* The codes of a word of a block, for some outputs of a panel. */
ALWAYS_INLINE bytes codes_of_word(const int bits, const uint8_t *block, const int word)
{
    const int low = LOW_BITS(bits), high = bits - low;
    const bytes line = *(const bytes *)(block + 4 * PANEL * (word % low));
    const bytes code = line >> low * (word / low) & LOWEST(low);
    if (!high)
        return code;
    const bytes above = *(const bytes *)(block + 4 * PANEL * (low + word % high));
    const int down = high * (word / high) - low; /* to their place above the low bits */
    return code | ((down > 0 ? above >> down : above << -down) & LOWEST(high) << low);
}

/* ADD_DOTS adds the products of one word to a sum, which has room for WORDS_OF_SUM words.  SUM_OF starts
 * such a sum, and WITH_SUM adds it to all dots.  SIGNED: whether codes, or levels, have 8 bits. */
#define SIGNED(bits, levels) ((bits) == 8 || (levels))

#if defined(__AVX512F__)
#define MOST_ROWS 12
#elif defined(__aarch64__)
#define MOST_ROWS 8
#else
#define MOST_ROWS 4
#endif

/* How many rows the next tile has, of `rows` that are left. */
static inline int tile_rows(ptrdiff_t rows)
{
    return rows >= MOST_ROWS ? MOST_ROWS : rows >= 4 ? 4 : rows >= 2 ? 2 : 1;
}

/* The activations of a tile, which begins after some blocks of rows. */
static inline Rows rows_from(const Rows *x, ptrdiff_t blocks, int words, int a_words)
{
    const ptrdiff_t scales = blocks * (WORDS / words);
    return (Rows){x->a + blocks * WORDS * a_words, x->t + blocks, x->start + scales, x->total + scales};
}

#if defined(__AVX512F__)
#define MULTIPLY_ADD(sum, x, y) (floats)_mm512_fmadd_ps((__m512)(x), (__m512)(y), (__m512)(sum))
#define MULTIPLY_PAIRS(w, a) (ints)_mm512_madd_epi16((__m512i)(w), _mm512_set1_epi32(a))
#define ODD_BYTES(w) _mm512_srli_epi16((__m512i)(w), 8)
#define LOOK_UP(levels, codes)                                                                     \
    (bytes)_mm512_shuffle_epi8(                                                                    \
        _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(levels))), (__m512i)(codes))
#if __clang_major__ >= 7 || __GNUC__ >= 8
#define HAS_VNNI
BEGIN_TARGET("avx512vnni")
#define VARIANT(name) vnni_##name
#define A_WORDS 1
#define WORDS_OF_SUM(bits, levels) WORDS
#define SUM_OF(dots) (dots)
#define WITH_SUM(dots, sum) (sum)
#define ADD_DOTS(is_signed, sum, w, a)                                                             \
    (ints)_mm512_dpbusd_epi32((__m512i)(sum), (__m512i)(w), _mm512_set1_epi32((a)[0]))
#include "quantised_tile.h"
#undef VARIANT
#undef A_WORDS
#undef WORDS_OF_SUM
#undef SUM_OF
#undef WITH_SUM
#undef ADD_DOTS
END_TARGET
#endif
#elif defined(__AVX2__)
#define STRIP 16 /* blocks: 8 kB of codes as bytes, or 16 kB as pairs */
#define MULTIPLY_ADD(sum, x, y) (floats)_mm256_fmadd_ps((__m256)(x), (__m256)(y), (__m256)(sum))
#define LOOK_UP(levels, codes)                                                                     \
    (bytes)_mm256_shuffle_epi8(                                                                    \
        _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(levels))), (__m256i)(codes))
#elif defined(__aarch64__)
#define MULTIPLY_ADD(sum, x, y)                                                                    \
    (floats)vfmaq_f32((float32x4_t)(sum), (float32x4_t)(x), (float32x4_t)(y))
#define LOOK_UP(levels, codes) (bytes)vqtbl1q_u8(vld1q_u8(levels), (uint8x16_t)(codes))
#else
#define MULTIPLY_ADD(sum, x, y) ((sum) + (x) * (y))
#define MULTIPLY_PAIRS(w, a) (ints)_mm_madd_epi16((__m128i)(w), _mm_set1_epi32(a))
#define ODD_BYTES(w) _mm_srli_epi16((__m128i)(w), 8)
#define LOOK_UP(levels, codes) look_up(levels, codes)
ALWAYS_INLINE bytes look_up(const uint8_t *levels, bytes codes) /* it has no shuffle of bytes */
{
    typedef uint8_t octets __attribute__((vector_size(VECTOR_BYTES)));
    octets found = {0};
    UNROLL_ALL for (int i = 0; i < 16; i++)
        found |= (octets)((octets)codes == (uint8_t)i) & levels[i];
    return (bytes)found;
}
#endif

#define VARIANT(name) usual_##name
#if defined(__AVX2__) && !defined(__AVX512F__)
/* One word adds at most 2 * 127 times the largest code to a sum: 8 words stay below 2^15 with 4 bits, 4 with 5,
 * 2 with 6, and 1 with 8.  One factor of the instruction has no sign, so with 8 bits w a = |w| (a sign(w)), where
 * sums of 16 bits hold one word alone.  In a strip, such codes and their activations are WIDE: pairs of 16 bits. */
#define A_WORDS 1
#define LEAST_CODE -128
#define WORDS_OF_SUM(bits, levels)                                                                 \
    ((bits) == 6 ? 2 : (bits) == 5 ? 4 : WORDS)
#define SUM_OF(dots) (SIGNED(bits, levels) ? (dots) : (ints){0})
#define WITH_SUM(dots, sum) (SIGNED(bits, levels) ? (sum) : with_pairs(dots, (__m256i)(sum)))
#define WIDE 2
#define ADD_DOTS(is_signed, sum, w, a) add_dots(is_signed, sum, w, _mm256_set1_epi32((a)[0]))
ALWAYS_INLINE ints in_order(ints sum) /* or GCC adds up in pairs, and keeps the products of all words on the stack */
{
    __asm__("" : "+x"(sum));
    return sum;
}
ALWAYS_INLINE ints with_pairs(ints dots, __m256i sum)
{
    return in_order(dots + (ints)_mm256_madd_epi16(sum, _mm256_set1_epi16(1)));
}
ALWAYS_INLINE ints add_dots(const int is_signed, ints sum, bytes w, __m256i a)
{
    if (is_signed == WIDE)
        return in_order(sum + (ints)_mm256_madd_epi16((__m256i)w, a));
    const __m256i less = (__m256i)(w ^ 0x80808080u); /* w - 128 */
    if (is_signed)
        return with_pairs(sum, _mm256_maddubs_epi16(_mm256_abs_epi8(less), _mm256_sign_epi8(a, less)));
    return in_order((ints)_mm256_add_epi16((__m256i)sum, _mm256_maddubs_epi16((__m256i)w, a)));
}
#else
#define WORDS_OF_SUM(bits, levels) WORDS
#define SUM_OF(dots) (dots)
#define WITH_SUM(dots, sum) (sum)
#if defined(__SSE2__) /* of 4 inputs, the first and the third are a pair of 16 bits, the others another one */
#define A_WORDS 2
#define LEAST_CODE 0
#define ADD_DOTS(is_signed, sum, w, a)                                                             \
    ((sum) + MULTIPLY_PAIRS((w) & 0x00FF00FFu, (a)[0]) + MULTIPLY_PAIRS(ODD_BYTES(w), (a)[1]))
#elif defined(__aarch64__)
#define A_WORDS 1
#define LEAST_CODE -128 /* of 8 bits: the highest bit is changed */
#define ADD_DOTS(is_signed, sum, w, a)                                                             \
    (ints)add_signed_dots((int32x4_t)(sum), (int8x16_t)((w) ^ ((is_signed) ? 0x80808080u : 0)),    \
                          (int8x16_t)vdupq_n_s32((a)[0]))
ALWAYS_INLINE int32x4_t add_signed_dots(int32x4_t sum, int8x16_t w, int8x16_t a)
{
#if defined(__ARM_FEATURE_DOTPROD)
    return vdotq_s32(sum, w, a);
#else /* -128 * -127 + 127 * 127 is a number of 16 bits: a is never -128 */
    const int16x8_t low = vmull_s8(vget_low_s8(w), vget_low_s8(a));
    const int16x8_t high = vmull_s8(vget_high_s8(w), vget_high_s8(a));
    return vpadalq_s16(sum, vpaddq_s16(low, high));
#endif
}
#else
#define A_WORDS 1
#define LEAST_CODE 0
#define ADD_DOTS(is_signed, sum, w, a) add_byte_by_byte(sum, w, (a)[0])
ALWAYS_INLINE ints add_byte_by_byte(ints sum, bytes w, int32_t a)
{
    for (int shift = 0; shift < 32; shift += 8)
        sum += (ints)(w >> shift & 0xFF) * (int8_t)(a >> shift);
    return sum;
}
#endif
#endif
#include "quantised_tile.h"

#if defined(HAS_VNNI)
#define CHOOSE(vnni, usual) (has_dot_products ? (vnni) : (usual))
#else
#define CHOOSE(vnni, usual) (usual)
#endif

static inline int a_words(void) { return CHOOSE(1, A_WORDS); }

#if defined(STRIP)
/* The bytes of some words as numbers of 16 bits: first and third, and `odd` bytes after them second and fourth. */
ALWAYS_INLINE void widen(bytes line, uint8_t *to, ptrdiff_t odd)
{
    typedef int16_t numbers __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
    *(numbers *)to = (numbers)line << 8 >> 8;
    *(numbers *)(to + odd) = (numbers)line >> 8;
}

ALWAYS_INLINE void unpack(const int bits, const int levels, const Format *f, ptrdiff_t from, ptrdiff_t blocks,
                          uint8_t *to)
{
    const int wide = SIGNED(bits, levels);
    for (ptrdiff_t i = 0; i < blocks * PANEL; i += LANES_OF_TILE) {
        const ptrdiff_t b = i / PANEL, n = i % PANEL;
        UNROLL_ALL for (int word = 0; word < WORDS; word++) {
            const bytes line = codes_of_word(bits, f->codes + ((from + b) * bits * PANEL + n) * 4, word);
            if (wide)
                widen((levels ? LOOK_UP(f->levels, line) : line) ^ 0x80808080u,
                      to + ((2 * (b * WORDS + (word & ~1)) + (word & 1)) * PANEL + n) * 4, 2 * PANEL * 4);
            else
                *(bytes *)(to + ((b * WORDS + word) * PANEL + n) * 4) = line;
        }
    }
}

/* Many rows pass over a panel by strips of some blocks, whose codes are taken out of their planes once, to bytes in
 * the first cache, or to pairs: two instructions for 16 products, instead of four and more for 32, most of which
 * wait for the same two units of the processor. */
#define MULTIPLY_IF(BITS, EACH, FACTORS, LEVELS)                                                   \
    if (IS_FORMAT(f, BITS, EACH, FACTORS, LEVELS)) {                                               \
        unpack(BITS, LEVELS, f, panel * blocks + first, last - first, strip);                      \
        for (ptrdiff_t m = 0; m < M; m += MOST_ROWS) {                                             \
            Rows tile = rows_from(x, m * blocks + first * MOST_ROWS, EACH, A_WORDS);               \
            for (ptrdiff_t b = 0; b < last - first && SIGNED(BITS, LEVELS); b++)                   \
                UNROLL_ALL for (int i = 0; i < WORDS * MOST_ROWS; i += LANES_OF_TILE)              \
                    widen(*(const bytes *)(tile.a + b * WORDS * MOST_ROWS + i),                    \
                          pairs + (b * WORDS * MOST_ROWS + i) * 8, VECTOR_BYTES);                  \
            if (SIGNED(BITS, LEVELS))                                                              \
                tile.a = (int32_t *)pairs;                                                         \
            usual_body(MOST_ROWS, BITS, EACH, FACTORS, LEVELS, strip, first, last, f, blocks,      \
                       panel, &tile, y + m * PANEL);                                               \
        }                                                                                          \
    }
static __attribute__((noinline)) void multiply_strip(const Format *f, ptrdiff_t blocks, ptrdiff_t panel,
                                                     ptrdiff_t first, ptrdiff_t last, ptrdiff_t M, const Rows *x,
                                                     float *y)
{
    uint8_t strip[2 * STRIP * WORDS * 4 * PANEL], pairs[2 * STRIP * BLOCK * MOST_ROWS];
    EACH_FORMAT(MULTIPLY_IF)
}
#endif

/* M rows, and what the first rounding left of them, times one panel: y (M, PANEL). */
static void quantised_panel(const Format *f, ptrdiff_t blocks, ptrdiff_t panel, ptrdiff_t M, const Rows *x,
                            const Rest *rest, float *y)
{
    Tile *tiles[4];
    Rests *rests = CHOOSE(vnni_functions, usual_functions)(f, tiles);
    ptrdiff_t m = 0;
#if defined(STRIP)
    m = M < 2 * MOST_ROWS ? 0 : M - M % MOST_ROWS;
    for (ptrdiff_t first = 0; first < blocks && m > 0; first += STRIP)
        multiply_strip(f, blocks, panel, first, blocks - first < STRIP ? blocks : first + STRIP, m, x, y);
#endif
    for (int rows; m < M; m += rows) {
        rows = tile_rows(M - m);
        const Rows tile = rows_from(x, m * blocks, f->words, a_words());
        tiles[rows == 1 ? 0 : rows == 2 ? 1 : rows == 4 ? 2 : 3](f, blocks, panel, &tile, y + m * PANEL);
    }
    rests(f, blocks, panel, M, rest, y);
}

/* --- the activations ------------------------------------------------------------- */

/* One block of a row: 32 integers, their sums by halves, and t.  (x / t is rounded to the nearest
 * integer, of two to the even one, by adding a number so large that no fraction is left.) */
static float round_block(const float *x, int8_t *a, int32_t *sums)
{
    int32_t largest_bits = 0; /* of |x|: floats without a sign are in the order of their bits */
    for (int i = 0; i < BLOCK; i++) {
        int32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7FFFFFFF;
        largest_bits = bits > largest_bits ? bits : largest_bits;
    }
    const int finite = largest_bits < 0x7F800000; /* neither infinity nor NaN */
    float largest;
    memcpy(&largest, &largest_bits, sizeof largest);
    const float t = largest / 127;
    if (!finite || t < 1.17549435e-38f) {
        memset(a, 0, BLOCK);
        sums[0] = sums[1] = 0;
        return finite ? 0.0f : NAN;
    }
    int32_t sum[2] = {0, 0};
    for (int half = 0; half < 2; half++)
        for (int i = 16 * half; i < 16 * half + 16; i++) {
            const float shifted = x[i] / t + 12582912.0f; /* 1.5 * 2^23 */
            int32_t bits;
            memcpy(&bits, &shifted, sizeof bits);
            bits -= 0x4B400000;
            a[i] = (int8_t)bits;
            sum[half] += bits;
        }
    sums[0] = sum[0], sums[1] = sum[1];
    return t;
}

/* The same for what that leaves of the block. (In double, where the product and the difference are exact.) */
static float round_rest(const float *x, int8_t *a, int32_t *sums)
{
    const float t = round_block(x, a, sums);
    float rest[BLOCK];
    for (int i = 0; i < BLOCK; i++)
        rest[i] = (float)((double)x[i] - (double)t * a[i]);
    return round_block(rest, a, sums);
}

/* Integers of a block of row r of a tile, in the order of the tile, at the block's words. */
static void place_block(const int8_t *a, int rows, int r, int32_t *words)
{
    const int each = a_words();
    for (int word = 0; word < WORDS; word++) {
        int32_t *to = words + (word * rows + r) * each;
        if (each == 1)
            memcpy(to, a + 4 * word, 4);
        else {
            const int16_t pairs[4] = {a[4 * word], a[4 * word + 2], a[4 * word + 1], a[4 * word + 3]};
            memcpy(to, pairs, 8);
        }
    }
}

/* The sums of block b of row r for a format: -zero (sum of a), and t (sum of a), for each of its scales. */
static void add_up_block(const Format *f, ptrdiff_t b, int rows, int r, float t, const int32_t *sums,
                         int32_t *start, float *total)
{
    const int32_t zero = f->zero + (f->bits == 8 || f->levels ? LEAST_CODE : 0);
    const int each = WORDS / f->words;
    for (int i = 0; i < each; i++) {
        const int32_t sum = each == 2 ? sums[i] : sums[0] + sums[1];
        start[(b * each + i) * rows + r] = -zero * sum;
        total[(b * each + i) * rows + r] = t * (float)sum;
    }
}

/* --- the weights ----------------------------------------------------------------- */

/* All weights of one output. */
static void weights_of(const Format *f, ptrdiff_t blocks, ptrdiff_t output, float *w)
{
    const uint8_t *codes = f->codes + output / PANEL * blocks * f->bits * 4 * PANEL + 4 * (output % PANEL);
    for (ptrdiff_t word = 0; word < blocks * WORDS; word++) {
        const float s = scale_at(f, f->scale, f->d, blocks, output, word);
        const float m = f->offset ? scale_at(f, f->offset, f->e, blocks, output, word) : 0;
        for (int i = 0; i < 4; i++) {
            const float product = s * (float)(code_at(f, codes, word, i) - f->zero);
            w[4 * word + i] = f->offset ? product + m : product;
        }
    }
}

#endif
