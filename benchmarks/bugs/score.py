"""The score of a gradient checker on the frozen set: what it finds, and what it accuses wrongly."""

import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

import numpy as np

from . import Bug, Op, arguments, bugs, by_hand, right_op, shows
from .cases import CASES
from .right import RIGHT

BUG_SEEDS, RIGHT_SEEDS = 3, 1000
KINDS = [
    *("mutant", by_hand.FACTOR, by_hand.SUM, by_hand.ORDER, by_hand.TERM, by_hand.TIME),
    *(by_hand.MASK, by_hand.KEPT, by_hand.BRANCH, by_hand.PLACE, by_hand.SMALL),
    *(by_hand.UPSTREAM, by_hand.CONVENTION, by_hand.NONE),
]
Args = tuple[Any, ...]


@dataclass(frozen=True)
class Checker:
    name: str
    check: Callable[[Op, Args, int], None]
    library: str = ""
    takes_none: bool = False  # whether its functions see None as the gradient of an output


QUIET, ALARM, REFUSED = "quiet", "alarm", "refused"


def verdict(checker: Checker, op: Op, args: Args, seed: int) -> tuple[str, float]:
    """The verdict of a checker on an op, and the seconds that it took.

    Any error is an alarm, whatever its kind.  Only where an op is right does it matter that a
    checker refuses arguments of a type, by a TypeError.
    """
    copies = tuple(a.copy() if isinstance(a, np.ndarray) else a for a in args)
    start = time.perf_counter()
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            checker.check(op, copies, seed)
        said = QUIET
    except TypeError:
        said = REFUSED
    except Exception:
        said = ALARM
    return said, time.perf_counter() - start


def clear() -> None:
    """Let JAX forget the functions that it has compiled."""
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()


def scored(checkers: list[Checker], quick: bool = False) -> dict[str, Any]:
    """All that :func:`page` shows of checkers; quick: with a tenth of everything."""
    chosen, bug_seeds, right_seeds = bugs(), BUG_SEEDS, RIGHT_SEEDS
    if quick:
        chosen, bug_seeds, right_seeds = chosen[::10], 1, right_seeds // 10
    sizes = {"bugs": len(chosen), "bug_seeds": bug_seeds, "right_seeds": right_seeds}
    found = find_bugs(checkers, chosen, bug_seeds)
    return {**sizes, **found, "right": accuse_right_ops(checkers, right_seeds)}


def find_bugs(checkers: list[Checker], chosen: list[Bug], seeds: int) -> dict[str, Any]:
    """Give each bug to each checker, at the seeds at which it shows.

    A bug counts by the share of these seeds at which it is found.  Returns, for each kind and
    checker, the sum of the shares and the number of bugs, for each checker the bugs that it missed
    at some seed, with their shares, and the mean seconds that it takes for a right op.
    """
    trusted, seconds = set(), {}
    for checker in checkers:
        verdict(checker, right_op("rnn"), arguments("rnn", 0), 0)  # loads its library
        medians = []
        for op in CASES:
            taken = []
            for seed in range(seeds):
                said, duration = verdict(checker, right_op(op), arguments(op, seed), seed)
                taken.append(duration)
                if said == QUIET:
                    trusted.add((checker.name, op, seed))
            medians.append(median(taken))
        seconds[checker.name] = fmean(medians)
    found = {kind: {checker.name: [0.0, 0] for checker in checkers} for kind in KINDS}
    missed: dict[str, dict[str, float]] = {checker.name: {} for checker in checkers}
    for number, bug in enumerate(chosen):
        wrong = bug.wrong_op()
        shown = [seed for seed in range(seeds) if shows(bug, seed)]
        for checker in checkers:
            if bug.kind == by_hand.NONE and not checker.takes_none:
                continue
            hits = fmean(
                (checker.name, bug.op, seed) in trusted
                and verdict(checker, wrong, arguments(bug.op, seed), seed)[0] != QUIET
                for seed in shown
            )
            count = found[bug.kind][checker.name]
            count[0], count[1] = count[0] + hits, count[1] + 1
            if hits < 1:
                missed[checker.name][str(bug)] = hits
        if number % 50 == 0:
            clear()
            print(f"bug {number} of {len(chosen)}: {bug}", file=sys.stderr, flush=True)
    return {"found": found, "missed": missed, "seconds": seconds}


def accuse_right_ops(checkers: list[Checker], seeds: int) -> dict[str, dict[str, Any]]:
    """How often each checker accuses a right op; None where it refuses its arguments."""
    results: dict[str, dict[str, Any]] = defaultdict(dict)
    for what, draw in RIGHT.items():
        for checker in checkers:
            said = []
            for seed in range(seeds):
                op, args = draw(np.random.default_rng(seed))
                said.append(verdict(checker, op, args, seed)[0])
                if seed % 200 == 0:
                    clear()
            refused = said.count(REFUSED) == seeds
            results[what][checker.name] = None if refused else said.count(ALARM)
        print(f"{what}: {results[what]}", file=sys.stderr, flush=True)
    return results


# --- tables -----------------------------------------------------------------------------------


def page(results: dict[str, Any]) -> str:
    """The tables in Markdown."""
    seeds, right = results["right_seeds"], results["right"]
    in_float64 = [counts for what, counts in right.items() if "float32" not in what]
    rows = []
    for name, seconds in results["seconds"].items():
        found, asked = np.sum([counts[name] for counts in results["found"].values()], axis=0)
        alarms = sum(counts[name] or 0 for counts in in_float64)
        checks = len(in_float64) * seeds
        rows.append([name, share(found, asked), share(alarms, checks), f"{1e3 * seconds:.1f}"])
    return "\n\n".join(
        [
            table(["checker", "bugs found", "false alarms in float64", "ms a check"], *rows),
            "Bugs found, by kind (-: the library has no such thing):",
            by_kind(results["found"]),
            f"False alarms in {seeds:,} checks of each right op (-: refused):",
            by_right_op(right),
        ]
    )


def table(header: list[str], *rows: list[str]) -> str:
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def share(part: float, whole: float) -> str:
    """Format a share; 100 % is all of them, and no rounding."""
    if not whole:
        return "-"
    percent = 100 * part / whole
    return f"{percent:.0f} %" if percent in (0, 100) else f"{min(percent, 99.9):.1f} %"


def by_kind(found: dict[str, dict[str, Any]]) -> str:
    names = list(found["mutant"])
    return table(
        ["kind", "bugs", *names],
        *(
            [kind, str(counts[names[0]][1]), *(share(*counts[name]) for name in names)]
            for kind, counts in found.items()
        ),
    )


def by_right_op(right: dict[str, dict[str, int | None]]) -> str:
    names = list(next(iter(right.values())))
    rows = [
        [what, *("-" if counts[name] is None else str(counts[name]) for name in names)]
        for what, counts in right.items()
    ]
    return table(["right op", *names], *rows)


def escaped(missed: dict[str, float]) -> str:
    """A list of the bugs that a checker missed, by name."""
    lines = [
        "- " + bug.replace("*", r"\*") + (f" (found at {part:.0%} of its inputs)" if part else "")
        for bug, part in missed.items()
    ]
    return "\n".join([f"Bugs that escape: {len(missed)}", "", *lines])
