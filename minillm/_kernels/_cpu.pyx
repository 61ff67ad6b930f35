# cython: language_level=3
"""The abilities of this CPU, and how the twins were compiled; for `_kernels/__init__.py`."""

include "threads.pxi"

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
    #ifdef _OPENMP
    #define HAS_OPENMP 1
    #else
    #define HAS_OPENMP 0
    #endif
    """
    bint has_avx2()
    bint has_avx512()
    int HAS_OPENMP


def instruction_sets():
    """The instruction sets of this CPU, by the names that the twins have."""
    return ["baseline"] + ["avx2"] * has_avx2() + ["avx512"] * has_avx512()


def openmp():
    """Whether the kernels can use more than one thread."""
    return bool(HAS_OPENMP)


def thread_count():
    """The number of threads that a kernel called from this Python thread uses at most."""
    return max_threads()


def set_threads(int count):
    """Let kernels called from this Python thread use at most `count` threads."""
    omp_set_num_threads(count)
