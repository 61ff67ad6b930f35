"""The score of a function that names the wrong line of a backward.

``locate(op, args, seed)`` returns [(file, first line, last line), ...], the likeliest first; [] or
None if it names none.  A file is the ``co_filename`` of a function, and ``inspect`` has its source.
"""

import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from . import Bug, Op, arguments, right_op, shows
from .cases import CASES
from .right import RIGHT
from .score import BUG_SEEDS, KINDS, Args, share, table

ONE, FIRST, LIST, OTHER, NONE = "one", "first", "list", "other", "none"
RIGHT_SEEDS = 5
Place = tuple[str, int, int]
Locate = Callable[[Op, Args, int], list[Place] | None]


def verdict(places: list[Place] | None, file: str, line: int) -> str:
    """How a list of places names a line."""
    hits = [found == file and first <= line <= last for found, first, last in places or []]
    if not any(hits):
        return OTHER if hits else NONE
    if not hits[0]:
        return LIST
    return FIRST if len(set(places or [])) > 1 else ONE


def asked(locate: Locate, op: Op, args: Args, seed: int) -> tuple[list[Place] | None, float]:
    """The places that it names, if it raises no error, and its milliseconds of CPU time."""
    start = time.process_time()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            places = locate(op, args, seed)
        except Exception as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            places = None
    return places, 1e3 * (time.process_time() - start)


def scored(locate: Locate, chosen: list[Bug], seeds: int = RIGHT_SEEDS) -> dict[str, Any]:
    """All that :func:`page` shows: each bug at the first seed at which it shows, and right ops."""
    asked(locate, right_op("rnn"), arguments("rnn", 0), 0)  # loads its libraries
    found = []
    for bug in chosen:
        seed = next(seed for seed in range(BUG_SEEDS) if shows(bug, seed))
        places, ms = asked(locate, bug.wrong_op(), bug.arguments(seed), seed)
        said = verdict(places, str(bug), bug.wrong_line())
        found.append({"bug": str(bug), "kind": bug.kind, "verdict": said, "ms": ms})
    accused: Counter[str] = Counter()
    for seed in range(seeds):
        cases = {name: (right_op(name), arguments(name, seed)) for name in CASES}
        cases |= {what: draw(np.random.default_rng(seed)) for what, draw in RIGHT.items()}
        accused.update({name: bool(asked(locate, *case, seed)[0]) for name, case in cases.items()})
    return {"bugs": found, "right_seeds": seeds, "accused": dict(accused)}


# --- tables -----------------------------------------------------------------------------------


def page(results: dict[str, Any]) -> str:
    """The tables in Markdown."""
    groups = {"all": results["bugs"]}
    groups |= {kind: [bug for bug in results["bugs"] if bug["kind"] == kind] for kind in KINDS}
    accused, seeds = results["accused"], results["right_seeds"]
    names = ", ".join(f"{name} ({count})" for name, count in accused.items() if count)
    said = f"Right ops accused: {sum(accused.values())} in {seeds * len(accused)}"
    return "\n\n".join([shares(groups), f"{said}: {names}" if names else said])


def shares(groups: dict[str, list[dict[str, Any]]]) -> str:
    """The shares of each verdict.  Who names the one line also names it first, and in the list."""
    header = ["bugs", "number", "the one line", "first", "in the list", "another", "no line"]
    rows = []
    for name, found in groups.items():
        if found:
            counts = Counter(bug["verdict"] for bug in found)
            row, ms = [name, str(len(found))], np.percentile([bug["ms"] for bug in found], [50, 90])
            for said in ([ONE], [ONE, FIRST], [ONE, FIRST, LIST], [OTHER], [NONE]):
                row.append(share(sum(counts[kind] for kind in said), len(found)))
            rows.append([*row, *(f"{value:.0f}" for value in ms)])
    return table([*header, "median ms", "90th percentile"], *rows)
