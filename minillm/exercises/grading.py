"""Judge an answer: outputs first, then gradients, then the convention.

An answer is compared with the reference on random cases.  The first fault is told: which
output or gradient, at which place, the reader's number and the right one.  The right number of a
gradient is measured by a central difference of the reader's own forward, which is known to be right
by then.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.exercises.declaration import Exercise
from minillm.testing import GradientError, check_gradients


class WrongAnswer(Exception):
    """A wrong answer: what is wrong, and the key of the hint that fits."""

    def __init__(self, message: str, key: str) -> None:
        super().__init__(message)
        self.key = key


def grade(exercise: Exercise, answer: Callable) -> int:
    """Return the number of cases that the answer passed.  Raises WrongAnswer at the first failure.

    An exception of the answer passes through, except for what an empty hole raises.
    """
    rng = np.random.default_rng(0)
    count = 0
    for label, args in exercise.cases(rng):
        with np.errstate(all="ignore"):  # nan and infinity are told as wrong numbers, with a hint
            result = answer(*_copies(args))
            if not exercise.gradients:
                _compare_results(exercise, result, exercise.reference(*_copies(args)), label)
            else:
                _compare_pair(exercise, answer, result, args, label, rng)
        count += 1
    return count


def _compare_pair(
    exercise: Exercise, answer: Callable, result: Any, args: tuple, label: str, rng: Any
) -> None:
    """Compare a forward and its backward with the reference."""
    if not (isinstance(result, tuple) and len(result) == 2 and callable(result[1])):
        raise WrongAnswer(
            f"expected the output and a function backward, found {_kind(result)}", "convention"
        )
    outputs, backward = result
    expected, reference_backward = exercise.reference(*_copies(args))
    _compare_results(exercise, outputs, expected, label)
    upstream = tuple(np.asarray(rng.standard_normal(np.shape(y))) for y in _tuple(expected))
    gradients = _tuple(backward(*_copies(upstream)))
    names, right = exercise.gradients, _tuple(reference_backward(*_copies(upstream)))
    if len(gradients) != len(names):
        raise WrongAnswer(
            f"the backward: expected {len(names)} gradients ({', '.join(names)}), "
            f"found {len(gradients)}",
            "convention",
        )
    failures = []
    arrays = [a for a in args if isinstance(a, np.ndarray) and a.dtype.kind == "f"]
    for name, gradient, truth, array in zip(names, gradients, right, arrays, strict=True):
        gradient = _array(gradient, truth, f"the gradient {name}", name)
        wrong = ~np.isclose(gradient, truth, rtol=exercise.tolerance, atol=1e-9)
        if wrong.any():
            failures.append((name, gradient, truth, array, wrong))
    if failures:
        # A mistake usually spoils several gradients: the one with the fewest wrong coordinates is
        # nearest to it.
        name, gradient, truth, array, wrong = min(failures, key=lambda entry: entry[-1].mean())
        others = ", ".join(entry[0] for entry in failures if entry[0] != name)
        key, where = _part(exercise, name, wrong, np.abs(gradient - truth))
        if "all" in exercise.hints and len(failures) == len(names) and wrong.all():
            key, where = "all", ""
        if f"{name}:only" in exercise.hints and len(failures) == 1:
            key, where = f"{name}:only", ""
        key = label if key not in exercise.hints and label in exercise.hints else key
        index = np.unravel_index(
            np.argmax(np.where(wrong, np.nan_to_num(np.abs(gradient - truth), nan=np.inf), -1)),
            wrong.shape,
        )
        numeric = _slope(answer, args, array, index, upstream)
        raise WrongAnswer(
            f"the gradient {name} is wrong at {wrong.sum()} of {wrong.size} coordinates{where}; "
            f"the worst is {_at(name, index)}: {_two(gradient[index], 'numeric', numeric)}"
            f"{_in_case(label)}{f'; also wrong: {others}' if others else ''}",
            key,
        )
    try:
        check_gradients(answer, *_copies(args), rng=rng)
    except GradientError as error:
        raise WrongAnswer(str(error), "convention") from None


def _part(exercise: Exercise, name: str, wrong: NDArray, error: NDArray) -> tuple[str, str]:
    """Return the key of the hint, and words for the part of the gradient that is wrong."""
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


def _slope(
    answer: Callable, args: tuple, array: NDArray, index: tuple, upstream: tuple[NDArray, ...]
) -> float:
    """Return the central difference of sum of upstream times output at one coordinate."""
    values, h = [], 1e-5 * max(1.0, abs(array[index]))
    for sign in (1, -1):
        moved = [a.copy() if a is array else a for a in args]
        place = next(k for k, a in enumerate(args) if a is array)
        moved[place][index] += sign * h
        outputs = _tuple(answer(*moved)[0])
        values.append(sum(np.sum(dy * y) for dy, y in zip(upstream, outputs, strict=True)))
    return float((values[0] - values[1]) / (2 * h))


def _compare_results(exercise: Exercise, result: Any, expected: Any, label: str) -> None:
    """Compare outputs with the reference's; tuples one by one."""
    names = exercise.outputs
    expected_parts = expected if isinstance(expected, tuple) else (expected,)
    parts = result if isinstance(expected, tuple) and isinstance(result, tuple) else (result,)
    if len(parts) != len(expected_parts):
        raise WrongAnswer(
            f"expected {len(expected_parts)} outputs ({', '.join(names)}), found {len(parts)}",
            "convention",
        )
    for name, value, truth in zip(names, parts, expected_parts, strict=True):
        if value is ...:
            raise WrongAnswer(f"{name} is still ...: the hole is not filled", "hole")
        key = name if label not in exercise.hints else label
        if not isinstance(truth, np.ndarray | np.floating | float):
            if value != truth:
                yours, right = _difference(value, truth)
                raise WrongAnswer(f"{name} is {yours}, expected {right}{_in_case(label)}", key)
            continue
        array = _array(value, np.asarray(truth), name, key)
        wrong = ~np.isclose(array, truth, rtol=exercise.tolerance, atol=1e-9, equal_nan=True)
        if wrong.any():
            index = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise WrongAnswer(
                f"{name} is wrong at {wrong.sum()} of {wrong.size} places; "
                f"{_at(name, index)}: {_two(array[index], 'expected', np.asarray(truth)[index])}"
                f"{_in_case(label)}",
                key,
            )


def _array(value: Any, truth: NDArray, name: str, key: str) -> NDArray:
    """Return the value as an array of the right shape.  Raises WrongAnswer for others."""
    if value is ...:
        raise WrongAnswer(f"{name} is still ...: the hole is not filled", "hole")
    try:
        array = np.asarray(value, float)
    except (TypeError, ValueError):
        raise WrongAnswer(f"{name}: expected numbers, found {_kind(value)}", key) from None
    if array.shape != truth.shape:
        raise WrongAnswer(f"{name} has shape {array.shape}, expected {truth.shape}", key)
    return array


def _at(name: str, index: tuple) -> str:
    return f"{name.split()[-1]}[{', '.join(str(int(i)) for i in index)}]" if index else name


def _two(yours: float, word: str, other: float) -> str:
    """Return both numbers, with as many digits as it takes to see a difference."""
    digits = next((n for n in (6, 9, 12) if f"{yours:.{n}g}" != f"{other:.{n}g}"), 15)
    return f"yours {yours:.{digits}g}, {word} {other:.{digits}g}"


def _in_case(label: str) -> str:
    return f" (the case: {label})" if label else ""


def _difference(value: Any, truth: Any) -> tuple[str, str]:
    """Return words for both; of dictionaries, the first key that differs."""
    if isinstance(value, dict) and isinstance(truth, dict):
        key = next(k for k in [*truth, *value] if value.get(k) != truth.get(k))
        yours, right = (
            f"{source[key]!r} at {key!r}" if key in source else f"without {key!r}"
            for source in (value, truth)
        )
        return yours, right
    return _kind(value), _kind(truth)


def _kind(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _copies(values: tuple) -> list:
    return [a.copy() if isinstance(a, np.ndarray) else a for a in values]


def _tuple(result: Any) -> tuple:
    return result if isinstance(result, tuple) else (result,)
