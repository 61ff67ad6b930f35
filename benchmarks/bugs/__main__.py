"""Run a gradient checker of your own over the frozen set of wrong backwards, and print its score.

    python -m benchmarks.bugs mine.py:check [--quick]
    python -m benchmarks.bugs mine.py:locate --lines [--quick]
    python -m benchmarks.bugs benchmarks.checkers:ours

``check(op, args, seed)`` raises an exception, of any type, where it finds the backward of ``op``
wrong at the arguments ``args``, and returns otherwise.  README.md states the convention of ops.
``locate(op, args, seed)`` of --lines names the wrong lines: lines.py.
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

from . import bugs, lines
from .score import Checker, escaped, page, scored


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


def main() -> int:
    parser = argparse.ArgumentParser(
        prog=f"python -m {__package__}",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("check", type=loaded, metavar="FILE.py:NAME", help="or MODULE:NAME")
    parser.add_argument("--lines", action="store_true", help="it names the wrong lines")
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    options = parser.parse_args()
    if options.lines:
        chosen, seeds = (bugs()[::10], 1) if options.quick else (bugs(), lines.RIGHT_SEEDS)
        print(lines.page(lines.scored(options.check, chosen, seeds)))
        return 0
    checker = Checker(options.check.__name__, options.check, takes_none=True)
    results = scored([checker], options.quick)
    print(page(results), escaped(results["missed"][checker.name]), sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
