/* The dots of rows and of the `each` words from `begin` on of a block, from `start` on.  Words whose products a sum of
 * `together` of them holds are added up first. */
ALWAYS_INLINE void VARIANT(dots)(const int rows, const int bits, const int levels, const int wide, const int each,
                                 const int begin, const uint8_t *of_levels, const uint8_t *codes, const int unpacked,
                                 const int32_t *a, const int32_t *start, ints dots[MOST_ROWS][VECTORS])
{
    const int together = WORDS_OF_SUM(bits, levels) < each ? WORDS_OF_SUM(bits, levels) : each;
    FOR_TILE dots[r][v] = (ints){0} + start[r];
    UNROLL_ALL for (int some = begin; some < begin + each; some += together) {
        ints part[MOST_ROWS][VECTORS];
        FOR_TILE part[r][v] = SUM_OF(dots[r][v]);
        UNROLL_ALL for (int word = some; word < some + together; word++) {
            bytes line[VECTORS];
            FOR_VECTORS {
                const uint8_t *from = codes + 4 * v * LANES_OF_TILE;
                if (unpacked) /* volatile, or GCC loads it again for each row */
                    line[v] = *(const volatile bytes *)(from + 4 * PANEL * word);
                else
                    line[v] = codes_of_word(bits, from, word);
                if (levels && !unpacked)
                    line[v] = LOOK_UP(of_levels, line[v]);
            }
            FOR_TILE part[r][v] =
                ADD_DOTS(SIGNED(bits, levels) + wide, part[r][v], line[v], a + (word * rows + r) * A_WORDS);
        }
        FOR_TILE dots[r][v] = WITH_SUM(dots[r][v], part[r][v]);
    }
}

/* A tile of rounded activations and blocks `first` to `last` of a panel, with the instructions of a variant: see
 * quantised.h, which includes this for each of them.  The codes of a strip, which begins with block `first`, are
 * bytes; the sums of the blocks before it are in y. */
ALWAYS_INLINE void VARIANT(body)(const int rows, const int bits, const int words, const int factors,
                                 const int levels, const uint8_t *strip, ptrdiff_t first, ptrdiff_t last,
                                 const Format *f, ptrdiff_t blocks, ptrdiff_t panel, const Rows *x, float *y)
{
    const int wide = strip && SIGNED(bits, levels); /* a word is two of 2 inputs */
    const int of_block = wide ? 2 * WORDS : WORDS, each = wide ? 2 * words : words;
    const ptrdiff_t from = panel * blocks + first; /* the first block */
    for (int n = 0; n < PANEL; n += VECTORS * LANES_OF_TILE) {
        const uint8_t *codes = (strip ? strip : f->codes + from * bits * 4 * PANEL) + 4 * n;
        const int32_t *a = x->a, *start = x->start;
        const float *t = x->t, *total = x->total;
        ptrdiff_t at = from * (of_block / each) * PANEL + n, of_factor = from / SUPER * PANEL + n;
        floats sum[MOST_ROWS][VECTORS], d[VECTORS], e[VECTORS];
        FOR_VECTORS d[v] = e[v] = (floats){0};
        FOR_TILE sum[r][v] = first > 0 ? *(floats *)(y + r * PANEL + n + v * LANES_OF_TILE) : (floats){0};
        for (ptrdiff_t b = first; b < last; b++) {
            if (rows <= 2) /* into the first cache; into the second alone, a step takes a quarter longer */
                for (int line = 0; line < bits; line++)
                    __builtin_prefetch(codes + AHEAD + 64 * line);
            if (factors && (b % SUPER == 0 || b == first)) {
                FOR_VECTORS d[v] = vector_from_halves(f->d + of_factor + v * LANES_OF_TILE);
                if (f->offset)
                    FOR_VECTORS e[v] = vector_from_halves(f->e + of_factor + v * LANES_OF_TILE);
                of_factor += PANEL;
            }
            UNROLL_ALL for (int begin = 0; begin < of_block; begin += each) {
                ints dots[MOST_ROWS][VECTORS];
                VARIANT(dots)(rows, bits, levels, wide, each, begin, f->levels, codes, !!strip, a, start, dots);
                floats scale[VECTORS];
                FOR_VECTORS scale[v] = vector_of_scales(factors, f->scale, d[v], at + v * LANES_OF_TILE);
                FOR_TILE sum[r][v] = MULTIPLY_ADD(
                    sum[r][v], __builtin_convertvector(dots[r][v], floats), scale[v] * t[r]);
                if (f->offset) {
                    FOR_VECTORS scale[v] = vector_of_scales(factors, f->offset, e[v], at + v * LANES_OF_TILE);
                    FOR_TILE sum[r][v] = MULTIPLY_ADD(sum[r][v], (floats){0} + total[r], scale[v]);
                }
                start += rows;
                total += rows;
                at += PANEL;
            }
            codes += (strip ? of_block : bits) * 4 * PANEL;
            a += of_block * rows * A_WORDS;
            t += rows;
        }
        FOR_TILE *(floats *)(y + r * PANEL + n + v * LANES_OF_TILE) = sum[r][v];
    }
}

/* Block b of rows `which` is added to their sums in y.  These are loaded when the dots are done, which leaves the
 * registers to the dots. */
ALWAYS_INLINE void VARIANT(add)(const int rows, const int bits, const int words, const int factors, const int levels,
                                const Format *f, ptrdiff_t from, ptrdiff_t b, const int32_t *which, const Rows *x,
                                float *y)
{
    const uint8_t *codes = f->codes + (from + b) * bits * 4 * PANEL;
    const int scales = WORDS / words;
    for (int n = 0; n < PANEL; n += VECTORS * LANES_OF_TILE)
        UNROLL_ALL for (int i = 0; i < scales; i++) {
            const ptrdiff_t at = ((from + b) * scales + i) * PANEL + n, of_factor = (from + b) / SUPER * PANEL + n;
            ints dots[MOST_ROWS][VECTORS];
            floats scale[VECTORS], offset[VECTORS];
            VARIANT(dots)(rows, bits, levels, 0, words, i * words, f->levels, codes + 4 * n, 0, x->a,
                          x->start + i * rows, dots);
            FOR_VECTORS {
                const ptrdiff_t of = of_factor + v * LANES_OF_TILE;
                const floats d = factors ? vector_from_halves(f->d + of) : (floats){0};
                const floats e = factors && f->offset ? vector_from_halves(f->e + of) : (floats){0};
                scale[v] = vector_of_scales(factors, f->scale, d, at + v * LANES_OF_TILE);
                offset[v] = f->offset ? vector_of_scales(factors, f->offset, e, at + v * LANES_OF_TILE) : (floats){0};
            }
            FOR_TILE {
                floats *to = (floats *)(y + which[r] * PANEL + n + v * LANES_OF_TILE);
                floats sum = MULTIPLY_ADD(*to, __builtin_convertvector(dots[r][v], floats), scale[v] * x->t[r]);
                if (f->offset)
                    sum = MULTIPLY_ADD(sum, (floats){0} + x->total[i * rows + r], offset[v]);
                *to = sum;
            }
        }
}

/* One compiled function for each number of rows and each format, so that its loops unroll; and one for what the
 * first rounding left. */
#define SHAPE(NAME, ROWS, BITS, EACH, FACTORS, LEVELS)                                             \
    static __attribute__((noinline)) void VARIANT(NAME##_##BITS##_##EACH##_##FACTORS##_##LEVELS)(  \
        const Format *f, ptrdiff_t blocks, ptrdiff_t panel, const Rows *x, float *y)               \
    {                                                                                              \
        VARIANT(body)(ROWS, BITS, EACH, FACTORS, LEVELS, NULL, 0, blocks, f, blocks, panel, x, y); \
    }
#define ADD_TILE(ROWS, ...)                                                                        \
    if (rows == ROWS)                                                                              \
        VARIANT(add)(ROWS, __VA_ARGS__, f, panel * blocks, b, rest->which + b * M + k, &x, y);
#define SHAPES(BITS, EACH, FACTORS, LEVELS)                                                        \
    SHAPE(tile_1, 1, BITS, EACH, FACTORS, LEVELS)                                                  \
    SHAPE(tile_2, 2, BITS, EACH, FACTORS, LEVELS)                                                  \
    SHAPE(tile_4, 4, BITS, EACH, FACTORS, LEVELS)                                                  \
    SHAPE(tile_most, MOST_ROWS, BITS, EACH, FACTORS, LEVELS)                                       \
    static __attribute__((noinline)) void VARIANT(rests_##BITS##_##EACH##_##FACTORS##_##LEVELS)(   \
        const Format *f, ptrdiff_t blocks, ptrdiff_t panel, ptrdiff_t M, const Rest *rest, float *y) \
    {                                                                                              \
        for (ptrdiff_t b = 0; b < blocks; b++)                                                     \
            for (int k = 0, rows; k < rest->count[b]; k += rows) {                                 \
                const Rows x = rows_from(&rest->rows, b * M + k, EACH, A_WORDS);                   \
                rows = tile_rows(rest->count[b] - k);                                              \
                ADD_TILE(MOST_ROWS, BITS, EACH, FACTORS, LEVELS)                                   \
                else ADD_TILE(4, BITS, EACH, FACTORS, LEVELS)                                      \
                else ADD_TILE(2, BITS, EACH, FACTORS, LEVELS)                                      \
                else ADD_TILE(1, BITS, EACH, FACTORS, LEVELS)                                      \
            }                                                                                      \
    }
EACH_FORMAT(SHAPES)

/* Those of a format for 1, 2, 4 and MOST_ROWS rows, and its rests. */
static inline Rests *VARIANT(functions)(const Format *f, Tile **of)
{
#define NOTE(BITS, EACH, FACTORS, LEVELS)                                                          \
    if (IS_FORMAT(f, BITS, EACH, FACTORS, LEVELS)) {                                               \
        of[0] = VARIANT(tile_1_##BITS##_##EACH##_##FACTORS##_##LEVELS);                            \
        of[1] = VARIANT(tile_2_##BITS##_##EACH##_##FACTORS##_##LEVELS);                            \
        of[2] = VARIANT(tile_4_##BITS##_##EACH##_##FACTORS##_##LEVELS);                            \
        of[3] = VARIANT(tile_most_##BITS##_##EACH##_##FACTORS##_##LEVELS);                         \
        return VARIANT(rests_##BITS##_##EACH##_##FACTORS##_##LEVELS);                              \
    }
    EACH_FORMAT(NOTE)
    return NULL;
}

#undef SHAPE
#undef SHAPES
#undef ADD_TILE
#undef NOTE
