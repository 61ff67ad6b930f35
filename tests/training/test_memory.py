"""Memory does not grow with the steps, whatever their shapes."""

import subprocess
import sys

import pytest

pytest.importorskip("resource", reason="only Unix tells a process its memory")

PROGRAM = """
import resource, sys
import numpy as np
from minillm.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from minillm.training import AdamW, clip_global_norm

rng = np.random.default_rng(0)
model = EncoderDecoder(EncoderDecoderConfig(9, 9, embedding=8, hidden=8), rng)
optimiser = AdamW(model.params)

def peak():
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

for step in range(10_000):
    if step == 1_000:
        before = peak()
    S, T = rng.integers(1, 30, 2)
    batch = rng.integers(0, 9, (3, S)), np.full(3, S), rng.integers(0, 9, (3, T)), np.full(3, T)
    _, backward = model.loss(batch, rng)
    grads = backward()
    clip_global_norm(grads, 1.0)
    optimiser.step(grads, 1e-3)
print(peak() - before)
"""


def test_ten_thousand_steps_take_no_more_memory_than_one_thousand():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 1 << 20  # a step that leaked 100 bytes would take nearly that
