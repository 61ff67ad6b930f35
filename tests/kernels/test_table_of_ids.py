"""Over ids, a recurrence makes its input terms for each id or for each step: whichever is less.

The numbers are the same either way: see test_recurrences in test_twins.py.
"""

import os
import sys

import pytest
from programs import run

pytest.importorskip("minillm._kernels._cpu", reason="the compiled kernels are not built")

MEMORY = """
import resource
import numpy as np
from minillm import ops

V, H = 50_000, 64
def arguments(V):
    W_x, W_h, b = (np.ones(size, np.float32) for size in ((V, 4 * H), (H, 4 * H), 4 * H))
    state = np.zeros((1, H), np.float32)
    return np.array([[1]]), state, state, W_x, W_h, b

ops.lstm(*arguments(2))
large = arguments(V)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
ops.lstm(*large)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss in kilobytes")
@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="it keeps what is freed")
def test_one_step_builds_no_table():
    """It would be 51 MB."""
    done = run(MEMORY, MINILLM_KERNELS="cython")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 5_000
