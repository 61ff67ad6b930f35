"""The plan and the measured step of a GPT, on one rank and on several.

    python -m benchmarks.plan [--ranks 1 2 4] [--threads 1] [--steps 12] [--tiny]

For each number of ranks a job is started.  It measures its machine like `mpiexec -n N python -m
benchmarks.studies.plan`, all ranks at once.  Then it trains in the loop of `minillm train`: once
with as many rows on each rank as one has alone (weak scaling), once with these rows dealt to all
(strong scaling).  A table in Markdown has the time of a step and the tokens per second, planned and
measured (medians), and both efficiencies.
"""

import argparse
import json
import os
import subprocess
import time
from dataclasses import asdict

import numpy as np

from benchmarks.machine import described, machine
from minillm.data import RandomWindows
from minillm.models.gpt import GPT, GPTConfig
from minillm.mpi import ranks
from minillm.timing.contest import memory_bandwidth
from minillm.training import AdamW, Options, train
from minillm.training.language_model import WindowTask

from . import report
from .studies import costs
from .studies.costs import Machine
from .studies.speed import matmul_peak, measured_network

MODELS = {  # layers, heads, width, context, vocabulary; rows
    "small": ((4, 4, 128, 128, 65), 16),
    "big": ((6, 6, 384, 256, 65), 16),
}
TINY = {"tiny": ((2, 2, 32, 32, 65), 4)}
WARM = 3  # steps that are not counted


def main() -> None:
    """Print the table or, as a rank of a job, the measures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--threads", type=int, default=1, help="of each rank")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--tiny", action="store_true", help="to try the script")
    parser.add_argument("--job", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    models = TINY if args.tiny else MODELS
    if args.job:
        measures = measure(models, args.steps)
        if ranks().rank == 0:
            print(json.dumps(measures))
    else:
        table(models, args)


def measure(models: dict, steps: int) -> dict:
    """The machine of a rank, and the seconds of a step of each model, in both ways."""
    job = ranks()
    job.wait()
    products = min(job.gather(matmul_peak()))
    job.wait()
    memory = min(job.gather(memory_bandwidth()))
    network, latency = measured_network(job)[:2] if job.size > 1 else (1e9, 1e-6)
    machine = Machine(products, memory, network, latency)
    results: dict = {"machine": asdict(machine)}
    for name, (sizes, rows) in models.items():
        batches = {"weak": rows * job.size, "strong": rows}
        results[name] = {way: step_of(sizes, batch, steps) for way, batch in batches.items()}
    return results


def step_of(sizes: tuple, batch: int, steps: int) -> float:
    """The seconds of a step of training: the median of some."""
    layers, heads, width, context, vocabulary = sizes
    rng = np.random.default_rng(0)
    model = GPT(GPTConfig(vocabulary, context, layers, heads, width), rng)
    ids = rng.integers(0, vocabulary, 100_000)
    task = WindowTask(model, RandomWindows(ids, batch, context), ids[:200], batch, 200)
    began, training_loss = [], task.training_loss

    def timed_loss(rng: np.random.Generator):
        began.append(time.perf_counter())
        return training_loss(rng)

    task.training_loss = timed_loss  # type: ignore[method-assign]
    options = Options(steps=steps + WARM + 1, validations=1, learning_rate=1e-4)
    train(model.params, AdamW(model.params), task, options, rng, quiet=True)
    return float(np.median(np.diff(began)[WARM:]))


def table(models: dict, args: argparse.Namespace) -> None:
    """Start the jobs, and print their measures beside the plan."""
    print(described(machine()), end="\n\n")
    command = ["-m", "benchmarks.plan", "--job", "--steps", str(args.steps)]
    command += ["--tiny"] if args.tiny else []
    measures = {}
    for n in args.ranks:
        done = subprocess.run(
            report.python(*command, ranks=n),
            env=os.environ | {"OMP_NUM_THREADS": str(args.threads)},
            capture_output=True,
            text=True,
            check=True,
        )
        measures[n] = json.loads(done.stdout)
        each = measures[n]["machine"] = Machine(**measures[n]["machine"])
        print(
            f"{n} ranks at once, of each: {each.products / 1e9:.0f} GFLOP/s, "
            f"{each.memory / 1e9:.1f} GB/s of memory"
            + (
                f", {each.network / 1e9:.2f} GB/s between them, {each.latency * 1e6:.0f} us"
                if n > 1
                else ""
            ),
            flush=True,
        )
    columns = ("step, planned", "measured", "tokens/s, planned", "measured", "measured / planned")
    columns += ("efficiency, planned", "measured")
    print(f"\n| GPT | scaling | ranks | rows | {' | '.join(columns)} |")
    print("|---|---|--:|--:|" + "--:|" * len(columns))
    for name, (sizes, rows) in models.items():
        layers, heads, width, context, vocabulary = sizes
        demand = costs.of_gpt(GPTConfig(vocabulary, context, layers, heads, width))
        alone: tuple = ()
        for way, step in (("weak", costs.weak), ("strong", costs.strong)):
            for n in args.ranks:
                planned = step(demand, measures[n]["machine"], rows, n)
                if planned is None:
                    continue
                seconds = measures[n][name][way]
                rates = planned.rate, planned.tokens / seconds
                alone = rates if n == args.ranks[0] else alone
                shares = [
                    rate * args.ranks[0] / (n * one) for rate, one in zip(rates, alone, strict=True)
                ]
                print(
                    f"| {name} {sizes} | {way} | {n} | {planned.rows} | "
                    f"{planned.seconds * 1e3:.1f} ms | {seconds * 1e3:.1f} ms | "
                    f"{rates[0]:,.0f} | {rates[1]:,.0f} | {rates[1] / rates[0]:.2f} | "
                    f"{shares[0]:.0%} | {shares[1]:.0%} |"
                )


if __name__ == "__main__":
    main()
