/* A tile of rounded activations and one panel, with the instructions of a variant: see quantised.h, which
 * includes this for each of them. */
ALWAYS_INLINE void VARIANT(body)(const int rows, const int bits, const int each, const int factors,
                                 const int levels, const Format *f, ptrdiff_t blocks, ptrdiff_t panel,
                                 const Rounded *x, float *y, ptrdiff_t ldy, int outputs)
{
    const int together = WORDS_OF_SUM(bits, levels) < each ? WORDS_OF_SUM(bits, levels) : each;
    for (int v = 0; v < outputs; v += LANES_OF_TILE) {
        const uint8_t *codes = f->codes + panel * blocks * bits * 4 * PANEL + 4 * v;
        const int32_t *a = x->a, *start = x->start;
        const float *t = x->t, *total = x->total;
        ptrdiff_t at = panel * (blocks * WORDS / each) * PANEL + v;
        ptrdiff_t of_factor = panel * (blocks / SUPER) * PANEL + v;
        floats sum[MOST_ROWS], d = {0}, e = {0};
        FOR_ROWS sum[r] = (floats){0};
        for (ptrdiff_t b = 0; b < blocks; b++) {
            if (rows <= 2) /* into the first cache; into the second alone, a step takes a quarter longer */
                for (int line = 0; line < bits; line++)
                    __builtin_prefetch(codes + AHEAD + 64 * line);
            if (factors && b % SUPER == 0) {
                d = vector_from_halves(f->d + of_factor);
                if (f->offset)
                    e = vector_from_halves(f->e + of_factor);
                of_factor += PANEL;
            }
            UNROLL_ALL for (int first = 0; first < WORDS; first += each) {
                ints dots[MOST_ROWS];
                FOR_ROWS dots[r] = (ints){0} + start[r];
                UNROLL_ALL for (int some = first; some < first + each; some += together) {
                    ints part[MOST_ROWS];
                    FOR_ROWS part[r] = SUM_OF(dots[r]);
                    UNROLL_ALL for (int word = some; word < some + together; word++) {
                        bytes line = codes_of_word(bits, codes, word);
                        if (levels)
                            line = LOOK_UP(f->levels, line);
                        const int32_t *a_word = a + word * rows * A_WORDS;
                        FOR_ROWS part[r] =
                            ADD_DOTS(SIGNED(bits, levels), part[r], line, a_word + r * A_WORDS);
                    }
                    FOR_ROWS dots[r] = WITH_SUM(dots[r], part[r]);
                }
                const floats scale = vector_of_scales(factors, f->scale, d, at);
                FOR_ROWS sum[r] =
                    MULTIPLY_ADD(sum[r], __builtin_convertvector(dots[r], floats), scale * t[r]);
                if (f->offset) {
                    const floats offset = vector_of_scales(factors, f->offset, e, at);
                    FOR_ROWS sum[r] = MULTIPLY_ADD(sum[r], (floats){0} + total[r], offset);
                }
                start += rows;
                total += rows;
                at += PANEL;
            }
            codes += bits * 4 * PANEL;
            a += WORDS * rows * A_WORDS;
            t += rows;
        }
        const int count = outputs - v;
        for (int r = 0; r < rows; r++)
            if (count >= LANES_OF_TILE)
                *(floats *)(y + r * ldy + v) = sum[r];
            else
                memcpy(y + r * ldy + v, &sum[r], count * sizeof(float));
    }
}

/* One compiled function for each number of rows and each format, so that its loops unroll. */
#define RUN_IF(BITS, EACH, FACTORS, LEVELS)                                                        \
    if (IS_FORMAT(f, BITS, EACH, FACTORS, LEVELS))                                                 \
        VARIANT(body)(rows, BITS, EACH, FACTORS, LEVELS, f, blocks, panel, x, y, ldy, outputs);
#define SHAPE_OF(NAME, ROWS)                                                                       \
    static __attribute__((noinline)) void VARIANT(NAME)(                                           \
        const Format *f, ptrdiff_t blocks, ptrdiff_t panel, const Rounded *x, float *y,            \
        ptrdiff_t ldy, int outputs)                                                                \
    {                                                                                              \
        const int rows = ROWS;                                                                     \
        EACH_FORMAT(RUN_IF)                                                                        \
    }
SHAPE_OF(tile_1, 1)
SHAPE_OF(tile_2, 2)
SHAPE_OF(tile_4, 4)
#if MOST_ROWS > 4
SHAPE_OF(tile_most, MOST_ROWS)
#endif

static inline void VARIANT(tile)(const Format *f, ptrdiff_t blocks, ptrdiff_t panel, int rows,
                                 const Rounded *x, float *y, ptrdiff_t ldy, int outputs)
{
    if (rows == 1)
        VARIANT(tile_1)(f, blocks, panel, x, y, ldy, outputs);
    else if (rows == 2)
        VARIANT(tile_2)(f, blocks, panel, x, y, ldy, outputs);
    else if (rows == 4)
        VARIANT(tile_4)(f, blocks, panel, x, y, ldy, outputs);
#if MOST_ROWS > 4
    else
        VARIANT(tile_most)(f, blocks, panel, x, y, ldy, outputs);
#endif
}

#undef SHAPE_OF
#undef RUN_IF
