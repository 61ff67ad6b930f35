"""The exercises of a class: a folder with the folder of each student."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from minillm.errors import InputError
from minillm.exercises import desk
from minillm.exercises.answering import reports_of_file
from minillm.exercises.declaration import Exercise

Grades = dict[str, dict[str, str]]  # student, exercise: "right", "wrong" or ""


def grade_all(known: dict[str, Exercise], folder: Path) -> Grades:
    """Grade every student's file of every exercise, each in a process of its own.

    A student's files lie in ``folder/STUDENT`` or in ``folder/STUDENT/exercises``.  Nothing is
    written there.  InputError if there are none.
    """
    students = _students(folder)
    tasks = [
        (student, exercise, path)
        for student, files in students.items()
        for exercise in known.values()
        if (path := desk.file_of(exercise, files)).is_file()
    ]
    if not tasks:
        raise InputError(
            f"{folder}: expected a folder for each student with files such as linear.py, found "
            f"{len(students)} folder{'' if len(students) == 1 else 's'} without such files"
        )
    grades = {student: dict.fromkeys(known, "") for student in students}
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # threads that wait for processes
        results = pool.map(lambda task: _grade(task[1], task[2]), tasks)
        for (student, exercise, _), result in zip(tasks, results, strict=True):
            grades[student][exercise.name] = result
    return grades


def _students(folder: Path) -> dict[str, Path]:
    """The folder with the files of each student."""
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise InputError(
            f"{folder}: expected a folder with a folder for each student, found {found}"
        )
    return {
        each.name: each / "exercises" if (each / "exercises").is_dir() else each
        for each in sorted(folder.iterdir())
        if each.is_dir() and not each.name.startswith(".")
    }


def _grade(exercise: Exercise, path: Path) -> str:
    exercise = desk.as_written(exercise, path)
    try:
        right, _ = desk.verdict(exercise, reports_of_file(exercise, path), desk.new_entry())
    except InputError:  # the file has no such function
        return "wrong"
    return "right" if right else "wrong"
