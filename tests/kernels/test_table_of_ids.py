"""Over ids, a recurrence makes its input terms for each id or for each step: what is less."""

import os
import subprocess
import sys

import numpy as np
import pytest

from minillm import ops, use_kernels

pytest.importorskip("minillm._kernels._cpu", reason="the compiled kernels are not built")
GATES = {"rnn": 1, "lstm": 4, "gru": 3}


def case(cell, V, B, T, H, dtype=np.float64):
    rng = np.random.default_rng(0)
    G = GATES[cell]
    shapes = [(B, H)] * (2 if cell == "lstm" else 1) + [(V, G * H), (H, G * H)]
    shapes += [(G * H,)] * (2 if cell == "gru" else 1)
    return rng.integers(0, V, (B, T)), *(rng.normal(size=shape).astype(dtype) for shape in shapes)


@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("V", [3, 11, 12, 13, 40])
def test_the_same_on_either_side_of_the_limit(cell, V):
    """Twelve steps, eight of them within the lengths."""
    arguments = case(cell, V, 3, 4, 9)
    lengths = np.array([4, 1, 3])
    results = []
    for kernels in ("numpy", "cython"):
        with use_kernels(kernels):
            (hs, *_), backward = getattr(ops, cell)(*arguments, lengths)
            results.append([hs, *backward(np.ones_like(hs) * np.arange(9))])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


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
    done = subprocess.run(
        [sys.executable, "-c", MEMORY],
        env={**os.environ, "MINILLM_KERNELS": "cython"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 5_000
