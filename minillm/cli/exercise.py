"""Do an exercise of the book, and have it checked.

Without a name, list the exercises, with their levels (* to ***) and minutes, and the ones you have
solved.  With a name, write a file with a function that has a hole, or with a backward pass that
has a wrong line (find-...).  Fill the hole, or mend the line and name the fault, with any editor.
--check compares the function with the package on random cases, reports which output or gradient is
wrong, at which coordinate, and gives a hint.  A second failure in the same place gives a second
hint.  Your file runs in a process of its own: its output appears on standard error, and it is
stopped after a minute without an answer.

In a notebook: from minillm.exercises import check; then check(linear), below your function linear.

examples:
  minillm exercise                      the list
  minillm exercise linear               writes exercises/linear.py
  minillm exercise linear --check       right or wrong, and why
  minillm exercise linear --solution    after an attempt: the place in the package
"""

import argparse
from itertools import groupby
from pathlib import Path

from minillm.cli.arguments import ArgumentParser
from minillm.errors import InputError, did_you_mean


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the name, and what to do with it."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="the exercise (default: list all)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="check your answer")
    solution = "after an attempt: where the package does it"
    what.add_argument("--solution", action="store_true", help=solution)
    folder = Path("exercises")
    parser.add_argument(
        "--dir", type=Path, default=folder, metavar="DIR", help="your files (exercises)"
    )


def run(args: argparse.Namespace) -> int:
    """List, write, check or show; exit status 1 if an answer is wrong."""
    from minillm.exercises import desk, exercises  # imports all ops and models: 100 ms

    known = exercises()
    if args.name is None:
        if args.check or args.solution:
            raise InputError("exercise: expected a name with --check or --solution, found none")
        _list(known, desk.read_progress(args.dir))
        return 0
    if args.name not in known:
        guess = did_you_mean(args.name, known)
        raise InputError(f"exercise: expected one of the list, found {args.name!r}{guess}")
    exercise = known[args.name]
    if args.solution:
        print(desk.solution(exercise, args.dir))
        return 0
    if not args.check:
        task = "mend the wrong line and name the fault" if exercise.bugs else "fill the hole"
        print(f"{desk.write(exercise, args.dir)}: {task}, then")
        folder = "" if args.dir == Path("exercises") else f" --dir {args.dir}"
        print(f"minillm exercise {exercise.name} --check{folder}")
        return 0
    right, report = desk.check(exercise, args.dir)
    print(report)
    return 0 if right else 1


def _list(known: dict, progress: dict) -> None:
    """Print the exercises by chapter."""
    solved = {name for name in known if progress.get(name, {}).get("solved")}
    for chapter, names in groupby(known, key=lambda name: known[name].chapter):
        print(f"chapter {chapter}")
        for name in names:
            one, mark = known[name], "x" if name in solved else " "
            print(f"  [{mark}] {name:24} {one.stars:3} {one.minutes:2} min  {one.title}")
    print(f"{len(solved)} of {len(known)} solved")
