"""The reasons why the fast kernel is fast, step by step: `python -m benchmarks.steps`.

Prints the two tables of chapter 14 of the book, measured here: a matrix product from a
Python loop to the packed tiles, and an lstm from NumPy to the fused kernel.
"""

import importlib.util
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np

from minillm._kernels import select_kernels
from minillm.ops.lstm import _lstm_forward, _lstm_step

from .race import threads

SIZE = (64, 512, 2048)  # rows, depth, columns: one step of an lstm of 512, batch 64
SEQUENCE = (32, 64, 128, 256)  # batch, time, input, hidden


def compiled(folder: Path) -> ModuleType:
    """Compile benchmarks/steps.pyx with -march=native, to the advantage of its loops."""
    source, c = Path(__file__).with_suffix(".pyx"), folder / "steps.c"
    library = folder / ("steps" + sysconfig.get_config_var("EXT_SUFFIX"))
    subprocess.run([sys.executable, "-m", "cython", "-3", str(source), "-o", str(c)], check=True)
    flags = ["-O3", "-fPIC", "-shared", "-w", "-march=native", f"-I{sysconfig.get_path('include')}"]
    subprocess.run(["cc", *flags, str(c), "-o", str(library)], check=True)
    spec = importlib.util.spec_from_file_location("steps", library)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def best(function: Callable[[], object], seconds: float = 0.5) -> float:
    """Return the shortest of several times, the one least disturbed by the machine's other work."""
    times, start = [], time.perf_counter()
    while not times or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        function()
        times.append(time.perf_counter() - before)
    return min(times)


def product_steps(steps: ModuleType, cores: int) -> None:
    M, K, N = SIZE
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((M, K), np.float32), rng.standard_normal((K, N), np.float32)
    c, expected = np.empty((M, N), np.float32), a @ b
    few = 2  # rows for the loops that take seconds for all

    def in_place(function):
        def run():
            function(a, b, c)
            return c

        return run

    kernels = select_kernels("cython")
    with threads(1):
        rows = [
            ("Python loop, compiled", M / few * best(lambda: steps.naive(a[:few], b, c[:few]), 0)),
            ("typed", best(in_place(steps.typed))),
            ("no checks", best(in_place(steps.unchecked))),
            ("along the rows", best(in_place(steps.reordered))),
            ("blocked", best(in_place(steps.blocked))),
            ("packed tiles in registers", best(lambda: kernels.matmul(a, b))),
            ("NumPy (its BLAS)", best(lambda: a @ b)),
        ]
        for run in (in_place(steps.typed), in_place(steps.blocked), lambda: kernels.matmul(a, b)):
            np.testing.assert_allclose(run(), expected, rtol=1e-3, atol=1e-3)
    with threads(cores):
        rows.append((f"packed tiles, {cores} threads", best(lambda: kernels.matmul(a, b))))
    print(f"\nmatrix product {M} x {K} x {N}, float32\n")
    show(rows, 2.0 * M * K * N)


def recurrence_steps(cores: int) -> None:
    B, T, I, H = SEQUENCE
    rng = np.random.default_rng(0)

    def normal(*shape):
        return (H**-0.5 * rng.standard_normal(shape)).astype(np.float32)

    x, h, c = normal(B, T, I), normal(B, H), normal(B, H)
    W_x, W_h, b = normal(I, 4 * H), normal(H, 4 * H), normal(4 * H)
    lengths, kernels = np.full(B, T), select_kernels("cython")

    def step_by_step(step):
        def run():
            state = h, c
            for t in range(T):
                state = step(np.ascontiguousarray(x[:, t]), *state, W_x, W_h, b)
            return state[0]

        return run

    forward, original = (x, h, c, W_x, W_h, b, lengths), _lstm_forward.__wrapped__
    with threads(1):
        rows = [
            ("NumPy, a step at a time", best(step_by_step(_lstm_step.__wrapped__))),
            ("NumPy, the input terms first", best(lambda: original(*forward))),
            ("Cython, a step at a time", best(step_by_step(kernels.lstm_step))),
            ("Cython, packed and fused", best(lambda: kernels.lstm_forward(*forward))),
        ]
    with threads(cores):
        rows.append((f"Cython, {cores} threads", best(lambda: kernels.lstm_forward(*forward))))
    print(f"\nlstm forward, batch {B}, time {T}, input {I}, hidden {H}\n")
    show(rows, 2.0 * B * T * (I + H) * 4 * H)


def show(rows: list[tuple[str, float]], flops: float) -> None:
    print("| step | ms | GFLOP/s | times the first |")
    print("|---|--:|--:|--:|")
    for name, seconds in rows:
        speed = flops / seconds * 1e-9
        print(f"| {name} | {seconds * 1e3:.3g} | {speed:.3g} | {rows[0][1] / seconds:.3g} |")


if __name__ == "__main__":
    import os

    with tempfile.TemporaryDirectory() as folder:
        product_steps(compiled(Path(folder)), os.cpu_count() or 1)
    recurrence_steps(os.cpu_count() or 1)
