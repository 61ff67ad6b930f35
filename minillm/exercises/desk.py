"""The reader's desk: a folder with the files of exercises, and what was solved."""

import json
import re
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from zlib import crc32

from minillm.errors import InputError
from minillm.exercises.answering import Report, reports_of_file
from minillm.exercises.declaration import Exercise
from minillm.exercises.grading import WrongAnswer, grade

PROGRESS = "progress.json"


def file_of(exercise: Exercise, folder: Path) -> Path:
    """The file with the answer to the exercise."""
    return folder / exercise.file


def write(exercise: Exercise, folder: Path) -> Path:
    """Write the file with the hole.  Raises InputError if there is a file already."""
    path = file_of(exercise, folder)
    folder.mkdir(parents=True, exist_ok=True)
    exercise = as_written(exercise, path)
    variant = f", variant {exercise.variant}" if exercise.bugs else ""
    try:
        with path.open("x") as file:
            file.write(
                f'"""Chapter {exercise.chapter}: {exercise.title}.\n\n'
                f"Level {exercise.stars}, about {exercise.minutes} minutes{variant}.  "
                f"{exercise.task} and check the answer:\n\n"
                f'    minillm exercise {exercise.name} --check\n"""\n\n'
                f"{exercise.hole}"
            )
    except FileExistsError:
        raise InputError(
            f"{path}: expected no file, found one: check it, or remove it to start again"
        ) from None
    return path


def as_written(exercise: Exercise, path: Path) -> Exercise:
    """The exercise with the bug of a reader's file.

    The file says which variant it is.  A new one takes the variant from the name of the reader's
    folder, or, if that is called exercises, of the folder around it: in a class, neighbours have
    different bugs.
    """
    if not exercise.bugs:
        return exercise
    text = path.read_text(errors="replace") if path.exists() else ""
    if (said := re.search(r"minutes, variant (\d{1,3})\.", text)) is None:
        folder = path.resolve().parent
        owner = folder.parent if folder.name == "exercises" else folder
        return exercise.with_bug(
            crc32(f"{owner.name} {exercise.name}".encode()) % len(exercise.bugs)
        )
    return exercise.with_bug(int(said[1]) % len(exercise.bugs))


def check(exercise: Exercise, folder: Path) -> tuple[bool, str]:
    """Whether the answer is right, and what to tell the reader."""
    path = file_of(exercise, folder)
    if not path.exists():
        raise InputError(
            f"{path}: expected your answer, found no file (minillm exercise {exercise.name})"
        )
    exercise = as_written(exercise, path)
    progress = read_progress(folder)
    entry = progress.setdefault(exercise.name, new_entry())
    right, report = verdict(exercise, reports_of_file(exercise, path), entry)
    write_progress(folder, progress)
    return right, report


def solution(exercise: Exercise, folder: Path) -> str:
    """The place of the solution.  InputError before the first graded attempt."""
    if not read_progress(folder).get(exercise.name, new_entry())["attempts"]:
        raise InputError(
            f"exercise {exercise.name}: expected an attempt before the solution, found none in "
            f"{folder / PROGRESS}: fill the hole, then minillm exercise {exercise.name} --check"
        )
    return as_written(exercise, file_of(exercise, folder)).solution


def new_entry() -> dict:
    """The progress of an exercise before the first attempt."""
    return {"attempts": 0, "solved": False, "failed": ""}


def verdict(exercise: Exercise, reports: Generator[Report], entry: dict) -> tuple[bool, str]:
    """Whether the answer is right, and what to tell the reader; note the attempt."""
    try:
        with closing(reports):  # ends the process of the answer
            cases = grade(exercise, reports)
    except WrongAnswer as error:
        entry["attempts"] += error.key != "hole"  # an empty hole is no attempt
        return False, "\n".join([f"{exercise.name}: {error}", *_hints(exercise, error.key, entry)])
    entry["attempts"] += 1
    entry |= {"solved": True, "failed": ""}
    return True, f"{exercise.name}: right, in {cases} case{'' if cases == 1 else 's'}"


def _hints(exercise: Exercise, key: str, entry: dict) -> list[str]:
    """The first hint of a key; if the last check failed there too, both hints."""
    hints = exercise.hints.get(key, ())
    shown = hints if entry["failed"] == key else hints[:1]
    entry["failed"] = key
    lines = [f"hint: {hint}" for hint in shown]
    return [*lines, "(check again for a second hint)"] if len(shown) < len(hints) else lines


def write_progress(folder: Path, progress: dict[str, dict]) -> None:
    """Keep the progress of all exercises."""
    (folder / PROGRESS).write_text(json.dumps(progress, indent=1) + "\n")


def read_progress(folder: Path) -> dict[str, dict]:
    """The progress of each exercise: attempts, whether it is solved, the last failure."""
    path = folder / PROGRESS
    if not path.exists():
        return {}
    try:
        progress = json.loads(path.read_text())
        kinds = {"attempts": int, "solved": bool, "failed": str}
        for entry in progress.values():
            if {name: type(value) for name, value in entry.items()} != kinds:
                raise ValueError
    except (ValueError, AttributeError, RecursionError):
        raise InputError(
            f"{path}: expected the progress of exercises, found other text: "
            "remove the file to start again"
        ) from None
    return progress
