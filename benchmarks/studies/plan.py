"""Plan the training of a GPT or a Llama: memory, and hours on 1 to 1,024 ranks.

Report the memory and the time of a training in advance.  The speed of this machine's matrix
products and of its memory is measured, which takes a second; under mpiexec, so is the network
between the ranks.  Each rank is assumed to be like this process, with as many threads.

The table compares two ways to use more ranks.
  weak scaling    as many rows on each rank: fewer steps, of a batch for another learning rate
  strong scaling  the same batch, divided among the ranks, as in `minillm train`: shorter steps
The efficiency is the tokens per second of a rank, relative to a single rank.  Given a budget,
--hours and --ranks or --flops, the best model for it is reported, too.  The equations are in
benchmarks/studies/costs.py; chapter 16 of the book derives them.

examples:
  python -m benchmarks.studies.plan
        the default sizes of `minillm train gpt` and a vocabulary of 10,000
  python -m benchmarks.studies.plan runs/gpt --tokens 1e9
        the model of a run, over a billion tokens
  mpiexec -n 4 python -m benchmarks.studies.plan --context 1024
        with the network measured between 4 ranks
  python -m benchmarks.studies.plan --hours 24 --ranks 64
        the best model for a day on 64 ranks
  python -m benchmarks.studies.plan --flops 1e20
        the best model for 1e20 operations
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

from minillm import kernels_info
from minillm.cli import main
from minillm.cli.arguments import ArgumentParser, Given, declare, given
from minillm.errors import InputError
from minillm.models.sizes import sizes_in_words
from minillm.mpi import Ranks, ranks
from minillm.option import option
from minillm.runs.config import read_config
from minillm.runs.folder import RunFolder
from minillm.runs.kind import find_kind
from minillm.runs.settings import config_from
from minillm.timing.contest import memory_bandwidth

from . import costs, speed
from .costs import Demand, Machine

DEMANDS: dict[str, Callable[[Any], Demand]] = {"gpt": costs.of_gpt, "llama": costs.of_llama}
GPT_SETTINGS = find_kind("gpt").settings
SIZES = ("layers", "heads", "width", "context", "vocabulary", "batch")
OTHERS = [entry.name for entry in fields(GPT_SETTINGS) if entry.name not in SIZES]
RANKS = [1 << power for power in range(11)]  # of the table: 1 to 1,024


of_machine = partial(option, None, above=0, most=1e9, rare=True)


@dataclass(frozen=True)
class PlanOptions:
    """The model, the budget and the machine."""

    folder: str | None = option(
        None, "use the sizes and the batch of this run", "DIR", positional=True
    )
    kind: str | None = option(
        None, "the kind of model, without DIR (default gpt)", choices=tuple(DEMANDS)
    )
    tokens: float | None = option(
        None,
        "tokens to train on, such as 3e8 (default 20 for each weight)",
        "N",
        above=0,
        most=1e18,
    )
    hours: float | None = option(
        None,
        "a budget in hours, at the training speed of the planned model on --ranks ranks",
        "H",
        above=0,
        most=1e7,
    )
    flops: float | None = option(
        None, "a budget in operations, such as 1e18", "F", least=1e9, most=1e30
    )
    ranks: int | None = option(None, "ranks of the --hours (default 1)", "N", least=1, most=10**6)
    products: float | None = of_machine(
        help="10^9 operations a second of a rank's matrix products", metavar="GFLOP/S"
    )
    memory: float | None = of_machine(
        help="10^9 bytes a second that a rank reads and writes", metavar="GB/S"
    )
    network: float | None = of_machine(
        help="10^9 bytes a second that a rank sends (default 1.25: 10 Gbit/s)", metavar="GB/S"
    )
    latency: float | None = of_machine(
        help="microseconds until a message arrives (default 50)", metavar="US"
    )


def run(parser: ArgumentParser) -> None:
    """A plan, by one process or by several ranks."""
    declare(parser, plan)
    parser.set_defaults(over_ranks=True)


def plan(
    options: Given = given(PlanOptions),
    sizes: Given = given(GPT_SETTINGS, without=OTHERS),
) -> int:
    """Print the plan."""
    args, job = PlanOptions(**options), ranks()
    if args.ranks is not None and args.hours is None:
        raise InputError("--ranks: expected --hours with it, the budget of these ranks")
    if args.flops is not None and args.hours is not None:
        raise InputError("--flops: not allowed with argument --hours")
    kind, config, settings = _model(args, sizes)
    demand, rows = DEMANDS[kind.name](config), settings.batch
    if settings.optimiser == "muon":
        demand = costs.with_muon(demand, kind.model.shapes(config))
    machine, lines = _machine(args, job)
    tokens = args.tokens or costs.TOKENS_PER_WEIGHT * demand.weights
    lines += ["", *_of_model(kind, config, demand, rows, tokens, args.tokens is None)]
    lines += ["", *_of_ranks(demand, machine, rows, tokens)]
    operations, budget = _budget(args, demand, machine, rows, tokens)
    lines += [
        "",
        f"{budget} of {operations:.3g} operations",
        *_best_model(kind, config, operations),
    ]
    if job.rank == 0:
        print("\n".join(lines))
    return 0


def _model(args: PlanOptions, chosen: Given) -> tuple[Any, Any, Any]:
    """The kind, the config and the settings to plan, from a run, the defaults and options."""
    batch = {"batch": chosen.pop("batch")} if "batch" in chosen else {}
    if args.folder is None:
        kind: Any = find_kind(args.kind or "gpt")
        sizes = {"vocabulary": kind.settings.vocabulary, **chosen}
        return kind, config_from(kind.settings(), kind.config, **sizes), kind.settings(**batch)
    if args.kind is not None:
        raise InputError("--kind: expected no DIR with it, which has a kind")
    stored = read_config(RunFolder(args.folder))
    if stored.kind.name not in DEMANDS:
        expected = " or ".join(DEMANDS)
        raise InputError(f"{args.folder}: expected a run of {expected}, found {stored.kind.name!r}")
    if {"heads", "width"} & chosen.keys() and stored.kind.name == "llama":
        chosen |= {"head_width": None, "feed_forward": None}  # they follow from the others again
    try:
        config = replace(stored.config, **chosen)
    except ValueError as error:
        raise InputError(str(error)) from None
    return stored.kind, config, replace(stored.settings, **batch)


def _machine(args: PlanOptions, job: Ranks) -> tuple[Machine, list[str]]:
    """One rank, as it is given or measured, and lines about it."""

    def slowest(measure: Callable[[], float]) -> float:
        job.wait()  # all ranks at once, as in a training
        return min(job.gather(measure()))

    products = args.products * 1e9 if args.products else slowest(speed.matmul_peak)
    memory = args.memory * 1e9 if args.memory else slowest(memory_bandwidth)
    network, latency, of_network = _network(args, job)
    threads = kernels_info()["threads"]
    how = "given" if args.products and args.memory else f"{threads} thread{'s' * (threads > 1)}"
    return Machine(products, memory, network, latency), [
        f"one rank  {products / 1e9:,.0f} GFLOP/s in matrix products, {memory / 1e9:,.1f} GB/s of "
        f"memory ({how})",
        *of_network,
    ]


def _network(args: PlanOptions, job: Ranks) -> tuple[float, float, list[str]]:
    """Bytes a second and seconds a message; and lines about them."""
    network, latency = (args.network or 1.25) * 1e9, (args.latency or 50) * 1e-6
    how, table = "mpiexec -n N python -m benchmarks.studies.plan measures it", []
    if args.network or args.latency:
        how = "given"
    elif job.size > 1:
        network, latency, times = speed.measured_network(job)
        how, share = f"measured between {job.size} ranks", 2 * (job.size - 1) / job.size
        table = [
            f"          Allreduce of {_bytes(size):>6}: {_seconds(seconds):>8}, "
            f"{share * size / seconds / 1e9:5.2f} GB/s"
            for size, seconds in times.items()
        ]
    line = f"network   {network / 1e9:.3g} GB/s, {latency * 1e6:.3g} microseconds ({how})"
    return network, latency, [line, *table]


def _of_model(
    kind: Any, config: Any, demand: Demand, rows: int, tokens: float, by_default: bool
) -> Iterator[str]:
    """The demand of a training, wherever it runs."""
    yield f"a {kind.model.__name__} of {sizes_in_words(config)}: {demand.weights:,} weights"
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


def _budget(
    args: PlanOptions, demand: Demand, machine: Machine, rows: int, tokens: float
) -> tuple[float, str]:
    """The operations of the budget or, without one, of the planned training; and their name."""
    if args.flops:
        return args.flops, "a budget"
    if not args.hours:
        return demand.operations * tokens, "this training: a budget"
    n = args.ranks or 1
    rate = costs.weak(demand, machine, rows, n).rate
    name = f"{args.hours:g} hours on {n:,} rank{'s' * (n > 1)}, with {rows} rows each: a budget"
    return 3600 * args.hours * rate * demand.operations, name


def _best_model(kind: Any, config: Any, operations: float) -> Iterator[str]:
    """The best model for a number of operations."""
    weights, tokens = costs.optimum(operations)
    best = costs.shape_of(weights, config, DEMANDS[kind.name])
    yield (
        f"the best model for it has about {_count(weights)} weights and reads {_count(tokens)} "
        "tokens (Hoffmann et al. 2022)"
    )
    yield (
        f"such as --layers {best.layers} --heads {best.heads} --width {best.width}: "
        f"{DEMANDS[kind.name](best).weights:,} weights"
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
    sys.exit(main(program=sys.modules[__name__]))
