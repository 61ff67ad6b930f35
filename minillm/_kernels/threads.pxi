# The number of threads that a kernel may use: that of OpenMP (the cores, OMP_NUM_THREADS,
# or whatever threadpoolctl has set), and no more than MINILLM_NUM_THREADS; after a fork, one.
import os

cdef extern from *:
    """
    #ifdef _OPENMP
    #include <omp.h>
    #else
    static int omp_get_max_threads(void) { return 1; }
    static void omp_set_num_threads(int count) { (void)count; }
    #endif
    """
    int omp_get_max_threads() nogil
    void omp_set_num_threads(int) nogil

cdef int thread_limit = int(os.environ.get("MINILLM_NUM_THREADS") or 1_000_000)


def _use_one_thread():
    global thread_limit
    thread_limit = 1


# A fork copies OpenMP's memory but not its threads.  The child would wait for them forever, even
# if it raised OpenMP's own number of threads later.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_use_one_thread)


cdef inline int max_threads() noexcept nogil:
    return min(omp_get_max_threads(), thread_limit)
