# cython: language_level=3
"""The threads of the compiled kernels: one team for all of them (team.h).

There are as many as cores that this process may use, or OMP_NUM_THREADS, and at most
MINILLM_NUM_THREADS; `minillm.use_threads` sets their number for one Python thread.
"""

import os

cdef extern from "team.h" nogil:
    int MOST_THREADS
    void run_region(Body body, void *work, Py_ssize_t phases, Py_ssize_t count, Py_ssize_t pieces,
                    int threads)
    void forget_threads()
    int threads_now(int threads)
    void be_patient(bint on)

cdef extern from *:
    """static __thread int chosen_threads = 0; /* of this Python thread; 0: use_threads has set none */"""
    int chosen_threads

cdef enum:
    PIECES = 8  # of each thread at most: what a slow thread leaves, others can take


def number_in(name):
    """The first number of an environment variable; 0 if there is none."""
    text = os.environ.get(name, "").partition(",")[0].strip()
    return int(text) if text.isdecimal() and len(text) < 8 else 0


def cores():
    """The number of cores that this process may use."""
    has = getattr(os, "sched_getaffinity", None)
    return len(has(0)) if has else os.cpu_count() or 1


cdef int most = min(number_in("MINILLM_NUM_THREADS") or MOST_THREADS, MOST_THREADS)
cdef int usual = number_in("OMP_NUM_THREADS") or cores()


def forget():
    """Start new threads when they are needed: in the child of a fork there are none."""
    forget_threads()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget)


cpdef int thread_count() noexcept nogil:
    """The most threads that a kernel called from this Python thread uses."""
    return min(chosen_threads or usual, most)


def set_threads(int count):
    """Let kernels called from this Python thread use `count` threads; 0: the usual number.

    Returns what was set before.
    """
    global chosen_threads
    before, chosen_threads = chosen_threads, count
    return before


def always_all(bint on):
    """Use all threads however long they are waited for: for tests."""
    be_patient(on)


cdef int max_threads() noexcept nogil:
    """The number of threads that a kernel should use now."""
    return threads_now(thread_count())


cdef void share(Body body, void *work, Py_ssize_t count, int threads) noexcept nogil:
    """Run the body on items 0 to `count`, by pieces."""
    run_region(body, work, 1, count, min(count, PIECES * threads), threads)


cdef void share_phases(
    Body body, void *work, Py_ssize_t phases, Py_ssize_t count, int threads) noexcept nogil:
    """Run the body on items 0 to `phases * count`, each of which is a piece.

    No item of a phase begins before all items of the phase before are done.
    """
    run_region(body, work, phases, count, count, threads)
