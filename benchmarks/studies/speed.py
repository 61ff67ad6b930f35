"""The speed of the network between ranks."""

import math
import time

import numpy as np

from minillm.mpi import Ranks

SIZES = tuple(1 << power for power in (12, 16, 20, 24, 26))  # bytes of an Allreduce: 4 kB to 64 MB


def allreduce_seconds(ranks: Ranks, size: int, times: int = 9) -> float:
    """Measure the time in which the ranks sum an array of ``size`` bytes: a median.

    All ranks call this, and get the time of the slowest.
    """
    array = np.zeros(size // 4, np.float32)
    measured = []
    for _ in range(times):
        ranks.wait()
        begin = time.perf_counter()
        ranks.sum(array)
        measured.append(max(ranks.gather(time.perf_counter() - begin)))
    return float(np.median(measured))


def measured_network(ranks: Ranks) -> tuple[float, float, dict[int, float]]:
    """Measure a rank's bandwidth and latency, and the times of an Allreduce by the array's bytes.

    Bandwidth (bytes per second) and latency (seconds) solve the equation of
    `costs`, seconds = messages latency + bytes sent / bandwidth, for the
    smallest array and the largest.
    """
    n = ranks.size
    times = {size: allreduce_seconds(ranks, size) for size in SIZES}
    first, last = SIZES[0], SIZES[-1]
    seconds_per_byte = max(times[last] - times[first], 1e-9) / (last - first)
    latency = (times[first] - first * seconds_per_byte) / (2 * math.ceil(math.log2(n)))
    return 2 * (n - 1) / n / seconds_per_byte, max(latency, 0.0), times
