/* The sums of a row from y, or to it, of which so many outputs are left.  (Their own addresses are not taken: they
 * would not stay in registers.) */
ALWAYS_INLINE void VARIANT(move)(const int out, floats *sum, float *y, int left)
{
    FOR_VECTORS {
        float *to = y + v * LANES_OF_TILE;
        if (left >= (v + 1) * LANES_OF_TILE && out)
            *(floats *)to = sum[v];
        else if (left >= (v + 1) * LANES_OF_TILE)
            sum[v] = *(const floats *)to;
        else if (left > v * LANES_OF_TILE) {
            floats some = out ? sum[v] : (floats){0};
            memcpy(out ? (void *)to : &some, out ? (void *)&some : to, (left - v * LANES_OF_TILE) * sizeof(float));
            sum[v] = some;
        }
    }
}

/* A tile of rounded activations and blocks `first` to `last` of a panel, with the instructions of a variant: see
 * quantised.h, which includes this for each of them.  The codes of a strip, which begins with block `first`, are
 * bytes; the sums of the blocks before it are in y.  So are sums that are added to: of rows
 * `which` of y, or of one row, of which only the blocks with a `count` are multiplied. */
ALWAYS_INLINE void VARIANT(body)(const int rows, const int bits, const int words, const int factors,
                                 const int levels, const uint8_t *strip, ptrdiff_t first, ptrdiff_t last,
                                 const int32_t *which, const int32_t *count, const Format *f, ptrdiff_t blocks,
                                 ptrdiff_t panel, const Rows *x, float *y, ptrdiff_t ldy, int outputs)
{
    const int wide = strip && SIGNED(bits, levels); /* a word is two of 2 inputs */
    const int of_block = wide ? 2 * WORDS : WORDS, each = wide ? 2 * words : words;
    const int together = WORDS_OF_SUM(bits, levels) < each ? WORDS_OF_SUM(bits, levels) : each;
    const ptrdiff_t from = panel * blocks + first; /* the first block */
    for (int n = 0; n < outputs; n += VECTORS * LANES_OF_TILE) {
        const uint8_t *codes = (strip ? strip : f->codes + from * bits * 4 * PANEL) + 4 * n;
        const int32_t *a = x->a, *start = x->start;
        const float *t = x->t, *total = x->total;
        ptrdiff_t at = from * (of_block / each) * PANEL + n, of_factor = from / SUPER * PANEL + n;
        floats sum[MOST_ROWS][VECTORS], d[VECTORS], e[VECTORS];
        FOR_VECTORS d[v] = e[v] = (floats){0};
        FOR_TILE sum[r][v] = (floats){0};
        if (which || count || first > 0)
            FOR_ROWS VARIANT(move)(0, sum[r], y + (which ? which[r] : r) * ldy + n, outputs - n);
        for (ptrdiff_t b = first; b < last; b++) {
            if (rows <= 2 && !count) /* into the first cache; into the second alone, a step takes a quarter longer */
                for (int line = 0; line < bits; line++)
                    __builtin_prefetch(codes + AHEAD + 64 * line);
            if (factors && (b % SUPER == 0 || b == first)) {
                FOR_VECTORS d[v] = vector_from_halves(f->d + of_factor + v * LANES_OF_TILE);
                if (f->offset)
                    FOR_VECTORS e[v] = vector_from_halves(f->e + of_factor + v * LANES_OF_TILE);
                of_factor += PANEL;
            }
            if (rows == 1 && count && !count[b]) {
                const int scales = of_block / each;
                start += scales, total += scales, at += scales * PANEL;
                codes += bits * 4 * PANEL, a += of_block * A_WORDS, t++;
                continue;
            }
            UNROLL_ALL for (int begin = 0; begin < of_block; begin += each) {
                ints dots[MOST_ROWS][VECTORS];
                FOR_TILE dots[r][v] = (ints){0} + start[r];
                UNROLL_ALL for (int some = begin; some < begin + each; some += together) {
                    ints part[MOST_ROWS][VECTORS];
                    FOR_TILE part[r][v] = SUM_OF(dots[r][v]);
                    UNROLL_ALL for (int word = some; word < some + together; word++) {
                        const int32_t *a_word = a + word * rows * A_WORDS;
                        bytes line[VECTORS];
                        FOR_VECTORS {
                            const uint8_t *from = codes + 4 * v * LANES_OF_TILE;
                            if (strip) /* volatile, or GCC loads it again for each row */
                                line[v] = *(const volatile bytes *)(from + 4 * PANEL * word);
                            else
                                line[v] = codes_of_word(bits, from, word);
                            if (levels && !strip)
                                line[v] = LOOK_UP(f->levels, line[v]);
                        }
                        FOR_TILE part[r][v] =
                            ADD_DOTS(SIGNED(bits, levels) + wide, part[r][v], line[v], a_word + r * A_WORDS);
                    }
                    FOR_TILE dots[r][v] = WITH_SUM(dots[r][v], part[r][v]);
                }
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
        FOR_ROWS VARIANT(move)(1, sum[r], y + (which ? which[r] : r) * ldy + n, outputs - n);
    }
}

/* One compiled function for each number of rows and each format, so that its loops unroll. */
#define SHAPE(NAME, ROWS, BITS, EACH, FACTORS, LEVELS)                                             \
    static __attribute__((noinline)) void VARIANT(NAME##_##BITS##_##EACH##_##FACTORS##_##LEVELS)(  \
        const Format *f, ptrdiff_t blocks, ptrdiff_t panel, ptrdiff_t first, ptrdiff_t last,       \
        const int32_t *which, const int32_t *count, const Rows *x, float *y, ptrdiff_t ldy,        \
        int outputs)                                                                               \
    {                                                                                              \
        VARIANT(body)(ROWS, BITS, EACH, FACTORS, LEVELS, NULL, first, last, which, count, f,       \
                      blocks, panel, x, y, ldy, outputs);                                          \
    }
#define SHAPES(...)                                                                                \
    SHAPE(tile_1, 1, __VA_ARGS__) SHAPE(tile_2, 2, __VA_ARGS__) SHAPE(tile_4, 4, __VA_ARGS__)      \
    SHAPE(tile_most, MOST_ROWS, __VA_ARGS__)
EACH_FORMAT(SHAPES)

/* Those of a format for 1, 2, 4 and MOST_ROWS rows. */
static inline void VARIANT(tiles)(const Format *f, Tile **of)
{
#define NOTE(BITS, EACH, FACTORS, LEVELS)                                                          \
    if (IS_FORMAT(f, BITS, EACH, FACTORS, LEVELS)) {                                               \
        of[0] = VARIANT(tile_1_##BITS##_##EACH##_##FACTORS##_##LEVELS);                            \
        of[1] = VARIANT(tile_2_##BITS##_##EACH##_##FACTORS##_##LEVELS);                            \
        of[2] = VARIANT(tile_4_##BITS##_##EACH##_##FACTORS##_##LEVELS);                            \
        of[3] = VARIANT(tile_most_##BITS##_##EACH##_##FACTORS##_##LEVELS);                         \
    }
    EACH_FORMAT(NOTE)
}

#undef SHAPE
#undef SHAPES
#undef NOTE
