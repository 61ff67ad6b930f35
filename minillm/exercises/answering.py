"""Call an answer on the cases of its exercise, and report what it returns.

A report is a dictionary: "outputs", "gradients", what the gradient checker says, what it says of a
"line", and "raised", a description of an exception.  Entries that were not reached are missing.
:mod:`grading` judges them.  An answer in a file runs in a process of its own.
"""

import inspect
import linecache
import re
import runpy
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.errors import InputError, describe_error
from minillm.exercises.catalogue import one_exercise
from minillm.exercises.counting import counted, multiplications
from minillm.exercises.declaration import Exercise
from minillm.testing import GradientError, check_gradients
from minillm.testing.calls import as_tuple, copies, last_line, shapes_in_line
from minillm.testing.own_process import messages

Report = dict[str, Any]

# What a wrong line raises: the hint of what the line computes may help.
_OF_A_WRONG_LINE = ArithmeticError, AttributeError, LookupError, NameError, TypeError, ValueError


@dataclass(frozen=True)
class Case:
    """Arguments, what the reference returns for them, and an upstream gradient of each output."""

    label: str
    args: tuple
    expected: Any
    upstream: tuple[NDArray, ...]
    gradients: tuple[NDArray, ...]


def cases(exercise: Exercise) -> list[Case]:
    """Draw the cases of an exercise, the same ones each time."""
    drawn, rng = exercise.cases(np.random.default_rng(0)), np.random.default_rng([0, 1])
    return [_case(exercise, label, args, rng) for label, args in drawn]


def _case(exercise: Exercise, label: str, args: tuple, rng: np.random.Generator) -> Case:
    expected = exercise.reference(*copies(args))
    if not exercise.gradients:
        return Case(label, args, expected, (), ())
    expected, backward = expected
    upstream = tuple(np.asarray(rng.standard_normal(np.shape(y))) for y in as_tuple(expected))
    return Case(label, args, expected, upstream, as_tuple(backward(*copies(upstream))))


def reports_of_file(exercise: Exercise, path: Path) -> Generator[Report]:
    """Yield a report for each case, from a process that runs the file.

    InputError if it defines no function of the exercise's name.  Raises NoAnswerError for an answer
    that ends its process or never returns.
    """
    return messages(run_file, exercise.chapter, exercise.name, str(path))


def run_file(chapter: int, name: str, path: str) -> Iterator[Report]:
    """Run the file, and yield a report for each case.  The process is the file's own."""
    exercise = one_exercise(chapter, name)
    drawn = cases(exercise)  # before the file may change anything
    try:
        defined = runpy.run_path(path)
    except BaseException as error:  # whatever the reader's code raises
        yield {"raised": _described(error, path)}
        return
    function = defined.get(exercise.function)
    if not callable(function):
        raise InputError(f"{path}: expected a function {exercise.function}, found none")
    yield from reports(exercise, function, drawn, defined.get("FAULT", ...))


def reports(
    exercise: Exercise, function: Callable, drawn: list[Case], fault: Any = ...
) -> Generator[Report]:
    """Yield a report for each case, from this process; then the kind of fault, if it is asked."""
    for case in drawn:
        report: Report = {}
        with np.errstate(all="ignore"):  # nan and infinity are wrong numbers, with a hint
            try:
                for key, value in _results(exercise, function, case):
                    report[key] = value
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # whatever the reader's code raises
                code = getattr(inspect.unwrap(function), "__code__", None)
                report["raised"] = _described(error, code.co_filename if code else "")
        yield report
    if exercise.bugs:
        yield {"fault": fault}


def _results(exercise: Exercise, function: Callable, case: Case) -> Iterator[tuple[str, Any]]:
    """Yield the entries of a report, one by one: an exception leaves those before it."""
    result = function(*copies(case.args))
    if not exercise.gradients:
        yield "outputs", result
        return
    if not (isinstance(result, tuple) and len(result) == 2 and callable(result[1])):
        yield "no pair", result
        return
    outputs, backward = result
    yield "outputs", tuple(copies(outputs)) if isinstance(outputs, tuple) else copies([outputs])[0]
    yield "gradients", tuple(copies(as_tuple(backward(*copies(case.upstream)))))
    rng = np.random.default_rng([0, 2])
    try:
        check_gradients(function, *copies(case.args), rng=rng, locate=False)
    except GradientError as error:
        message = str(error)
        yield "checker", message
        # In a bug hunt, finding the line is the exercise; and a wrong output comes first.
        if not exercise.bugs and _is_right(outputs, case.expected):
            error.locate, error.fixes = None, False  # what would be right there is the answer
            yield "line", str(error)[len(message) + 1 :]
    if exercise.multiplications:
        with suppress(Exception):  # what counts is not the array that the answer expects
            yield "multiplications", _multiplications(function, case)


def _is_right(outputs: Any, expected: Any) -> bool:
    pairs = zip(as_tuple(outputs), as_tuple(expected), strict=False)
    return all(np.shape(y) == np.shape(truth) and np.allclose(y, truth) for y, truth in pairs)


def _multiplications(function: Callable, case: Case) -> tuple[int, int]:
    """The multiplications in products of matrices, of the forward and of the backward pass."""
    with multiplications() as of_forward:
        _, backward = function(*map(counted, case.args))
    with multiplications() as of_backward:
        backward(*map(counted, case.upstream))
    return sum(of_forward), sum(of_backward)


def _described(error: BaseException, file: str) -> Report:
    """Describe an exception, with the last line of the reader's file that led to it."""
    report: Report = {"error": describe_error(error), "type": type(error).__name__}
    if isinstance(error, SyntaxError):
        return report | {"place": f"line {error.lineno}"}
    if not (found := last_line(error, lambda own: own == file)):
        return report
    frame, number, line = found
    source = "".join(linecache.getlines(file, frame.f_globals))
    known = [name for name in frame.f_locals if not name.startswith("_")]
    if isinstance(error, _OF_A_WRONG_LINE):
        report["assigned"] = re.split(r"\W", line)[0]
    return report | {
        "place": f"line {number}" + (f", {line}" if line else ""),
        "shapes": shapes_in_line(frame, line),
        "names": ", ".join(known),
        "empty": "llipsis" in report["error"]
        or bool(re.search(r"^(?!FAULT).*= \.\.\.$", source, re.M)),
    }
