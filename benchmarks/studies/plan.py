"""Plan the training of a GPT: memory, and hours on 1 to 1,024 ranks.

    python -m benchmarks.studies.plan [--layers 4] [--heads 4] [--width 128] [--context 128]
        [--vocabulary 10000] [--batch 16] [--tokens N]
        [--products GFLOP/S] [--memory GB/S] [--network GB/S] [--latency US]

    mpiexec -n 4 python -m benchmarks.studies.plan --context 1024
        with the network measured between 4 ranks

Report the memory and the time of a training in advance.  The speed of this machine's matrix
products and of its memory is measured, which takes a second; under mpiexec, so is the network
between the ranks.  Each rank is assumed to be like this process, with as many threads.

The table compares two ways to use more ranks.
  weak scaling    as many rows on each rank: fewer steps, of a batch for another learning rate
  strong scaling  the same batch, divided among the ranks, as in `minillm train`: shorter steps
The efficiency is the tokens per second of a rank, relative to a single rank.  Without --tokens,
there are 20 for each weight.  The last lines name the best model for as many operations.  The
equations are in benchmarks/studies/costs.py; chapter 18 of the book derives them.
"""

import argparse
import math
import time
from collections.abc import Iterator, Sequence

import numpy as np

from minillm import kernels_info
from minillm.models.gpt import GPTConfig
from minillm.models.sizes import sizes_in_words
from minillm.mpi import Ranks, ranks
from minillm.runs.kind import find_kind
from minillm.timing.contest import limits

from .. import command
from . import costs
from .costs import Demand, Machine

SIZES = ("layers", "heads", "width", "context", "vocabulary", "batch")
DEFAULTS = {**vars(find_kind("gpt").settings()), "vocabulary": 10_000}
RANKS = [1 << power for power in range(11)]  # of the table: 1 to 1,024
ALLREDUCED = tuple(1 << power for power in (12, 16, 20, 24, 26))  # bytes: 4 kB to 64 MB


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the plan."""
    parser = command.parser(__doc__)
    for name in SIZES:
        parser.add_argument(f"--{name}", type=int, default=DEFAULTS[name])
    for name in ("tokens", "products", "memory", "network", "latency"):
        parser.add_argument(f"--{name}", type=float)
    args, job = parser.parse_args(arguments), ranks()
    sizes = {name: getattr(args, name) for name in SIZES}
    rows, config = sizes.pop("batch"), GPTConfig(**sizes)
    demand = costs.of_gpt(config)
    machine, lines = _machine(args, job)
    tokens = args.tokens or costs.TOKENS_PER_WEIGHT * demand.weights
    lines += ["", *_of_model(config, demand, rows, tokens, args.tokens is None)]
    lines += ["", *_of_ranks(demand, machine, rows, tokens)]
    lines += ["", *_best_model(config, demand.operations * tokens)]
    if job.rank == 0:
        print("\n".join(lines))


def _machine(args: argparse.Namespace, job: Ranks) -> tuple[Machine, list[str]]:
    """One rank, as it is given or measured, and lines about it."""

    threads = kernels_info()["threads"]
    products, memory = (args.products or 0) * 1e9, (args.memory or 0) * 1e9
    if not (products and memory):
        job.wait()  # all ranks at once, as in a training
        found = limits(threads, 0.6)
        products = products or min(job.gather(found.flops))
        memory = memory or min(job.gather(found.bytes))
    network, latency, of_network = _network(args, job)
    how = "given" if args.products and args.memory else f"{threads} thread{'s' * (threads > 1)}"
    return Machine(products, memory, network, latency), [
        f"one rank  {products / 1e9:,.0f} GFLOP/s in matrix products, {memory / 1e9:,.1f} GB/s of "
        f"memory ({how})",
        *of_network,
    ]


def _network(args: argparse.Namespace, job: Ranks) -> tuple[float, float, list[str]]:
    """Bytes a second and seconds a message; and lines about them."""
    network, latency = (args.network or 1.25) * 1e9, (args.latency or 50) * 1e-6
    how, table = "mpiexec -n N python -m benchmarks.studies.plan measures it", []
    if args.network or args.latency:
        how = "given"
    elif job.size > 1:
        network, latency, times = measured_network(job)
        how, share = f"measured between {job.size} ranks", 2 * (job.size - 1) / job.size
        table = [
            f"          Allreduce of {_bytes(size):>6}: {_seconds(seconds):>8}, "
            f"{share * size / seconds / 1e9:5.2f} GB/s"
            for size, seconds in times.items()
        ]
    line = f"network   {network / 1e9:.3g} GB/s, {latency * 1e6:.3g} microseconds ({how})"
    return network, latency, [line, *table]


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
    times = {size: allreduce_seconds(ranks, size) for size in ALLREDUCED}
    first, last = ALLREDUCED[0], ALLREDUCED[-1]
    seconds_per_byte = max(times[last] - times[first], 1e-9) / (last - first)
    latency = (times[first] - first * seconds_per_byte) / (2 * math.ceil(math.log2(n)))
    return 2 * (n - 1) / n / seconds_per_byte, max(latency, 0.0), times


def _of_model(
    config: GPTConfig, demand: Demand, rows: int, tokens: float, by_default: bool
) -> Iterator[str]:
    """The demand of a training, wherever it runs."""
    yield f"a GPT of {sizes_in_words(config)}: {demand.weights:,} weights"
    yield (
        f"operations: {demand.operations:.3g} a token, {demand.operations * tokens:.3g} for "
        f"{_count(tokens)} tokens{' (20 for each weight)' if by_default else ''}"
    )
    parts = costs.memory(demand, rows, ranks=2)
    buffer = parts.pop("buffer")
    listed = ", ".join(f"{name} {_bytes(size)}" for name, size in parts.items())
    yield f"memory of a rank with {rows} rows: {_bytes(sum(parts.values()))} ({listed})"
    yield (
        f"each of several ranks takes {_bytes(buffer)} more, and sends up to "
        f"{_bytes(2 * buffer)} a step"
    )


def _of_ranks(demand: Demand, machine: Machine, rows: int, tokens: float) -> Iterator[str]:
    """The table: 1 to 1,024 ranks, in both ways."""
    columns = f"{'step':>9}{'tokens/s':>13}{'efficiency':>12}{'hours':>11}"
    weak, strong = f"weak: {rows} rows a rank", f"strong: {rows} rows in all"
    yield f"{'':7}{weak:^{len(columns)}}   {strong:^{len(columns)}}"
    yield f"{'ranks':>7}{columns}   {columns}"
    alone = costs.weak(demand, machine, rows, 1)
    for n in RANKS:
        cells = []
        for step in (costs.weak(demand, machine, rows, n), costs.strong(demand, machine, rows, n)):
            if step is not None:
                share, hours = costs.efficiency(step, alone), tokens / step.rate / 3600
                shown = f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"
                cells.append(
                    f"{_seconds(step.seconds):>9}{step.rate:>13,.0f}{share:>12.1%}{shown:>11}"
                )
        yield f"{n:>7,}" + "   ".join(cells)


def _best_model(config: GPTConfig, operations: float) -> Iterator[str]:
    """The best model for a number of operations."""
    weights, tokens = costs.optimum(operations)
    best = costs.shape_of(weights, config)
    yield f"this training: a budget of {operations:.3g} operations"
    yield (
        f"the best model for it has about {_count(weights)} weights and reads {_count(tokens)} "
        "tokens (Hoffmann et al. 2022)"
    )
    yield (
        f"such as --layers {best.layers} --heads {best.heads} --width {best.width}: "
        f"{costs.of_gpt(best).weights:,} weights"
    )


def _count(number: float) -> str:
    """As 950,000, 1.23 million or 4.5 billion."""
    if number < 1e6 or number >= 1e15:
        return f"{number:,.0f}" if number < 1e6 else f"{number:.3g}"
    return _scaled(number, {"trillion": 1e12, "billion": 1e9, "million": 1e6})


def _bytes(size: float) -> str:
    return _scaled(size, {"TB": 1e12, "GB": 1e9, "MB": 1e6, "kB": 1e3})


def _seconds(seconds: float) -> str:
    return _scaled(seconds, {"s": 1, "ms": 1e-3, "us": 1e-6})


def _scaled(number: float, units: dict[str, float]) -> str:
    """A number in the largest unit that is not larger, or in the smallest."""
    name = next((name for name in units if number >= units[name]), list(units)[-1])
    return f"{number / units[name]:,.3g} {name}"


if __name__ == "__main__":
    main()
