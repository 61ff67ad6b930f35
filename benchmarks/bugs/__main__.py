"""Run a gradient checker of your own over the frozen set of wrong backwards, and print its score.

    python -m benchmarks.bugs mine.py:check [--quick]
    python -m benchmarks.bugs benchmarks.checkers:ours

``check(op, args, seed)`` raises an exception, of any type, where it finds the backward of ``op``
wrong at the arguments ``args``, and returns otherwise.  README.md states the convention of ops.
--quick takes every tenth bug and a tenth of the seeds.  This folder needs NumPy alone and may be
copied anywhere: python -m bugs mine.py:check.
"""

import argparse
import importlib
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from . import bugs, by_hand
from .score import (
    BUG_SEEDS,
    RIGHT_SEEDS,
    Checker,
    accuse_right_ops,
    by_kind,
    by_right_op,
    escaped,
    find_bugs,
    share,
)


def loaded(text: str) -> Callable[..., Any]:
    """The function that FILE.py:NAME or MODULE:NAME names."""
    place, _, name = text.rpartition(":")
    try:
        if place.endswith(".py"):
            sys.path.insert(0, str(Path(place).resolve().parent))  # it may import its neighbours
            function = runpy.run_path(place).get(name)
        else:
            function = getattr(importlib.import_module(place), name, None)
    except FileNotFoundError:
        raise argparse.ArgumentTypeError(f"{place}: there is no such file") from None
    except (ImportError, OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from None
    if not callable(function):
        raise argparse.ArgumentTypeError(f"{text}: expected a function {name}, found none")
    return function


def page(results: dict[str, Any], right_seeds: int) -> str:
    """The score in Markdown: in total, by kind, of right ops, and the bugs that escape."""
    (name,) = results["missed"]
    counts = results["found"]
    found, asked = np.sum([of_kind[name] for of_kind in counts.values()], axis=0)
    none, absent = counts[by_hand.NONE][name]
    in_float64 = [alarms for what, alarms in results["right"].items() if "float32" not in what]
    alarms = sum(of_op[name] or 0 for of_op in in_float64)
    checks = len(in_float64) * right_seeds
    return "\n\n".join(
        [
            f"{name}: {share(found, asked)} of {asked:g} bugs found, "
            f"{share(found - none, asked - absent)} without the kind {by_hand.NONE!r}, "
            f"{alarms} false alarms in {checks:,} checks in float64",
            by_kind(counts),
            f"False alarms in {right_seeds:,} checks of each right op (-: refused):",
            by_right_op(results["right"]),
            escaped(name, results["missed"][name]),
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        prog=f"python -m {__package__}",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("check", type=loaded, metavar="FILE.py:NAME", help="or MODULE:NAME")
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    options = parser.parse_args()
    tenth = 10 if options.quick else 1
    checker = Checker(options.check.__name__, options.check, takes_none=True)
    results = find_bugs([checker], bugs()[::tenth], 1 if options.quick else BUG_SEEDS)
    results["right"] = accuse_right_ops([checker], RIGHT_SEEDS // tenth)
    print(page(results, RIGHT_SEEDS // tenth))
    return 0


if __name__ == "__main__":
    sys.exit(main())
