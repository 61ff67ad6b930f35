"""Judge an answer by what it returned: outputs first, then gradients, then the convention.

An answer is compared with the reference on random cases.  Only the first fault is reported: which
output or gradient, at which coordinate, the reader's number and the right one.
"""

import keyword
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.errors import short
from minillm.exercises.answering import Case, Report, cases
from minillm.exercises.declaration import FAULTS, Exercise
from minillm.testing.calls import as_tuple
from minillm.testing.own_process import NoAnswerError


class WrongAnswer(Exception):
    """A wrong answer: what is wrong, and the key of the hint that fits."""

    def __init__(self, message: str, key: str) -> None:
        super().__init__(message)
        self.key = key


def grade(exercise: Exercise, reports: Iterator[Report]) -> int:
    """The number of cases that the answer passed.  Raises WrongAnswer at the first failure.

    ``reports`` has one for each case, then one with the kind of fault, if the exercise asks it.
    """
    drawn = cases(exercise)
    try:
        for case, report in zip(drawn, reports, strict=False):  # draws a case first
            _judge(exercise, case, report)
        if exercise.bugs:
            _judge_fault(exercise.bugs[exercise.variant].fault, next(reports)["fault"])
    except NoAnswerError as error:
        raise WrongAnswer(str(error), "no answer") from None
    return len(drawn)


def _judge(exercise: Exercise, case: Case, report: Report) -> None:
    """Compare a report with the reference."""
    if "no pair" in report:
        found = short(report["no pair"])
        raise WrongAnswer(f"expected the output and a function backward, found {found}", "pair")
    if "outputs" in report:
        _compare_results(exercise, report["outputs"], case)
    try:
        if "gradients" in report:
            _compare_gradients(exercise, case, report)
        if "raised" in report:
            raise _raised(exercise, case, report)
        if "checker" in report:
            raise WrongAnswer(report["checker"], "convention")
    except WrongAnswer as wrong:
        line = report.get("line", "")
        if wrong.key == "hole" or not line or line.startswith("no line"):
            raise
        raise WrongAnswer(f"{wrong}\n{line}", wrong.key) from None
    limits = exercise.multiplications(*case.args) if exercise.multiplications else ()
    parts = ("forward", "backward")
    for part, limit, taken in zip(parts, limits, report.get("multiplications", ()), strict=False):
        if taken > limit:
            raise WrongAnswer(
                f"the {part} takes {taken} multiplications in its products of matrices; "
                f"{limit} are enough",
                f"{part}:order",
            )


def _judge_fault(right: str, found: Any) -> None:
    if found is ...:
        raise WrongAnswer("the mend is right, FAULT is still ...: the hole is not filled", "hole")
    if found != right:
        raise WrongAnswer(
            f"the mend is right, but FAULT is {short(found)}; expected the kind of the fault that "
            f"you mended, one of {', '.join(FAULTS)}",
            "fault",
        )


def _raised(exercise: Exercise, case: Case, report: Report) -> WrongAnswer:
    """The failure of an answer that raised, with the hint of what its line computes."""
    raised = report["raised"]
    text = f"{raised['place']}: {raised['error']}" if "place" in raised else raised["error"]
    if raised.get("empty"):
        return WrongAnswer(f"{text}; the hole is not filled", "hole")
    if raised["type"] in ("NameError", "UnboundLocalError") and raised.get("names"):
        text += f"; the names here are {raised['names']}"
    elif raised.get("shapes"):
        text += f"; the shapes are {raised['shapes']}"
    if "assigned" not in raised:  # a hint on a line of the function would not help
        return WrongAnswer(text, "error")
    name, label = raised["assigned"], case.label
    others = {other.label for other in cases(exercise)} - {label, ""}
    hints = {k: two for k, two in exercise.hints.items() if k.split(":")[0] not in others}
    keys = [f"{name}:shape"] * (raised["type"] == "ValueError") + [f"{label}:{name}", label, name]
    if name.isidentifier() and not keyword.iskeyword(name):
        keys += [key for key in hints if re.search(rf"\b{name}\b", " ".join(hints[key]))]
    keys += [exercise.gradients[0]] if "outputs" in report else [*exercise.outputs]
    keys += hints
    return WrongAnswer(text, next((key for key in keys if key in hints), "error"))


def _compare_gradients(exercise: Exercise, case: Case, report: Report) -> None:
    """Compare the gradients with the reference's."""
    gradients, names = report["gradients"], exercise.gradients
    if len(gradients) != len(names):
        raise WrongAnswer(
            f"the backward: expected {_number(names, 'gradient')}, found {len(gradients)}",
            "convention",
        )
    fit = re.search(r"this fits .*", report.get("checker", ""))
    failures = []
    for name, value, truth in zip(names, gradients, case.gradients, strict=True):
        gradient = _array(exercise, value, truth, name, f"the gradient {name}")
        wrong = ~np.isclose(gradient, truth, rtol=exercise.tolerance, atol=1e-9)
        if wrong.any():
            failures.append((name, gradient, truth, wrong))
    if not failures:
        return
    # A mistake usually spoils several gradients: the one with the fewest wrong coordinates is
    # nearest to it.
    name, gradient, truth, wrong = min(failures, key=lambda entry: entry[-1].mean())
    others = ", ".join(entry[0] for entry in failures if entry[0] != name)
    key, where = _part(exercise, name, wrong, np.abs(gradient - truth))
    label = case.label
    if "all" in exercise.hints and len(failures) == len(names) and wrong.all():
        key, where = "all", ""
    if f"{name}:only" in exercise.hints and len(failures) == 1 and key == name:
        key, where = f"{name}:only", ""
    if "zero" in exercise.hints and not any(np.any(g) for g in gradients):
        key, where = "zero", ""
    key = label if key not in exercise.hints and label in exercise.hints else key
    index = np.unravel_index(
        np.argmax(np.where(wrong, np.nan_to_num(np.abs(gradient - truth), nan=np.inf), -1)),
        wrong.shape,
    )
    raise WrongAnswer(
        f"the gradient {name} is wrong at {wrong.sum()} of {wrong.size} coordinates{where}; "
        f"the worst is {_at(name, index)}: {_two(gradient[index], truth[index])}"
        f"{_in_case(label)}{f'; also wrong: {others}' if others else ''}"
        + (f"\n{fit[0]}" if fit else ""),
        key,
    )


def _part(exercise: Exercise, name: str, wrong: NDArray, error: NDArray) -> tuple[str, str]:
    """The key of the hint, and words for the part of the gradient that is wrong."""
    if name in exercise.time:
        axis = exercise.time[name]
        if not np.take(wrong, -1, axis).any() and f"{name}:earlier" in exercise.hints:
            return f"{name}:earlier", ", none of them at the last time step"
    if name in exercise.gated:
        parts = np.split(np.where(wrong, error, 0), len(exercise.gates), axis=-1)
        largest = [part.max() for part in parts]
        gate = exercise.gates[int(np.argmax(largest))]
        few = np.count_nonzero(largest) < 3  # else it is no gate's own fault
        if few and f"{name}:{gate}" in exercise.hints:
            return f"{name}:{gate}", f", the worst in the part of {gate}"
    return name, ""


def _compare_results(exercise: Exercise, result: Any, case: Case) -> None:
    """Compare outputs with the reference's; tuples one by one."""
    names, expected, label = exercise.outputs, case.expected, case.label
    parts = result if isinstance(expected, tuple) and isinstance(result, tuple) else (result,)
    if len(parts) != len(as_tuple(expected)):
        raise WrongAnswer(f"expected {_number(names, 'output')}, found {len(parts)}", "convention")
    for name, value, truth in zip(names, parts, as_tuple(expected), strict=True):
        if value is ...:
            raise WrongAnswer(f"{name} is still ...: the hole is not filled", "hole")
        key = next(k for k in (f"{label}:{name}", label, name) if k in exercise.hints or k == name)
        if not isinstance(truth, np.ndarray | np.floating | float):
            if not _equal(value, truth):
                yours, right = _difference(value, truth)
                raise WrongAnswer(f"{name} is {yours}, expected {right}{_in_case(label)}", key)
            continue
        array = _array(exercise, value, np.asarray(truth), key, name)
        wrong = ~np.isclose(array, truth, rtol=exercise.tolerance, atol=1e-9, equal_nan=True)
        if wrong.any():
            index = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise WrongAnswer(
                f"{name} is wrong"
                + (
                    f" at {wrong.sum()} of {wrong.size} entries; {_at(name, index)}"
                    if index
                    else ""
                )
                + f": {_two(array[index], np.asarray(truth)[index])}{_in_case(label)}",
                key,
            )


def _equal(value: Any, truth: Any) -> bool:
    """Whether values that are no arrays of floats are equal."""
    try:
        return bool(value == truth)
    except ValueError:  # an array in place of something else
        return False


def _array(exercise: Exercise, value: Any, truth: NDArray, key: str, name: str) -> NDArray:
    """The value as an array of the right shape.  Raises WrongAnswer for others."""
    if value is ...:
        raise WrongAnswer(f"{name} is still ...: the hole is not filled", "hole")
    try:
        array = np.asarray(value, float)
    except (TypeError, ValueError):
        raise WrongAnswer(f"{name}: expected numbers, found {short(value)}", key) from None
    if array.shape != truth.shape:
        key = f"{key}:shape" if f"{key}:shape" in exercise.hints else key
        raise WrongAnswer(f"{name} has shape {array.shape}, expected {truth.shape}", key)
    return array


def _at(name: str, index: tuple) -> str:
    return f"{name.split()[-1]}[{', '.join(str(int(i)) for i in index)}]" if index else name


def _two(yours: float, right: float) -> str:
    """Both numbers, with as many digits as it takes to see a difference."""
    digits = next((n for n in (6, 9, 12) if f"{yours:.{n}g}" != f"{right:.{n}g}"), 15)
    return f"yours {yours:.{digits}g}, expected {right:.{digits}g}"


def _number(names: tuple[str, ...], noun: str) -> str:
    return f"{len(names)} {noun}{'s' if len(names) > 1 else ''} ({', '.join(names)})"


def _in_case(label: str) -> str:
    return f" (the case: {label})" if label else ""


def _difference(value: Any, truth: Any) -> tuple[str, str]:
    """Words for both; of dictionaries, the first key that differs."""
    if isinstance(value, dict) and isinstance(truth, dict):
        key = next(k for k in [*truth, *value] if value.get(k) != truth.get(k))
        yours, right = (
            f"{source[key]!r} at {key!r}" if key in source else f"without {key!r}"
            for source in (value, truth)
        )
        return yours, right
    return short(value), short(truth)
