"""The wrong line named in 200 backwards of the package that ``benchmarks/bugs`` does not have.

    python -m benchmarks.bugs_anew ops 70 FILE.jsonl [--seed 54]        and layers 65, models 65

Mutants of ``tests/mutation`` are drawn from a folder.  Each runs in a process of its own, in a copy
of the project, with NumPy alone.  It counts if the checker finds it, the forward does not run its
line, and the backward raises no error.  Results are appended to the file, which the table is of.
"""

import argparse
import copy
import dataclasses
import functools
import itertools
import json
import random
import re
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
SIGNS = {"negated": -1, "as zeros": 0}
SMALL = {"layers": 1, "width": 4, "head_width": 2, "feed_forward": 5}
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
    """A configuration with one layer, and a width of 4, and so has its encoder."""
    given = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    changes: dict[str, Any] = {name: size for name, size in SMALL.items() if name in given}
    if dataclasses.is_dataclass(given.get("encoder")):
        changes["encoder"] = smaller(given["encoder"])
    return dataclasses.replace(config, **changes)


ROOMS: dict[str, dict[str, Callable[[np.random.Generator], Case]]] = {
    "ops": {n: case for n, case in gradient_cases.CASES.items() if n not in bugs.CASES},
    "layers": {f"layer, {name}": functools.partial(of_layer, name) for name in LAYERS},
    "models": {f"model, {name}": functools.partial(of_model, name) for name in TABLE},
}
CASES = ROOMS["ops"] | ROOMS["layers"] | ROOMS["models"]


def judge(names: list[str], file: str, line: int) -> None:
    """Print the verdict on a mutant at the first case at which the checker finds it."""
    for name, seed in itertools.product(names, range(SEEDS)):
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
                result = {"case": name, "seed": seed, "verdict": said, "ms": ms, "text": found.text}
                print(json.dumps(result))
                return
    print("null")


@functools.cache
def lines_of_backward(name: str) -> set[tuple[str, int]]:
    """The lines of the package that the backward of a case runs, and its forward does not."""
    seen: list[set[tuple[str, int]]] = [set(), set()]

    def trace(frame: Any, event: str, _: Any) -> Any:
        seen[phase].add((frame.f_code.co_filename, frame.f_lineno))
        return trace if frame.f_code.co_filename.startswith(str(ROOT)) else None

    for seed in range(SEEDS):
        op, args = CASES[name](np.random.default_rng(seed))
        if sum(np.size(a) for a in args if a is not None) > MOST:
            return set()
        phase = 0
        with use_kernels("numpy"):
            sys.settrace(trace)
            y, backward = op(*args)
            phase = 1
            backward(*map(np.ones_like, y if isinstance(y, tuple) else [y]))
            sys.settrace(None)
    return seen[1] - seen[0]


def drawn(room: str, seed: int) -> Iterator[tuple[Mutant, list[str]]]:
    """The mutants of a folder in random order, with three cases that run their lines."""
    pages = sorted((ROOT / "minillm" / room).rglob("*.py"))
    found = [m for p in pages for m in python.mutants(p.relative_to(ROOT), p.read_text(), True)]
    rng = random.Random(seed)
    for mutant in rng.sample(found, len(found)):
        place = str(ROOT / mutant.path), mutant.line
        for cases in (ROOMS[room], ROOMS["models"] if room == "layers" else {}):
            if names := [name for name in cases if place in lines_of_backward(name)]:
                yield of_gradients(mutant), rng.sample(names, min(3, len(names)))
                break


def of_gradients(mutant: Mutant) -> Mutant:
    """The mutant; of gradients by name, which have no sign, each is negated or zero."""
    old, what = mutant.source[mutant.begin : mutant.end], mutant.what.rpartition(": returned ")[2]
    if what in SIGNS and re.match(r"\{|(merge_)?gradients|of_|\w+_backward\(dhs\)\[1\]", old):
        new = f"{{name: {SIGNS[what]} * g for name, g in ({old}).items()}}"
        return dataclasses.replace(mutant, new=new)
    return mutant


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("room", choices=ROOMS)
    parser.add_argument("count", type=int)
    parser.add_argument("file", type=Path)
    parser.add_argument("--seed", type=int, default=54)
    options = parser.parse_args()
    left, commit = options.count, subprocess.getoutput(f"git -C {ROOT} rev-parse --short HEAD")
    with tempfile.TemporaryDirectory() as folder, options.file.open("a") as file:
        project = Project(ROOT, Path(folder).resolve())
        setting = {"PYTHONPATH": f"{project.folder}:{ROOT}", "MINILLM_KERNELS": "numpy"}
        mutants = drawn(options.room, options.seed)
        for mutant, names in mutants:
            call = f"judge({names!r}, {str(mutant.path)!r}, {mutant.line})"
            code = f"from benchmarks.bugs_anew import judge; {call}"
            with project.with_change(mutant):
                outcome = project.run(sys.executable, "-Bc", code, **setting)
            found = json.loads(outcome.output.splitlines()[-1]) if outcome.code == 0 else None
            print(mutant, "" if found else f"does not count: {outcome.output[-300:]}", flush=True)
            if found:
                change = {"old": mutant.source[mutant.begin : mutant.end], "new": mutant.new}
                place = {"file": str(mutant.path), "line": mutant.line, "commit": commit}
                print(json.dumps(place | change | found), file=file, flush=True)
                left -= 1
            if not left:
                break
    results = [json.loads(line) for line in options.file.read_text().splitlines()]
    groups = {room: [r for r in results if f"/{room}/" in r["file"]] for room in ROOMS}
    print(shares({"all": results} | groups))


if __name__ == "__main__":
    main()
