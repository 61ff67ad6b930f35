"""The number of threads, and forks.

That the bits are the same on any number of threads, test_twins.py and the kernels' own pages test;
in several threads of Python at once, test_free_threading.py and team.c.
"""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from minillm._kernels import kernels_info, use_kernels, use_threads
from minillm.errors import InputError

from .twin_cases import Draw


def test_threads_are_those_of_the_innermost_block_of_this_python_thread(twin):
    def seen():
        with use_kernels(twin.name):
            return kernels_info()["threads"]

    usual = seen()
    with use_threads(3):
        assert seen() == 3
        with use_threads(np.int64(2)):
            assert seen() == 2
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(seen).result() == usual
        assert seen() == 3
        with use_kernels("numpy"):
            assert kernels_info()["threads"] == 1
    assert seen() == usual


@pytest.mark.parametrize("count", [0, 2.0, "2", None, 10**7, 10**100])
def test_an_impossible_number_of_threads_is_refused(count):
    with pytest.raises(InputError, match=r"threads: expected .* 1 to 1000000; found") as caught:
        use_threads(count).__enter__()
    assert len(str(caught.value)) < 200


def threads_of_process():
    """Their number, as Linux counts them."""
    tasks = "/proc/self/task"
    return len(os.listdir(tasks)) if os.path.exists(tasks) else None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_starts_threads_of_its_own(twin, with_threads):
    """Threads do not survive a fork.  A child and its child get the same bits, on more threads."""
    a, b = Draw(np.float32)(2, 150, 150)
    expected = with_threads(3, twin.matmul, a, b)

    def in_child(threads, then):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                signal.alarm(20)  # ends a child that waits for ever
                np.testing.assert_array_equal(with_threads(threads, twin.matmul, a, b), expected)
                assert threads_of_process() in (threads, None)
                status = then()
            finally:
                os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert in_child(3, lambda: in_child(4, lambda: 0)) == 0
    np.testing.assert_array_equal(with_threads(3, twin.matmul, a, b), expected)
