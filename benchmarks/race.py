"""The timing of a case: the contestants run in turns, after their results have agreed."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from threadpoolctl import threadpool_limits

from .cases import Case, torch, twins

WAKING = 0.03  # seconds of runs that are not timed


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run all contestants on `count` threads: those of BLAS, of our OpenMP, and of PyTorch."""
    before = torch.get_num_threads() if torch else 1
    with threadpool_limits(count):
        if torch:
            torch.set_num_threads(count)
        yield
    if torch:
        torch.set_num_threads(before)


def race(case: Case, seconds: float, rounds: int, pause: float) -> dict[str, list[float]]:
    """Return the seconds of each turn of each contestant; at least `rounds` turns each.

    pause: seconds without work before a turn, in which the threads of the contestant before,
    which wait for more work in a busy loop, go to sleep.  Some runs that are not timed follow, so
    that the contestant's own threads wake up and get a core each, as in training.
    """
    results = {name: case.compared(run()) for name, run in case.contestants.items()}
    check_agreement(case, results)
    del results
    times: dict[str, list[float]] = {name: [] for name in case.contestants}
    start = time.perf_counter()
    while len(times["NumPy"]) < rounds or (
        time.perf_counter() - start < seconds and len(times["NumPy"]) < 50
    ):
        for name, run in case.contestants.items():
            times[name].append(time_once(run, pause))
    return times


def time_once(run: Callable[[], object], pause: float) -> float:
    if pause:
        time.sleep(pause)
        start = time.perf_counter()
        while time.perf_counter() - start < WAKING:
            run()
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def check_agreement(case: Case, results: dict[str, object]) -> None:
    """AssertionError unless all results are those of NumPy."""
    expected = results["NumPy"]
    for name, result in results.items():
        pairs = zip(
            expected if isinstance(expected, list) else [expected],
            result if isinstance(result, list) else [result],
            strict=True,
        )
        for theirs, ours in pairs:
            gap = np.abs(np.asarray(ours, float) - theirs).max()
            if not gap <= case.tolerance * max(1.0, np.abs(theirs).max()):
                raise AssertionError(
                    f"{case.kind} ({case.sizes}): {name} and NumPy differ by {gap:.2e}"
                )


def measured_peak(seconds: float = 1.0) -> float:
    """Return the operations per second of the fastest matrix product of any contestant."""
    rng = np.random.default_rng(0)
    best = 0.0
    for size in (384, 768):
        a, b = rng.standard_normal((2, size, size), np.float32)
        runs = twins(lambda kernels, a=a, b=b: kernels.matmul(a, b))
        if torch:
            ta, tb = torch.from_numpy(a), torch.from_numpy(b)
            runs["PyTorch"] = lambda ta=ta, tb=tb: ta @ tb
        for run in runs.values():
            start = time.perf_counter()
            while time.perf_counter() - start < seconds / 6:
                best = max(best, 2.0 * size**3 / time_once(run, 0))
    return best
