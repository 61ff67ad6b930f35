# cython: language_level=3
"""The abilities of this CPU; for `_kernels/__init__.py`."""

cdef extern from *:
    """
    #if defined(__x86_64__)
    /* The CPU is asked directly: __builtin_cpu_supports needs a library that zig does not have. */
    #include <cpuid.h>
    static int cpu_has(unsigned leaf_7, unsigned registers)
    {
        unsigned a, b, c, d, saved;
        const unsigned leaf_1 = bit_OSXSAVE | bit_FMA | bit_F16C;
        if (!__get_cpuid(1, &a, &b, &c, &d) || (c & leaf_1) != leaf_1)
            return 0;
        __asm__("xgetbv" : "=a"(saved), "=d"(d) : "c"(0)); /* the registers that the system saves */
        return (saved & registers) == registers && __get_cpuid_count(7, 0, &a, &b, &c, &d) &&
               (b & leaf_7) == leaf_7;
    }
    static int has_avx2(void) { return cpu_has(bit_AVX2, 0x06); }
    static int has_avx512(void)
    {
        return has_avx2() && cpu_has(bit_AVX512F | bit_AVX512DQ | bit_AVX512VL | bit_AVX512BW, 0xE6);
    }
    static int has_also(unsigned subleaf, int of_register, int bit)
    {
        unsigned r[4];
        return has_avx512() && __get_cpuid_count(7, subleaf, r, r + 1, r + 2, r + 3) && (r[of_register] >> bit & 1);
    }
    static int has_avx512vnni(void) { return has_also(0, 2, 11); }
    #if __clang_major__ >= 9 || __GNUC__ >= 10 /* older ones do not compile it: see bfloat16.h */
    static int has_avx512bf16(void) { return has_also(1, 0, 5); }
    #else
    static int has_avx512bf16(void) { return 0; }
    #endif
    #else
    static int has_avx2(void) { return 0; }
    static int has_avx512(void) { return 0; }
    static int has_avx512bf16(void) { return 0; }
    static int has_avx512vnni(void) { return 0; }
    #endif
    """
    bint has_avx2()
    bint has_avx512()
    bint has_avx512bf16()
    bint has_avx512vnni()


def instruction_sets():
    """The instruction sets of this CPU, by the names that the twins have."""
    return ["baseline"] + ["avx2"] * has_avx2() + ["avx512"] * has_avx512()


def has_bfloat16():
    """Whether this CPU multiplies pairs of bfloat16."""
    return bool(has_avx512bf16())


def has_vnni():
    """Whether this CPU multiplies vectors of 64 bytes and adds the products up by fours."""
    return bool(has_avx512vnni())
