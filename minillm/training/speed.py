"""How fast this machine is: its matrix products, its memory, and the network between its ranks."""

import math
import time

import numpy as np

from minillm.mpi import Ranks
from minillm.ops.linear import matmul
from minillm.training.optimisers import scale

SIZES = tuple(1 << power for power in (12, 16, 20, 24, 26))  # bytes of an Allreduce: 4 kB to 64 MB


def matmul_peak(seconds: float = 0.2, size: int = 1024) -> float:
    """Floating-point operations per second of large float32 products: the best of some.

    They are made by the kernels in force, on as many threads as these use.
    """
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, size, size), np.float32)
    matmul(a, b)  # the threads are started
    best, started_at = float("inf"), time.perf_counter()
    while time.perf_counter() - started_at < seconds:
        begin = time.perf_counter()
        matmul(a, b)
        best = min(best, time.perf_counter() - begin)
    return 2 * size**3 / best


def memory_bandwidth(seconds: float = 0.2, size: int = 1 << 25) -> float:
    """Bytes per second of an array of ``size`` numbers that is read and written: the best of some.

    By the kernels in force, too.  The array is larger than any cache.
    """
    array = np.ones(size, np.float32)
    scale([array], 1.0)
    best, started_at = float("inf"), time.perf_counter()
    while time.perf_counter() - started_at < seconds:
        begin = time.perf_counter()
        scale([array], 1.0)
        best = min(best, time.perf_counter() - begin)
    return 2 * array.nbytes / best


def allreduce_seconds(ranks: Ranks, size: int, times: int = 9) -> float:
    """How long the ranks take to sum an array of ``size`` bytes: the median of some times.

    All ranks call it, and get the time of the slowest.
    """
    array = np.zeros(size // 4, np.float32)
    taken = []
    for _ in range(times):
        ranks.wait()
        begin = time.perf_counter()
        ranks.sum(array)
        taken.append(max(ranks.gather(time.perf_counter() - begin)))
    return float(np.median(taken))


def measured_network(ranks: Ranks) -> tuple[float, float, dict[int, float]]:
    """Bytes that a rank sends per second, the seconds of a message, and those of an Allreduce.

    The third by the array's bytes.  The first two are those with which the equation of
    :mod:`minillm.training.plan`, seconds = messages latency + bytes sent / bandwidth, is right for
    the smallest array and for the largest.
    """
    n = ranks.size
    times = {size: allreduce_seconds(ranks, size) for size in SIZES}
    first, last = SIZES[0], SIZES[-1]
    seconds_per_byte = max(times[last] - times[first], 1e-9) / (last - first)
    latency = (times[first] - first * seconds_per_byte) / (2 * math.ceil(math.log2(n)))
    return 2 * (n - 1) / n / seconds_per_byte, max(latency, 0.0), times
