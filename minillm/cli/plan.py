"""``minillm plan``: what a training would take, on this machine or on many."""

import argparse
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from minillm.cli.options import add_settings, given_settings, integer, number

if TYPE_CHECKING:
    from minillm.models.gpt import GPTConfig
    from minillm.mpi import Ranks
    from minillm.training.plan import Demand, Machine

SIZES = ("layers", "heads", "width", "context")
RANKS = [1 << power for power in range(11)]  # of the table: 1 to 1,024


def add_parser(verbs: Any) -> None:
    """Declares the verb."""
    from minillm.runs.kinds.gpt import Settings

    parser = verbs.add_parser(
        "plan",
        help="what training a GPT would take: operations, hours, memory, on one rank or a thousand",
        description="""\
Say what training a GPT would take, before it is started: operations, memory, communication, and
hours on 1 to 1,024 ranks.  How fast this machine multiplies matrices and how fast its memory is
is measured, which takes a second; started by mpiexec, so is the network between the ranks.
A rank of the table is what this process is: as many threads, on such a machine.

More ranks can be used in two ways, which stand side by side.
  weak scaling    each rank has as many rows as one had alone, and the batch grows with the
                  ranks: fewer steps, and a larger batch wants another learning rate
  strong scaling  the batch stays as it is, and is dealt to the ranks, as `minillm train` does
                  it: the same steps, each sooner, until more is sent than computed
The efficiency is the tokens per second of a rank, as a share of those of a rank alone.

With a budget, --hours and --ranks or --flops, it says which model is the best for it.""",
        epilog="""\
examples:
  minillm plan
        the model that `minillm train gpt` makes by default, with a network of 10 Gbit/s
  minillm plan runs/gpt --tokens 1e9
        a run's model, over a billion tokens
  mpiexec -n 4 minillm plan --layers 12 --heads 12 --width 768 --context 1024
        with the network measured between 4 ranks
  minillm plan --hours 24 --ranks 64 --network 12.5 --latency 2
        the best model for a day on 64 ranks, at 100 Gbit/s
  minillm plan --flops 1e20
        the best model for so many operations

The equations are in minillm/training/plan.py, and in docs/cluster.md with what they mean.
""",
    )
    parser.add_argument(
        "folder", nargs="?", metavar="DIR", help="a run of gpt, whose sizes and batch are taken"
    )
    others = [entry.name for entry in fields(Settings) if entry.name not in (*SIZES, "batch")]
    add_settings(parser, Settings, without=others)
    parser.add_argument(
        "--vocabulary",
        type=integer(2, 10**7),
        metavar="N",
        help="tokens that the model tells apart (default 10000)",
    )
    parser.add_argument(
        "--tokens",
        type=number(above=0, most=1e18),
        metavar="D",
        help="tokens to train on, such as 3e8 (default 20 for each weight)",
    )
    budget = parser.add_argument_group("a budget")
    either = budget.add_mutually_exclusive_group()
    either.add_argument(
        "--hours",
        type=number(above=0, most=1e7),
        metavar="H",
        help="hours, at the speed at which the planned model trains on --ranks ranks",
    )
    either.add_argument(
        "--flops",
        type=number(least=1e9, most=1e30),
        metavar="F",
        help="operations, such as 1e18",
    )
    budget.add_argument(
        "--ranks", type=integer(1), metavar="N", help="ranks of the --hours (default 1)"
    )
    machine = parser.add_argument_group("the machine, where it is another")
    for name, unit, help in (
        ("products", "GFLOP/S", "10^9 operations a second of a rank's matrix products"),
        ("memory", "GB/S", "10^9 bytes a second that a rank reads and writes"),
        ("network", "GB/S", "10^9 bytes a second that a rank sends (default 1.25: 10 Gbit/s)"),
        ("latency", "US", "microseconds until a message arrives (default 50)"),
    ):
        machine.add_argument(f"--{name}", type=number(above=0, most=1e9), metavar=unit, help=help)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the plan."""
    from minillm.errors import InputError
    from minillm.mpi import ranks
    from minillm.training import plan

    if args.ranks is not None and args.hours is None:
        raise InputError("--ranks: expected --hours with it, the budget of these ranks")
    config, rows = _model(args)
    demand, job = plan.of_gpt(config), ranks()
    machine, lines = _machine(args, job)
    tokens = args.tokens or plan.TOKENS_PER_WEIGHT * demand.weights
    lines += ["", *_of_model(config, demand, rows, tokens, args.tokens is None)]
    lines += ["", *_of_ranks(demand, machine, rows, tokens)]
    lines += ["", *_of_budget(args, config, demand, machine, rows, tokens)]
    if job.rank == 0:
        print("\n".join(lines))
    return 0


def _model(args: argparse.Namespace) -> "tuple[GPTConfig, int]":
    """The model to plan, and the rows of its batch: a run's or the defaults, and what is given."""
    from minillm.errors import InputError
    from minillm.runs.folder import RunFolder
    from minillm.runs.kind import find_kind
    from minillm.runs.kinds.gpt import Settings
    from minillm.runs.stored import read_config

    kind = find_kind("gpt")
    given = given_settings(args, Settings)
    rows = given.pop("batch", None)
    if args.folder is None:
        default: dict[str, Any] = {entry.name: entry.default for entry in fields(Settings)}
        sizes = {name: default[name] for name in (*SIZES, "vocabulary")}
        return kind.config(**{**sizes, **given}), rows or default["batch"]
    stored = read_config(RunFolder(args.folder), kind)
    try:
        config = replace(stored.config, **given)
    except ValueError as error:
        raise InputError(str(error)) from None
    return config, rows or stored.settings.batch


def _machine(args: argparse.Namespace, job: "Ranks") -> "tuple[Machine, list[str]]":
    """What one rank is, as it is given or measured, and lines about it."""
    from minillm import kernels_info
    from minillm.training.plan import Machine
    from minillm.training.speed import matmul_peak, memory_bandwidth

    def slowest(measure: Any) -> float:
        job.wait()  # all ranks at once, as in a training
        return min(job.gather(measure()))

    products = args.products * 1e9 if args.products else slowest(matmul_peak)
    memory = args.memory * 1e9 if args.memory else slowest(memory_bandwidth)
    network, latency, of_network = _network(args, job)
    threads = kernels_info()["threads"]
    how = "given" if args.products and args.memory else f"{threads} thread{'s' * (threads > 1)}"
    return Machine(products, memory, network, latency), [
        f"one rank  {products / 1e9:,.0f} GFLOP/s in matrix products, {memory / 1e9:,.1f} GB/s of "
        f"memory ({how})",
        *of_network,
    ]


def _network(args: argparse.Namespace, job: "Ranks") -> tuple[float, float, list[str]]:
    """Bytes a second and seconds a message; and lines about them."""
    from minillm.training.speed import measured_network

    network, latency = (args.network or 1.25) * 1e9, (args.latency or 50) * 1e-6
    how, table = "mpiexec -n N minillm plan measures it", []
    if args.network or args.latency:
        how = "given"
    elif job.size > 1:
        network, latency, times = measured_network(job)
        how, share = f"measured between {job.size} ranks", 2 * (job.size - 1) / job.size
        table = [
            f"          Allreduce of {_bytes(size):>6}: {_seconds(taken):>8}, "
            f"{share * size / taken / 1e9:5.2f} GB/s"
            for size, taken in times.items()
        ]
    line = f"network   {network / 1e9:.3g} GB/s, {latency * 1e6:.3g} microseconds ({how})"
    return network, latency, [line, *table]


def _of_model(
    config: "GPTConfig", demand: "Demand", rows: int, tokens: float, by_default: bool
) -> Iterator[str]:
    """What a training takes wherever it runs."""
    from minillm.models.base import sizes_of
    from minillm.training import plan

    yield f"a GPT of {sizes_of(config)}: {demand.weights:,} weights"
    yield (
        f"operations: {demand.operations:.3g} a token, {demand.operations * tokens:.3g} for "
        f"{_count(tokens)} tokens{' (20 for each weight)' if by_default else ''}"
    )
    taken = plan.memory(demand, rows)
    parts = ", ".join(f"{name} {_bytes(size)}" for name, size in taken.items())
    yield f"memory of a rank with {rows} rows: {_bytes(sum(taken.values()))} ({parts})"
    buffer = plan.memory(demand, rows, 2)["buffer"]
    yield (
        f"of several ranks, each takes {_bytes(buffer)} more, and sends up to "
        f"{_bytes(2 * buffer)} a step"
    )


def _of_ranks(demand: "Demand", machine: "Machine", rows: int, tokens: float) -> Iterator[str]:
    """The table: 1 to 1,024 ranks, in both ways."""
    from minillm.training import plan

    columns = f"{'step':>9}{'tokens/s':>13}{'efficiency':>12}{'hours':>11}"
    weak, strong = f"weak: {rows} rows a rank", f"strong: {rows} rows in all"
    yield f"{'':7}{weak:^{len(columns)}}   {strong:^{len(columns)}}"
    yield f"{'ranks':>7}{columns}   {columns}"
    alone = plan.weak(demand, machine, rows, 1)
    for n in RANKS:
        cells = []
        for step in (plan.weak(demand, machine, rows, n), plan.strong(demand, machine, rows, n)):
            if step is not None:
                share, hours = plan.efficiency(step, alone), tokens / step.rate / 3600
                shown = f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"
                cells.append(
                    f"{_seconds(step.seconds):>9}{step.rate:>13,.0f}{share:>12.1%}{shown:>11}"
                )
        yield f"{n:>7,}" + "   ".join(cells)


def _of_budget(
    args: argparse.Namespace,
    config: "GPTConfig",
    demand: "Demand",
    machine: "Machine",
    rows: int,
    tokens: float,
) -> Iterator[str]:
    """The best model for the budget; without one, for the operations of the planned training."""
    from minillm.training import plan

    if args.flops:
        operations, what = args.flops, "a budget"
    elif args.hours:
        n = args.ranks or 1
        rate = plan.weak(demand, machine, rows, n).rate
        operations = 3600 * args.hours * rate * demand.operations
        what = f"{args.hours:g} hours on {n:,} rank{'s' * (n > 1)}, with {rows} rows each: a budget"
    else:
        operations, what = demand.operations * tokens, "this training: a budget"
    N, D = plan.optimum(operations)
    best = plan.shape_of(N, config.vocabulary, config.context)
    yield f"{what} of {operations:.3g} operations"
    yield (
        f"the best model for it has about {_count(N)} weights and reads {_count(D)} tokens "
        "(Hoffmann et al. 2022)"
    )
    yield (
        f"such as --layers {best.layers} --heads {best.heads} --width {best.width}: "
        f"{plan.of_gpt(best).weights:,} weights; "
        f"their law has it at {plan.expected_loss(N, D):.2f} nats a token of their texts"
    )


def _count(number: float) -> str:
    """As 950,000, 1.23 million or 4.5 billion."""
    for size, name in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if number >= size:
            return f"{number / size:,.3g} {name}" if number < 1e15 else f"{number:.3g}"
    return f"{number:,.0f}"


def _bytes(size: float) -> str:
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if size >= unit:
            return f"{size / unit:,.3g} {name}"
    return f"{size / 1e3:,.3g} kB"


def _seconds(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} us"
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
