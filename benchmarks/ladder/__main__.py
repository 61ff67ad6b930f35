"""One small GPT in seven ways, from Python's numbers to compilers: milliseconds per step.

    python -m benchmarks.ladder [--threads 1 2] [--out runs/ladder]

A step is a forward pass, a backward pass and Adam.  All start from the same weights, and their
losses before each of the first steps, and after ten, must be equal: within 1e-5 of the loss.  The
first computes in double precision, the others in float32.  Then they take turns in one process, one
process per number of threads.  What is not installed is left out, and so is at larger sizes what
takes more than half a second per step.

The second table has an LSTM and causal attention, forward and backward, in NumPy, Cython, PyTorch
and Numba.  The figures (.jsonl) and the tables (.md) are written to files named after the date.
"""

import importlib
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from benchmarks.machine import described, machine
from minillm.errors import InputError
from minillm.models.gpt import GPT, GPTConfig
from minillm.timing.contest import Case, check_agreement, limits, threads, timed, turns
from minillm.timing.results import Cell, Limits, Results

from .. import cases, command
from ..files import Kept, new_file

STEPS, LEARNING_RATE, TOLERANCE = 10, 1e-3, 1e-5
SECONDS, ROUNDS, LONGEST = 20.0, 5, 0.5  # per size; at least; of a step at the next size
STEP, KERNELS = "training step", ("lstm", "attention, causal")


class Size(NamedTuple):
    """The sizes of a model, and of its batch."""

    layers: int
    width: int
    batch: int
    time: int
    heads: int = 4

    def __str__(self) -> str:
        return f"{self.layers} x {self.width}, {self.batch} x {self.time}"


SIZES = [Size(1, 16, 1, 16), Size(2, 32, 4, 32), Size(4, 128, 12, 64)]

# The rungs by name: the file, and the options of its new_step.
RUNGS: dict[str, tuple[str, dict[str, Any]]] = {
    "Python": ("in_python", {}),
    "NumPy": ("in_numpy", {}),
    "minillm, NumPy": ("in_package", {"kernels": "numpy"}),
    "minillm, Cython": ("in_package", {"kernels": "cython"}),
    "PyTorch": ("in_pytorch", {}),
    "PyTorch, compiled": ("in_pytorch", {"compiled": True}),
    "JAX": ("in_jax", {}),
    "Numba": ("in_numba", {}),
}


Step = Callable[[], float]  # it returns the loss before it


def installed(names: Iterable[str]) -> dict[str, Callable[..., Step]]:
    """The rungs whose libraries are installed, by name; a line says which ones are missing."""
    found = {}
    for name in names:
        file, options = RUNGS[name]
        try:
            rung = importlib.import_module(f"benchmarks.ladder.{file}")
        except ImportError as error:
            left_out(name, error)
        else:
            found[name] = partial(rung.new_step, **options)
    return found


def left_out(name: str, error: Exception) -> None:
    reason = str(error).strip().partition("\n")[0]
    print(f"{name} is left out: {reason}", file=sys.stderr, flush=True)


def new_steps(
    size: Size, rungs: Mapping[str, Callable[..., Step]], dtype: DTypeLike = np.float32
) -> Iterator[tuple[str, Step]]:
    """Yield the name and the training step of each rung, all with the same weights and batch."""
    config = GPTConfig(65, size.time, size.layers, size.heads, size.width)
    rng = np.random.default_rng(0)
    params = GPT(config, rng, dtype=dtype).params
    ids = rng.integers(0, config.vocabulary, (size.batch, size.time + 1))
    for name, new_step in rungs.items():
        own: dict[str, Any] = {key: array.copy() for key, array in params.items()}
        batch: list[Any] = [ids[:, :-1].copy(), ids[:, 1:].copy()]
        if name == "Python":
            own = {key: array.tolist() for key, array in own.items()}
            batch = [array.tolist() for array in batch]
        yield name, new_step(config, own, *batch, LEARNING_RATE)


def first_losses(step: Step) -> list[float]:
    """The losses before each of the first steps, and after them."""
    return [step() for _ in range(STEPS + 1)]


def measured(count: int) -> list[Limits | Cell]:
    """Time all rungs and kernels on a number of threads, in a process that has just started."""
    rungs = installed(RUNGS)  # before the threads of their libraries are set
    with threads(count):
        records: list[Limits | Cell] = [limits(count)]
        for size in SIZES:
            running, losses = {}, {}
            for name, step in new_steps(size, rungs):
                try:
                    losses[name] = first_losses(step)
                except Exception as error:  # torch.compile, say, finds no compiler
                    left_out(name, error)
                    continue
                running[name] = step
                print(
                    f"{count}: {size}: {losses[name][-1]:.6f} {name}", file=sys.stderr, flush=True
                )
            check_agreement(f"{STEP} ({size})", losses, TOLERANCE)
            times = turns(running, SECONDS, ROUNDS, count)
            cell = Cell(count, STEP, str(size), 0.0, 0.0, times)
            records.append(cell)
            rungs = {name: rungs[name] for name in running if cell.median(name) <= LONGEST}
        records += [timed(case, count, SECONDS, ROUNDS) for case in kernels()]
        return [*records, limits(count)]


def kernels() -> Iterator[Case]:
    """Yield an LSTM of two sizes, and causal attention: forward and backward."""
    for sizes in cases.FEW:
        yield cases.recurrence("lstm", *sizes)
    yield from (case for case in cases.operations(False) if case.kind == "attention, causal")


def tables(results: Results) -> str:
    """Format the machine, and a table for each kind of work, in Markdown."""
    parts = [described(results.machine).replace("\n", "; ")]
    for kind in dict.fromkeys(cell.kind for cell in results.cells):
        parts.append(table(kind, [cell for cell in results.cells if cell.kind == kind]))
    return "\n\n".join(parts) + "\n"


def table(kind: str, cells: Sequence[Cell]) -> str:
    """Format milliseconds: a line per contestant, a column per size and number of threads."""
    sizes = list(dict.fromkeys(cell.sizes for cell in cells))
    cells = sorted(cells, key=lambda cell: (sizes.index(cell.sizes), cell.threads))
    head = [f"{cell.sizes}: {cell.threads} thread{'s' * (cell.threads > 1)}" for cell in cells]
    rows = [[f"{kind}, ms", *head], ["---", *["--:"] * len(head)]]
    for name in dict.fromkeys(name for cell in cells for name in cell.seconds):
        found = [1e3 * cell.median(name) if name in cell.seconds else None for cell in cells]
        rows.append([name, *("" if ms is None else milliseconds(ms) for ms in found)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def milliseconds(ms: float) -> str:
    """Three digits."""
    return f"{ms:,.0f}" if ms >= 100 else f"{ms:#.3g}"


def main() -> int:
    parser = command.parser(__doc__)
    counts = sorted({1, os.cpu_count() or 1})
    parser.add_argument("--threads", type=int, nargs="+", default=counts, metavar="N")
    parser.add_argument("--out", type=Path, default=Path("runs/ladder"), metavar="DIR")
    options = parser.parse_args()
    results = Kept(machine())
    with new_file(options.out) as file:
        path = Path(file.name)
        results.write_to(file)
        try:
            for count in options.threads:
                with threads(count):  # refused before a process is started
                    pass
                for record in in_a_fresh_process(count):
                    results.add(record)
        except InputError as error:
            print(f"benchmarks.ladder: {error}", file=sys.stderr)
            return 2
        finally:
            if not results.cells:
                path.unlink()
    path.with_suffix(".md").write_text(tables(results))
    print(tables(results))
    print(f"The figures and the tables are {path.with_suffix('')}.jsonl and .md.")
    return 0


def in_a_fresh_process(count: int) -> list[Limits | Cell]:
    """Call `measured` where XLA and Numba start with this number of threads."""
    os.environ |= {"NPROC": str(count), "NUMBA_NUM_THREADS": str(max(count, 1))}
    own = importlib.import_module(
        "benchmarks.ladder.__main__"
    )  # a name that the process can import
    with multiprocessing.get_context("spawn").Pool(1) as process:
        return process.apply(own.measured, (count,))


if __name__ == "__main__":
    sys.exit(main())
