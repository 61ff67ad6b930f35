"""The timing of contestants in turns, and `race` for kernels of your own."""

import copy
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from minillm._kernels import kernels_info, use_threads
from minillm.errors import InputError, short
from minillm.ops.linear import matmul
from minillm.timing.results import Cell, Limits, Results
from minillm.training.optimisers import adam_update

ROUNDS = 5  # at least: with fewer, no difference between two files can be told from chance
MOST_ROUNDS = 50
WAKING = 0.03  # seconds of runs that are not timed
TURN = 1e-3  # seconds: what is faster is called several times in a turn
BEYOND_CACHES = 1 << 25  # numbers that no cache can hold
LONGEST = 0.25  # seconds: a contestant that takes longer is not run at larger sizes


@dataclass
class Case:
    """The same work for every contestant: functions by name, each of which does it once."""

    kind: str
    sizes: str
    flops: float
    contestants: Mapping[str, Callable[[], Any]]
    bytes: float = 0.0  # moved at least
    tolerance: float = 1e-4  # of the largest number
    size: float | None = None


def race(
    contestants: Mapping[str, Callable[..., Any]],
    sizes: Sequence[float],
    arguments: Callable[[Any], Any],
    flops: Callable[[Any], float] | None = None,
    bytes: Callable[[Any], float] | None = None,  # noqa: A002
    *,
    name: str = "race",
    tolerance: float = 1e-4,
    thread_count: int = 1,
    seconds: float = 1.0,
) -> Results:
    """Time functions of the same arguments in turns, at several sizes.

    At each size n, every contestant gets a copy of ``arguments(n)``, and must return what the first
    one returns, up to ``tolerance`` times the largest number.  ``flops(n)`` and ``bytes(n)`` count
    the operations and the bytes of the arrays (each once): with them, the figures are also shares
    of what the machine can do.  A contestant that takes longer than 0.25 s is left out at larger
    sizes.  ``seconds`` is the time for a size.

    ``listing(results)`` returns the table.

    InputError where results disagree, or an argument is not as expected.
    """
    if len(contestants) < 2 or not all(map(callable, contestants.values())):
        raise InputError(
            f"{name}: contestants: expected two functions or more by their names, "
            f"found {short(contestants)}"
        )
    if len(sizes) == 0:
        raise InputError(f"{name}: sizes: expected one or more, found none")
    running = dict(contestants)
    with threads(thread_count):
        results = Results()
        results.add(limits(thread_count))
        for size in sizes:
            given = arguments(size)
            given = given if isinstance(given, tuple) else (given,)
            case = Case(
                name,
                str(size),
                float(flops(size)) if flops else 0.0,
                {key: partial(run, *copy.deepcopy(given)) for key, run in running.items()},
                float(bytes(size)) if bytes else 0.0,
                tolerance,
                size=size,
            )
            cell = timed(case, thread_count, seconds)
            results.add(cell)
            running = {key: run for key, run in running.items() if cell.median(key) <= LONGEST}
            if not running:
                break
        results.add(limits(thread_count))
    return results


# --- timing ---------------------------------------------------------------------------------


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run all contestants on `count` threads of BLAS, of our kernels, of PyTorch and of Numba.

    Numba has no more threads than it has started with (NUMBA_NUM_THREADS).

    InputError without threadpoolctl, which sets the threads of BLAS.
    """
    if count < 1:
        raise InputError(f"threads: expected 1 or more, found {count}")
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        raise InputError(
            'a race needs the package threadpoolctl, which the extra "race" has'
        ) from None
    kernels_info()  # loads the kernels and their threads: what comes later has no limit
    torch, numba = (sys.modules.get(name) for name in ("torch", "numba"))
    before = torch.get_num_threads() if torch else 1
    numbas = numba.get_num_threads() if numba else 1
    with threadpool_limits(count), use_threads(count):
        if torch:
            torch.set_num_threads(count)
        if numba:
            numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))
        try:
            yield
        finally:
            if torch:
                torch.set_num_threads(before)
            if numba:
                numba.set_num_threads(numbas)


def timed(case: Case, count: int, seconds: float, rounds: int = ROUNDS) -> Cell:
    """Check that all contestants agree, and return their times on `count` threads."""
    print(f"{count}: {case.kind} ({case.sizes})", file=sys.stderr, flush=True)
    results = {name: run() for name, run in case.contestants.items()}
    check_agreement(f"{case.kind} ({case.sizes})", results, case.tolerance)
    del results
    times = turns(case.contestants, seconds, rounds, count)
    # What a cache keeps moves faster than what comes from memory.
    rate = memory_bandwidth(0.05, min(BEYOND_CACHES, int(case.bytes // 4))) if case.bytes else 0.0
    return Cell(count, case.kind, case.sizes, case.flops, case.bytes, times, case.size, rate)


def turns(
    contestants: Mapping[str, Callable[[], object]],
    seconds: float,
    rounds: int = ROUNDS,
    count: int = 1,
) -> dict[str, list[float]]:
    """The seconds of each turn of each contestant: at least `rounds` turns each.

    They run on `count` threads, in every second round in the opposite order.  A contestant that
    takes less than a millisecond is called as often as fits into one, and the mean is taken.
    """
    calls = {name: max(1, int(TURN / time_once(run))) for name, run in contestants.items()}
    times: dict[str, list[float]] = {name: [] for name in contestants}
    pause = 0.1 if count > 1 else 0.0  # a contestant's threads must not disturb the next one
    start = time.perf_counter()
    for number in range(max(rounds, MOST_ROUNDS)):
        if number >= rounds and time.perf_counter() - start >= seconds:
            break
        for name in list(contestants)[:: -1 if number % 2 else 1]:
            times[name].append(time_once(contestants[name], pause, calls[name]))
    return times


def time_once(run: Callable[[], object], pause: float = 0.0, calls: int = 1) -> float:
    """The seconds of a call.

    pause: seconds without work before, in which the threads of the contestant before, which wait
    for more work in a busy loop, go to sleep.  Some calls that are not timed follow, so that the
    contestant's own threads wake up and get a core each, as in training.
    """
    if pause:
        time.sleep(pause)
        start = time.perf_counter()
        while time.perf_counter() - start < WAKING:
            run()
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return max(time.perf_counter() - start, 1e-9) / calls


def check_agreement(where: str, results: Mapping[str, object], tolerance: float) -> None:
    """InputError unless all results equal the first contestant's, up to the tolerance."""
    (first, expected), *others = ((name, _arrays(result)) for name, result in results.items())
    for name, found in others:
        if _forms(found) != _forms(expected):
            raise InputError(
                f"{where}: {name} and {first} disagree: expected {_forms(expected)}, "
                f"found {_forms(found)}"
            )
        for theirs, ours in zip(expected, found, strict=True):
            theirs, ours = theirs.astype(float), ours.astype(float)
            largest = np.abs(theirs[np.isfinite(theirs)]).max(initial=0.0)
            bound = tolerance * largest
            if not np.allclose(ours, theirs, rtol=0, atol=bound, equal_nan=True):
                with np.errstate(invalid="ignore"):
                    gap = np.abs(ours - theirs).max()
                raise InputError(
                    f"{where}: {name} and {first} disagree: expected a difference of at most "
                    f"{tolerance:g} times the largest number, {largest:.3g}; found {gap:.3g}"
                )


def _arrays(result: object) -> list[np.ndarray]:
    if isinstance(result, (tuple, list)):
        return [array for part in result for array in _arrays(part)]
    return [np.asarray(result)]


def _forms(arrays: Sequence[np.ndarray]) -> str:
    """Shapes and types; a number may be one of Python's."""
    return ", ".join(f"{a.dtype.name} {a.shape}" if a.ndim else "a number" for a in arrays)


def limits(count: int, seconds: float = 1.0) -> Limits:
    """Measure the operations and the bytes per second of `count` threads that are in force.

    The operations per second are measured by the fastest matrix product of NumPy, our kernels, and
    PyTorch, if it is loaded.
    """
    rng = np.random.default_rng(0)
    torch, best = sys.modules.get("torch"), 0.0
    for size in (384, 768):
        a, b = rng.standard_normal((2, size, size), np.float32)
        runs = [partial(np.matmul, a, b), partial(matmul, a, b)]
        if torch:
            runs.append(partial(torch.matmul, torch.from_numpy(a), torch.from_numpy(b)))
        best = max(best, *(2.0 * size**3 / best_time(run, seconds / 6) for run in runs))
    return Limits(count, best, memory_bandwidth(seconds / 3))


def memory_bandwidth(seconds: float = 0.2, size: int = BEYOND_CACHES) -> float:
    """Measure the bytes per second of a step of Adam, whose arrays have ``size`` numbers together.

    The four are read, and three of them written.
    """
    p, g, m, v = (np.ones(size // 4, np.float32) for _ in range(4))

    def step() -> None:
        adam_update([p], [g], [m], [v], [1.0], 0.9, 0.999, 0.0, 1.0, 1.0)

    return 7 * p.nbytes / best_time(step, seconds)


def best_time(run: Callable[[], Any], seconds: float) -> float:
    """The time of the fastest of the runs within ``seconds``, after a warm-up."""
    run()
    best, started_at = float("inf"), time.perf_counter()
    while time.perf_counter() - started_at < seconds:
        begin = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - begin)
    return best
