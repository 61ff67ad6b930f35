"""The plan of a training: its arithmetic by hand, against the model itself, and as properties."""

import importlib
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.studies import costs
from benchmarks.studies.costs import Demand, Machine
from minillm import kernels_info
from minillm.models.gpt import GPT, GPTConfig

MACHINE = Machine(products=1e11, memory=1e10, network=1e9, latency=1e-5)
DEMAND = Demand(weights=1_000_000, context=100, operations=5e6, moved=10_000, kept=2_000)

sizes = st.integers(1, 4)
ints = (st.integers(2, 40), st.integers(2, 12), sizes, sizes, sizes)
gpts = st.builds(lambda V, C, L, N, D: GPTConfig(V, C, L, N, N * D), *ints)


# --- of a model ------------------------------------------------------------------------


@given(gpts)
def test_the_weights_are_those_of_the_model(config):
    model = GPT(config, np.random.default_rng(0))
    assert costs.of_gpt(config).weights == sum(p.size for p in model.params.values())


@given(gpts, st.integers(1, 3))
def test_the_operations_are_those_of_the_products(config, rows):
    """Each product that forward and backward make, and each score of the attention, is counted."""
    model = GPT(config, np.random.default_rng(0))
    ids = np.zeros((rows, config.context), int)
    linear = importlib.import_module("minillm.ops.linear")  # the module, not the op
    counted, product = [], linear.matmul

    def counting(a, b, bias=None):
        counted.append(2 * a.shape[0] * a.shape[1] * b.shape[1])
        return product(a, b, bias)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear, "matmul", counting)
        _, backward = model.loss((ids, ids))
        backward()
    # A query at position t has t + 1 scores: for each, 2 W operations and as many for the values,
    # and twice all that in the backward.
    scores = rows * sum(t + 1 for t in range(config.context))
    attention = 3 * config.layers * scores * 4 * config.width
    tokens = rows * config.context
    own = 6 * config.layers * config.width * tokens  # the formula has C / 2 for (C + 1) / 2
    assert costs.of_gpt(config).operations * tokens + own == sum(counted) + attention


MEMORY_OF_A_STEP = """
import sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from minillm.models.gpt import GPT, GPTConfig
from minillm.training import AdamW

def resident(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])

layers, heads, width, context, vocabulary, rows = map(int, sys.argv[1:])
rng = np.random.default_rng(0)
model = GPT(GPTConfig(vocabulary, context, layers, heads, width), rng)
optimiser = AdamW(model.params)
ids = rng.integers(0, vocabulary, (rows, context))

def step(ids):
    _, backward = model.loss((ids, ids))
    optimiser.step(backward(), 1e-3)

step(ids[:1])  # the kernels have what they need, and the moments are touched
before = resident("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
step(ids)
print(resident("VmHWM") - before)
"""


@pytest.mark.deep
@pytest.mark.parametrize(
    ("L", "N", "D", "C", "V", "B"), [(2, 4, 128, 128, 5000, 8), (6, 4, 256, 64, 65, 16)]
)
def test_the_memory_is_within_a_tenth_of_what_is_measured(L, N, D, C, V, B):
    """Gradients and activations, with the compiled kernels, on one thread."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("only Linux tells the peak of a part of a program")
    if kernels_info()["available"] == ["numpy"]:
        pytest.skip("the compiled kernels are not built")
    environment = os.environ | {"MINILLM_NUM_THREADS": "1", "MINILLM_POOL_BYTES": "0"}
    environment |= {"MINILLM_KERNELS": "cython"}
    done = subprocess.run(
        [sys.executable, "-c", MEMORY_OF_A_STEP, *map(str, (L, N, D, C, V, B))],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    config = GPTConfig(V, C, L, N, D)
    taken = costs.memory(costs.of_gpt(config), B)
    assert int(done.stdout) == pytest.approx(taken["gradients"] + taken["activations"], rel=0.1)


# --- of a step ---------------------------------------------------------------------------


def test_a_step_by_hand():
    """10 rows of 100 tokens: 5 GFLOP in 50 ms; 10^7 numbers and 8 a weight: 72 MB in 7.2 ms."""
    alone = costs.weak(DEMAND, MACHINE, 10, 1)
    assert alone.compute == pytest.approx(0.05 + 0.0072)
    assert alone.communication == 0
    assert alone.rate == pytest.approx(1000 / 0.0572)
    # 4 ranks: 12 numbers a weight; 2 * 3/4 of 4 MB at 1 GB/s, and 4 messages.
    step = costs.weak(DEMAND, MACHINE, 10, 4)
    assert (step.rows, step.tokens) == (40, 4000)
    assert step.compute == pytest.approx(0.05 + 0.0088)
    assert step.communication == pytest.approx(0.006 + 4e-5)
    assert costs.efficiency(step, alone) == pytest.approx(0.0572 / (0.0588 + 0.00604))
    # The 10 rows dealt to 4 ranks: 3 at most.
    step = costs.strong(DEMAND, MACHINE, 10, 4)
    assert (step.rows, step.tokens) == (10, 1000)
    assert step.compute == pytest.approx(0.3 * 0.05 + (0.3 * 4e7 + 4.8e7) / 1e10)
    assert step.communication == pytest.approx(0.00604)
    assert costs.strong(DEMAND, MACHINE, 10, 10).rows == 10
    assert costs.strong(DEMAND, MACHINE, 10, 11) is None


def test_the_memory_by_hand():
    taken = costs.memory(DEMAND, 10)
    assert taken == {"weights": 4e6, "gradients": 4e6, "moments": 8e6, "activations": 8e6}
    assert costs.memory(DEMAND, 5, 2) == taken | {"buffer": 4e6, "activations": 4e6}


# --- how large a model -------------------------------------------------------------------


def test_the_optimum_of_chinchilla_and_the_weights_of_gpt_2():
    """5.76e23 operations were those of Gopher: 67 billion weights are best for them (table 3)."""
    weights, tokens = costs.optimum(5.76e23)
    assert 6 * weights * tokens == pytest.approx(5.76e23)
    assert tokens == pytest.approx(20 * weights)
    assert weights == pytest.approx(67e9, rel=0.05)
    smallest = GPTConfig(50257, context=1024, layers=12, heads=12, width=768)  # "124M"
    assert costs.of_gpt(smallest).weights == 124_439_808


@given(st.floats(1e3, 1e12), st.integers(2, 100_000), st.integers(2, 4096))
def test_the_shape_is_the_nearest(N, vocabulary, context):
    demand = costs.of_gpt
    config = costs.shape_of(N, GPTConfig(vocabulary, context))
    assert (config.vocabulary, config.context) == (vocabulary, context)
    assert config.width == 64 * config.layers == 64 * config.heads
    gap = abs(math.log(demand(config).weights / N))
    for layers in (config.layers - 1, config.layers + 1):
        if layers:
            sizes = {"layers": layers, "heads": layers, "width": 64 * layers}
            other = demand(GPTConfig(vocabulary, context, **sizes))
            assert gap <= abs(math.log(other.weights / N)) + 1e-12
