"""The reader's desk: a folder with the files of exercises, and what was solved."""

import json
import re
import runpy
import traceback
from collections.abc import Callable
from pathlib import Path

from minillm.errors import InputError, told
from minillm.exercises.declaration import Exercise
from minillm.exercises.grading import WrongAnswer, grade
from minillm.testing.calls import shapes_in_line

PROGRESS = "progress.json"


def file_of(exercise: Exercise, folder: Path) -> Path:
    """Return where the answer to the exercise lies."""
    return folder / f"{exercise.name.replace('-', '_')}.py"


def write(exercise: Exercise, folder: Path) -> Path:
    """Write the file with the hole.  Raises InputError if there is a file already."""
    path = file_of(exercise, folder)
    folder.mkdir(parents=True, exist_ok=True)
    imports = f"{exercise.imports}\n" if exercise.imports else ""
    try:
        with path.open("x") as file:
            file.write(
                f'"""Chapter {exercise.chapter}: {exercise.title}.\n\n'
                "Replace each ... and check the answer:\n\n"
                f'    minillm exercise {exercise.name} --check\n"""\n\n'
                f"import numpy as np\n{imports}\n\n{exercise.source}"
            )
    except FileExistsError:
        raise InputError(
            f"{path}: expected no file, found one: check it, or remove it to start again"
        ) from None
    return path


def check(exercise: Exercise, folder: Path) -> tuple[bool, str]:
    """Return whether the answer is right, and what to tell the reader."""
    path = file_of(exercise, folder)
    if not path.exists():
        raise InputError(
            f"{path}: expected your answer, found no file (minillm exercise {exercise.name})"
        )
    progress = read_progress(folder)
    entry = progress.setdefault(exercise.name, {"attempts": 0, "solved": False, "failed": ""})
    entry["attempts"] += 1
    try:
        cases = grade(exercise, _function(exercise, path))
    except WrongAnswer as error:
        lines, right = [f"{exercise.name}: {error}", *_hints(exercise, error.key, entry)], False
    except InputError:
        raise
    except Exception as error:  # whatever the reader's code raises
        place, key = _place(exercise, error, path)
        lines, right = [f"{exercise.name}: {place}", *_hints(exercise, key, entry)], False
    else:
        entry |= {"solved": True, "failed": ""}
        plural = "" if cases == 1 else "s"
        lines, right = [f"{exercise.name}: right, in {cases} case{plural}"], True
    (folder / PROGRESS).write_text(json.dumps(progress, indent=1) + "\n")
    return right, "\n".join(lines)


def _hints(exercise: Exercise, key: str, entry: dict) -> list[str]:
    """Return the first hint of a key; if the last check failed there too, both hints."""
    hints = exercise.hints.get(key, ())
    shown = hints if entry["failed"] == key else hints[:1]
    entry["failed"] = key
    lines = [f"hint: {hint}" for hint in shown]
    return [*lines, "(check again for a second hint)"] if len(shown) < len(hints) else lines


def read_progress(folder: Path) -> dict[str, dict]:
    """Return what is known of each exercise: attempts, and whether it is solved."""
    path = folder / PROGRESS
    if not path.exists():
        return {}
    try:
        progress = json.loads(path.read_text())
        if not all(isinstance(entry, dict) for entry in progress.values()):
            raise ValueError
    except (ValueError, AttributeError):
        raise InputError(f"{path}: expected the progress of exercises, found other text") from None
    return progress


def _function(exercise: Exercise, path: Path) -> Callable:
    """Load the reader's file and return its function."""
    function = runpy.run_path(str(path)).get(exercise.function)
    if not callable(function):
        raise InputError(f"{path}: expected a function {exercise.function}, found none")
    return function


def _place(exercise: Exercise, error: Exception, path: Path) -> tuple[str, str]:
    """Return the error with the last line of the reader's file that led to it, and a hint's key."""
    what, key = told(error), "error"
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: {what}", key
    trace = error.__traceback__
    walked = zip(traceback.walk_tb(trace), traceback.extract_tb(trace), strict=True)
    own = [(frame, at) for (frame, _), at in walked if frame.f_code.co_filename == str(path)]
    if not own:
        return what, key
    frame, at = own[-1]
    empty = "llipsis" in str(error) or re.search(r"= \.\.\.$", path.read_text(), re.MULTILINE)
    if empty:
        what += "; the hole is not filled"
    elif isinstance(error, ValueError):  # mostly shapes that do not fit
        # The hint is that of what the line computes.
        assigned = re.split(r"\W", at.line or "")[0]
        key = assigned if assigned in exercise.hints else key
        if len(exercise.hints) == 1:
            (key,) = exercise.hints
        shapes = shapes_in_line(frame, at.line or "")
        what += f"; the shapes are {shapes}" if shapes else ""
    return f"line {at.lineno}, {at.line}: {what}", key
