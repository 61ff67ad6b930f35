/* The sums of a row from y, or to it, of which so many outputs are left. */
ALWAYS_INLINE void VARIANT(move)(const int out, floats *sum, float *y, int left)
{
    for (int v = 0; v < VECTORS && left > 0; v++, left -= LANES_OF_TILE, y += LANES_OF_TILE)
        if (left >= LANES_OF_TILE && out)
            *(floats *)y = sum[v];
        else if (left >= LANES_OF_TILE)
            sum[v] = *(const floats *)y;
        else
            memcpy(out ? (void *)y : &sum[v], out ? (void *)&sum[v] : y, left * sizeof(float));
}

/* A tile of rounded activations and blocks `first` to `last` of a panel, with the instructions of a variant: see
 * quantised.h, which includes this for each of them.  The codes of a strip, which begins with block `first`, are
 * bytes; the sums of the blocks before it are in y.  So are sums that are added to: these are in rows `which` of y. */
ALWAYS_INLINE void VARIANT(body)(const int rows, const int bits, const int words, const int factors,
                                 const int levels, const uint8_t *strip, ptrdiff_t first, ptrdiff_t last,
                                 const int32_t *which, const Format *f, ptrdiff_t blocks, ptrdiff_t panel, const Rows *x, float *y,
                                 ptrdiff_t ldy, int outputs)
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
        if (which || first > 0)
            FOR_ROWS VARIANT(move)(0, sum[r], y + (which ? which[r] : r) * ldy + n, outputs - n);
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
#define RUN_IF(BITS, EACH, FACTORS, LEVELS)                                                        \
    if (IS_FORMAT(f, BITS, EACH, FACTORS, LEVELS))                                                 \
        VARIANT(body)(rows, BITS, EACH, FACTORS, LEVELS, NULL, first, last, which, f, blocks,       \
                      panel, x, y, ldy, outputs);
#define SHAPE_OF(NAME, ROWS)                                                                       \
    static __attribute__((noinline)) void VARIANT(NAME)(                                           \
        const Format *f, ptrdiff_t blocks, ptrdiff_t panel, ptrdiff_t first, ptrdiff_t last,       \
        const int32_t *which, const Rows *x, float *y, ptrdiff_t ldy, int outputs)                 \
    {                                                                                              \
        const int rows = ROWS;                                                                     \
        EACH_FORMAT(RUN_IF)                                                                        \
    }
SHAPE_OF(tile_1, 1)
SHAPE_OF(tile_2, 2)
SHAPE_OF(tile_4, 4)
SHAPE_OF(tile_most, MOST_ROWS)

static inline void VARIANT(tile)(const Format *f, ptrdiff_t blocks, ptrdiff_t panel, int rows, ptrdiff_t first,
                                 ptrdiff_t last, const int32_t *which, const Rows *x, float *y, ptrdiff_t ldy,
                                 int outputs)
{
    (rows == 1 ? VARIANT(tile_1) : rows == 2 ? VARIANT(tile_2)
     : rows == 4 || MOST_ROWS == 4 ? VARIANT(tile_4) : VARIANT(tile_most))(
        f, blocks, panel, first, last, which, x, y, ldy, outputs);
}

#undef SHAPE_OF
#undef RUN_IF
