"""The reader's desk: a folder with the files of exercises, and what was solved."""

import json
import re
import runpy
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

from minillm.errors import InputError
from minillm.exercises.declaration import Exercise
from minillm.exercises.grading import WrongAnswer, grade

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
        hints = exercise.hints.get(error.key, ())
        again = entry["failed"] == error.key
        shown = hints if again else hints[:1]
        entry["failed"] = error.key
        lines = [f"{exercise.name}: {error}", *(f"hint: {hint}" for hint in shown)]
        if len(shown) < len(hints):
            lines.append("(check again for a second hint)")
        right = False
    except InputError:
        raise
    except Exception as error:  # whatever the reader's code raises
        entry["failed"] = "error"
        lines, right = [f"{exercise.name}: {_place(error, path)}"], False
    else:
        entry |= {"solved": True, "failed": ""}
        plural = "" if cases == 1 else "s"
        lines, right = [f"{exercise.name}: right, in {cases} case{plural}"], True
    (folder / PROGRESS).write_text(json.dumps(progress, indent=1) + "\n")
    return right, "\n".join(lines)


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


def _place(error: Exception, path: Path) -> str:
    """Return the error and the last line of the reader's file that led to it."""
    what = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: {what}"
    trace = error.__traceback__
    walked = zip(traceback.walk_tb(trace), traceback.extract_tb(trace), strict=True)
    own = [(frame, at) for (frame, _), at in walked if frame.f_code.co_filename == str(path)]
    if not own:
        return what
    frame, at = own[-1]
    empty = "llipsis" in str(error) or re.search(r"= \.\.\.$", path.read_text(), re.MULTILINE)
    if empty:
        what += "; the hole is not filled"
    elif isinstance(error, ValueError):  # mostly shapes that do not fit
        names = dict.fromkeys(re.findall(r"\w+", at.line or ""))
        values = {**frame.f_globals, **frame.f_locals}
        arrays = [name for name in names if isinstance(values.get(name), np.ndarray)]
        shapes = ", ".join(f"{name} {values[name].shape}" for name in arrays)
        what += f"; the shapes are {shapes}" if shapes else ""
    return f"line {at.lineno}, {at.line}: {what}"
