"""Check an answer that is written in a cell of a notebook."""

from collections.abc import Callable
from typing import Any

from minillm.errors import InputError
from minillm.exercises.answering import cases, reports
from minillm.exercises.catalogue import exercises
from minillm.exercises.declaration import Exercise
from minillm.exercises.desk import new_entry, verdict

_entries: dict[str, dict] = {}  # of this session, by exercise


def check(function: Callable, fault: Any = ...) -> None:
    """Print whether a function is a right answer, and otherwise what is wrong, with a hint.

    The exercise is the one whose function has this name.  A second failure in the same place
    prints the second hint.  Where a bug is to be found, ``fault`` is the kind of fault.

    >>> def square(x):
    ...     return x**2, lambda dy: 2 * x * dy
    >>> check(square)
    square: right, in 1 case
    """
    exercise = of_function(function)
    entry = _entries.setdefault(exercise.name, new_entry())
    print(verdict(exercise, reports(exercise, function, cases(exercise), fault), entry)[1])


def of_function(function: Callable) -> Exercise:
    """The exercise whose function has the name of this one.  InputError if there is none."""
    name = getattr(function, "__name__", "")
    for exercise in exercises().values():
        if exercise.function == name:
            return exercise
    raise InputError(f"check: expected the function of an exercise, found {name or function!r}")
