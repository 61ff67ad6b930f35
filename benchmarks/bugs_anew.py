"""The wrong line named in 200 backwards of the package that ``benchmarks/bugs`` does not have.

    python -m benchmarks.bugs_anew ops 70 [--seed 54] [--out FILE]      and layers 65, models 65

Mutants of ``tests/mutation`` are drawn from a folder.  Each runs in a process of its own, in a copy
of the project, with NumPy alone.  It counts if the checker finds it, no forward runs its line, and
the backward raises no error.  The results are appended to the file; the table is of all in it.
"""

import argparse
import copy
import dataclasses
import functools
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from minillm._kernels import use_kernels
from minillm.ops import gradient_cases
from minillm.testing import GradientError
from minillm.testing.gradients import check_point
from minillm.testing.lines import locate
from minillm.testing.point import Point
from tests.layers.test_every_layer import LAYERS, D
from tests.model_table import TABLE
from tests.mutation import python
from tests.mutation.mutant import Mutant
from tests.mutation.project import Project

from . import bugs
from .bugs.lines import shares, verdict

ROOT = Path(__file__).parents[1]
MOST, SECONDS, SEEDS = 700, 60, 3  # numbers in the arguments of a case; of a search; of inputs
Case = tuple[Callable, tuple[Any, ...]]


def of_layer(name: str, rng: np.random.Generator) -> Case:
    """A layer as an op of its input and its weights."""
    layer, params, _ = LAYERS[name]

    def op(x: Any, *arrays: Any) -> tuple[Any, Callable]:
        y, layer_backward = layer(dict(zip(params, arrays, strict=True)), x)

        def backward(dy: Any) -> tuple[Any, ...]:
            dx, gradients = layer_backward(dy)
            return dx, *(gradients[name] for name in params)

        return y, backward

    return op, (rng.standard_normal((2, 5, D)), *params.values())


def of_model(name: str, rng: np.random.Generator) -> Case:
    """The loss of a model as an op of its weights."""
    entry = TABLE[name]
    model = dataclasses.replace(entry, config=smaller(entry.config)).new(seed=rng.integers(1000))
    batch, names = entry.batch(model, rng), list(model.params)

    def op(*arrays: Any) -> tuple[Any, Callable]:
        own = copy.copy(model)
        own.params = dict(zip(names, arrays, strict=True))
        loss, model_backward = own.loss(batch)

        def backward(dloss: Any) -> tuple[Any, ...]:
            gradients = model_backward()
            return tuple(dloss * gradients[name] for name in names)

        return loss, backward

    return op, tuple(model.params.values())


def smaller(config: Any) -> Any:
    """Most configurations with one layer, and a width of 4."""
    names = {field.name for field in dataclasses.fields(config)}
    changes: dict[str, Any] = {n: n_of for n, n_of in SMALL.items() if n in names}
    if "encoder" in names and dataclasses.is_dataclass(config.encoder):
        changes["encoder"] = smaller(config.encoder)
    return dataclasses.replace(config, **changes)


SMALL = {"layers": 1, "width": 4, "head_width": 2, "feed_forward": 5}
ROOMS: dict[str, dict[str, Callable[[np.random.Generator], Case]]] = {
    "ops": {n: case for n, case in gradient_cases.CASES.items() if n not in bugs.CASES},
    "layers": {f"layer, {name}": functools.partial(of_layer, name) for name in LAYERS},
    "models": {f"model, {name}": functools.partial(of_model, name) for name in TABLE},
}
CASES = ROOMS["ops"] | ROOMS["layers"] | ROOMS["models"]


def judged(names: list[str], file: str, line: int) -> dict[str, Any] | None:
    """The first case at which the checker finds a mutant, and the verdict there."""
    for name, seed in ((name, seed) for name in names for seed in range(SEEDS)):
        op, args = CASES[name](np.random.default_rng(seed))
        try:
            check_point(Point(op, args, np.random.default_rng([seed, 1])))
        except GradientError as error:
            if error.__cause__ is None and error.fault is not None:
                start = time.process_time()
                found = locate(*error.fault, SECONDS)
                ms = 1e3 * (time.process_time() - start)
                places = [(s.file, s.line, s.end) for s in found.suspects]
                said = verdict(places, str(Path(file).resolve()), line)
                return {"case": name, "seed": seed, "verdict": said, "ms": ms, "text": found.text}
    return None


@functools.cache
def lines_of(name: str) -> list[set[tuple[str, int]]]:
    """The lines of the package that the forward of a case runs, and those of its backward."""
    seen: list[set[tuple[str, int]]] = [set(), set()]

    def trace(frame: Any, event: str, _: Any) -> Any:
        seen[phase].add((frame.f_code.co_filename, frame.f_lineno))
        return trace if frame.f_code.co_filename.startswith(str(ROOT)) else None

    for seed in range(SEEDS):
        op, args = CASES[name](np.random.default_rng(seed))
        if sum(np.size(a) for a in args if a is not None) > MOST:
            return [set(), set()]
        phase = 0
        sys.settrace(trace)
        y, backward = op(*args)
        phase = 1
        backward(*map(np.ones_like, y if isinstance(y, tuple) else [y]))
        sys.settrace(None)
    return seen


def drawn(room: str, seed: int) -> Iterator[tuple[Mutant, list[str]]]:
    """The mutants of a folder in random order, with three cases that run their lines."""
    pages = sorted((ROOT / "minillm" / room).rglob("*.py"))
    found = [m for p in pages for m in python.mutants(p.relative_to(ROOT), p.read_text())]
    rng = random.Random(seed)
    for mutant in rng.sample(found, len(found)):
        place = str(ROOT / mutant.path), mutant.line
        for cases in (ROOMS[room], ROOMS["models"] if room == "layers" else {}):
            runs = {name: lines_of(name) for name in cases}
            if names := [n for n, (there, back) in runs.items() if place in back - there]:
                yield mutant, rng.sample(names, min(3, len(names)))
                break


def run(room: str, count: int, seed: int, out: Path) -> None:
    """Draw mutants of a folder until the checker has found so many."""
    commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], text=True, cwd=ROOT)
    with tempfile.TemporaryDirectory() as folder, out.open("a") as file:
        project = Project(ROOT, Path(folder).resolve())
        setting = {"PYTHONPATH": f"{project.folder}:{ROOT}", "MINILLM_KERNELS": "numpy"}
        for mutant, names in drawn(room, seed):
            task = json.dumps([names, str(mutant.path), mutant.line])
            command = sys.executable, "-Bm", "benchmarks.bugs_anew", "--mutant", task
            with project.with_change(mutant):
                outcome = project.run(*command, **setting)
            found = json.loads(outcome.output.splitlines()[-1]) if outcome.code == 0 else None
            print(mutant, "" if found else f"does not count: {outcome.output[-300:]}", flush=True)
            if found:
                change = {"old": mutant.source[mutant.begin : mutant.end], "new": mutant.new}
                place = {"file": str(mutant.path), "line": mutant.line, "commit": commit.strip()}
                print(json.dumps(place | change | found), file=file, flush=True)
                count -= 1
            if not count:
                break


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("room", nargs="?", choices=ROOMS)
    parser.add_argument("count", nargs="?", type=int, default=65)
    parser.add_argument("--seed", type=int, default=54)
    parser.add_argument("--out", type=Path, default=Path("bugs-anew.jsonl"), metavar="FILE")
    parser.add_argument("--mutant", help=argparse.SUPPRESS)
    options = parser.parse_args()
    with use_kernels("numpy"):
        if options.mutant:
            print(json.dumps(judged(*json.loads(options.mutant))))
            return
        if options.room:
            run(options.room, options.count, options.seed, options.out)
    found = [json.loads(line) for line in options.out.read_text().splitlines()]
    groups = {room: [f for f in found if f["file"].split("/")[1] == room] for room in ROOMS}
    print(shares({"all": found} | groups))


if __name__ == "__main__":
    main()
