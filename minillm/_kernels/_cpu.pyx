# cython: language_level=3
"""The abilities of this CPU; for `_kernels/__init__.py`."""

cdef extern from *:
    """
    #if defined(__GNUC__) && (defined(__x86_64__) || defined(__i386__))
    static int has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
    static int has_avx512(void)
    {
        return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
    }
    #else
    static int has_avx2(void) { return 0; }
    static int has_avx512(void) { return 0; }
    #endif
    """
    bint has_avx2()
    bint has_avx512()


def instruction_sets():
    """The instruction sets of this CPU, by the names that the twins have."""
    return ["baseline"] + ["avx2"] * has_avx2() + ["avx512"] * has_avx512()
