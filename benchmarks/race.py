"""Time the contestants of a case: fairly, in turns, after making sure that they agree."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from threadpoolctl import threadpool_limits

from .cases import Case, torch

WAKING = 0.03  # seconds of runs that do not count


@contextmanager
def threads(count: int) -> Iterator[None]:
    """All contestants on `count` threads: threadpoolctl tells BLAS and our OpenMP."""
    before = torch.get_num_threads() if torch else 1
    with threadpool_limits(count):
        if torch:
            torch.set_num_threads(count)
        yield
    if torch:
        torch.set_num_threads(before)


def race(case: Case, seconds: float, rounds: int, pause: float) -> dict[str, list[float]]:
    """Seconds of each turn of each contestant; at least `rounds` turns each.

    pause: seconds of silence before a turn, while the threads of the one before,
    which wait a while for more work in a busy loop, go to sleep.  Then come some
    runs that do not count, while the contestant's own threads wake up and are
    given a core each, as they have one in training.
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
    """Every contestant has done the same work, or there is no race."""
    expected = results["NumPy"]
    for name, found in results.items():
        pairs = zip(
            expected if isinstance(expected, list) else [expected],
            found if isinstance(found, list) else [found],
            strict=True,
        )
        for theirs, ours in pairs:
            gap = np.abs(np.asarray(ours, float) - theirs).max()
            if not gap <= case.tolerance * max(1.0, np.abs(theirs).max()):
                raise AssertionError(
                    f"{case.kind} ({case.sizes}): {name} and NumPy differ by {gap:.2e}"
                )


def measured_peak(seconds: float = 1.0) -> float:
    """Operations per second of the best matrix product that anybody manages here."""
    rng = np.random.default_rng(0)
    best = 0.0
    from .cases import twins

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
