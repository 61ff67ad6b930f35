"""The exercises of the book: to do, and to grade."""

import sys
from csv import writer
from itertools import groupby
from pathlib import Path

from minillm.cli.arguments import argument
from minillm.cli.process import first_interrupt_noted
from minillm.errors import InputError, did_you_mean
from minillm.option import option


def exercise(
    name: str | None = argument("the exercise (default: list all)", "NAME", None),
    check: bool = option(False, "check your answer"),
    solution: bool = option(False, "after an attempt: where the package does it"),
    dir: str = option("exercises", "your files", "DIR"),  # noqa: A002
) -> int:
    """Do an exercise of the book, and have it checked.

    Without a name, list the exercises, with their levels (* to ***) and minutes, and the ones you
    have solved.  With a name, write a file with a function that has a hole, or with a backward pass
    that has a wrong line (find-...).  Fill the hole, or mend the line and name the fault, with any
    editor.  --check compares the function with the package on random cases, reports which output or
    gradient is wrong, at which coordinate, often the line to look at, and gives a hint.  A second
    failure in the same place gives a second hint.  Your file runs in a process of its own: its
    output appears on standard error, and it is stopped after a minute without an answer.

    A milestone (your-...), at the end of a part, is a whole model on your own functions, as they
    stand in your files: its gradient is checked, it trains for a minute beside the same model on
    ours, and writes.  Ours replace missing functions.

    In a notebook: from minillm.exercises import check; then check(linear), below your function
    linear.

    examples:
      minillm exercise                      the list
      minillm exercise linear               writes exercises/linear.py
      minillm exercise linear --check       right or wrong, and why
      minillm exercise linear --solution    after an attempt: the place in the package
      minillm exercise your-lstm            your functions as an LSTM
    """
    # these import all ops and models: 100 ms
    from minillm.exercises import desk, exercises, milestone_run
    from minillm.exercises.milestones import MILESTONES

    known, folder = exercises(), Path(dir)
    if name is None:
        if check or solution:
            raise InputError("exercise: expected a name with --check or --solution, found none")
        _list(known, MILESTONES, desk.read_progress(folder))
        return 0
    if name in MILESTONES and solution:
        print(f"minillm/exercises/milestones.py: {MILESTONES[name].model.__name__}")
        return 0
    if name in MILESTONES:
        return 0 if milestone_run.run(MILESTONES[name], folder, first_interrupt_noted) else 1
    if name not in known:
        guess = did_you_mean(name, [*known, *MILESTONES])
        raise InputError(f"exercise: expected one of the list, found {name!r}{guess}")
    chosen = known[name]
    if solution:
        print(desk.solution(chosen, folder))
    elif check:
        right, report = desk.check(chosen, folder)
        print(report)
        return 0 if right else 1
    else:
        task = "mend the wrong line and name the fault" if chosen.bugs else "fill the hole"
        print(f"{desk.write(chosen, folder)}: {task}, then")
        place = "" if dir == "exercises" else f" --dir {dir}"
        print(f"minillm exercise {name} --check{place}")
    return 0


def _list(known: dict, milestones: dict, progress: dict) -> None:
    """Print the exercises by chapter, and each milestone after the last chapter of its part."""
    solved = {name for name in [*known, *milestones] if progress.get(name, {}).get("solved")}
    for chapter, names in groupby(known, key=lambda name: known[name].chapter):
        print(f"chapter {chapter}")
        for name in names:
            one, mark = known[name], "x" if name in solved else " "
            print(f"  [{mark}] {name:24} {one.stars:3} {one.minutes:2} min  {one.title}")
        for name, milestone in milestones.items():
            if milestone.chapter == chapter:
                mark = "x" if name in solved else " "
                print(f"milestone\n  [{mark}] {name:28}  1 min  {milestone.title}")
    print(f"{len(solved)} of {len(known) + len(milestones)} solved")


def grade(
    folder: str = argument("a folder for each student", "FOLDER"),
    csv: bool = option(False, "print a row for each student as CSV"),
) -> int:
    """Grade the exercises of a class.

    FOLDER has a folder for each student, with files of `minillm exercise`, or with a folder
    exercises that has them.  Print a table of all exercises: right, wrong, or - where there is no
    file.  Each file runs in a process of its own, which is stopped after a minute without an
    answer; nothing is written.

    A student who works in a folder of their own name (minillm exercise find-lstm --dir alice, or in
    alice/exercises) has a bug of their own to find in exercises of this kind.

    examples:
      minillm grade class
      minillm grade class --csv > grades.csv     a row for each student
    """
    from minillm.exercises import exercises  # imports all ops and models: 100 ms
    from minillm.exercises.classroom import grade_all

    known = exercises()
    grades = grade_all(known, Path(folder))
    right = {name: sum(g == "right" for g in own.values()) for name, own in grades.items()}
    if csv:
        table = writer(sys.stdout, lineterminator="\n")
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
