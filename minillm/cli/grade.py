"""Grade the exercises of a class.

FOLDER has a folder for each student, with files of `minillm exercise`, or with a folder exercises
that has them.  Print a table of all exercises: right, wrong, or - where there is no file.  Each
file runs in a process of its own, which is stopped after a minute without an answer; nothing is
written.

A student who works in a folder of their own name (minillm exercise find-lstm --dir alice, or in
alice/exercises) has a bug of their own to find in exercises of this kind.

examples:
  minillm grade class
  minillm grade class --csv > grades.csv     a row for each student
"""

import argparse
import csv
import sys
from pathlib import Path

from minillm.cli.arguments import ArgumentParser


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the folder and the form of the table."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a folder for each student")
    parser.add_argument("--csv", action="store_true", help="print a row for each student as CSV")


def run(args: argparse.Namespace) -> int:
    """Print the grades."""
    from minillm.exercises import exercises  # imports all ops and models: 100 ms
    from minillm.exercises.classroom import grade_all

    known = exercises()
    grades = grade_all(known, args.folder)
    right = {name: sum(g == "right" for g in own.values()) for name, own in grades.items()}
    if args.csv:
        table = csv.writer(sys.stdout, lineterminator="\n")
        table.writerow(["student", "right", *known])
        for student, own in grades.items():
            table.writerow([student, right[student], *own.values()])
        return 0
    widths = [max(len(student), 5) for student in grades]
    _row("", "", list(grades), widths)
    for name, exercise in known.items():
        cells = [own[name] or "-" for own in grades.values()]
        _row(name, exercise.stars, cells, widths)
    _row(f"right of {len(known)}", "", list(map(str, right.values())), widths)
    return 0


def _row(name: str, stars: str, cells: list[str], widths: list[int]) -> None:
    columns = "  ".join(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True))
    print(f"{name:24} {stars:3}  {columns}".rstrip())
