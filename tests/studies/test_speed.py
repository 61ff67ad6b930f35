"""The measures of a machine."""

import numpy as np
import pytest

from benchmarks.studies import costs, speed
from minillm.mpi import Ranks
from minillm.timing import contest


def test_the_peak_is_that_of_a_product(monkeypatch):
    calls = []
    monkeypatch.setattr(speed, "matmul", lambda a, b: calls.append((a.shape, a.dtype, b.shape)))
    ticks = iter(range(100))
    monkeypatch.setattr(contest.time, "perf_counter", lambda: next(ticks))
    assert speed.matmul_peak(seconds=5, size=16) == 2 * 16**3
    assert len(calls) > 1
    assert set(calls) == {((16, 16), np.dtype(np.float32), (16, 16))}


def test_the_bandwidth_is_of_what_is_read_and_written(monkeypatch):
    calls = []
    monkeypatch.setattr(contest, "adam_update", lambda *args: calls.append(args[0][0].nbytes))
    ticks = iter(range(100))
    monkeypatch.setattr(contest.time, "perf_counter", lambda: next(ticks))
    assert contest.memory_bandwidth(seconds=5, size=4000) == 7 * 4000
    assert len(calls) > 1
    assert set(calls) == {4000}


def test_an_allreduce_takes_as_long_as_the_slowest_rank(monkeypatch):
    """The median over five times; the other rank takes 2 seconds longer each time."""

    class Two(Ranks):
        def sum(self, array):
            assert array.nbytes == 400

        def gather(self, value):
            return [value, value + 2]

    monkeypatch.setattr(speed.time, "perf_counter", iter([0, 1, 0, 9, 0, 3, 0, 3, 0, 4]).__next__)
    assert speed.allreduce_seconds(Two(), 400, times=5) == 5


def test_the_network_is_the_one_that_the_plan_would_take(monkeypatch):
    """An Allreduce that takes as long as the plan has it gives back bandwidth and latency."""
    ranks, machine = Ranks(), costs.Machine(1e9, 1e9, 2e9, 3e-6)
    ranks.size = 5

    def seconds(ranks, size):
        demand = costs.Demand(size // 4, 1, 1, 1, 1)
        return costs.communication(demand, machine, 5)

    monkeypatch.setattr(speed, "allreduce_seconds", seconds)
    network, latency, times = speed.measured_network(ranks)
    assert network == pytest.approx(2e9)
    assert latency == pytest.approx(3e-6)
    assert list(times) == [4096, 65536, 2**20, 2**24, 2**26]
