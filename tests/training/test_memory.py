"""Memory does not grow with the steps, whatever their shapes."""

import os
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
model = EncoderDecoder(EncoderDecoderConfig(9, 9, embedding=16, hidden=16), rng)
optimiser = AdamW(model.params)

def peak():
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

for step in range(900):
    if step == 300:
        before = peak()
    S, T = rng.integers(1, 30, 2)
    batch = rng.integers(0, 9, (16, S)), np.full(16, S), rng.integers(0, 9, (16, T)), np.full(16, T)
    _, backward = model.loss(batch, rng)
    grads = backward()
    clip_global_norm(grads, 1.0)
    optimiser.step(grads, 1e-3)
print(peak() - before)
"""


@pytest.mark.deep
def test_memory_does_not_grow_with_the_steps():
    """The longer batches have gates of more than 64 kB, which the kernels' pool keeps."""
    environment = os.environ | {"MINILLM_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 1 << 20  # a step that leaked 2 kB would take that
