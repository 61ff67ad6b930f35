"""Check an op in a reader's own file: find it, make arguments of its shapes, and compare.

The shapes are stated in a docstring, as in "x (B, T, I), W (I, O)", or given as a legend.
"""

import functools
import inspect
import re
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from minillm.errors import InputError, describe_error, did_you_mean
from minillm.testing.adapters import as_op
from minillm.testing.calls import GradientError, equal, last_line
from minillm.testing.gradients import check_point
from minillm.testing.legends import OpCase, arrays
from minillm.testing.own_process import alive
from minillm.testing.point import Point


def check_file(
    path: str,
    name: str,
    legend: str,
    seeds: int,
    kinks: tuple[float, ...],
    options: dict[str, Any],
    line: bool = False,
) -> Iterator[tuple[str, dict[str, float], str]]:
    """Yield the legend, the worst error by each argument, and what is wrong, or an empty text.

    ``line``: say also which line is wrong.

    It runs in a process of its own, because the file may end it or change anything there.
    """
    sys.path.insert(0, str(Path(path).resolve().parent))  # the file may import its neighbours
    worst: dict[str, float] = {}
    failure = ""
    try:
        thing = _defined(path, name)
        op = _alive(as_op(thing))
        legend = legend or _stated(op, thing)
        for seed in range(seeds):
            case = arrays(legend, seed=seed, kinks=kinks)
            point = _point(op, case, options)
            try:
                compared = check_point(point)
            except GradientError as error:
                error.locate = line
                failure = f"{error}\nto repeat: {case.call(thing, **options)}"
                break
            for gradient in compared:
                before = worst.get(gradient.name, 0.0)
                worst[gradient.name] = max(gradient.worst.error, before)
    except InputError:
        raise
    except BaseException as error:  # whatever the reader's code raises
        raise InputError(
            f'expected an op of arguments "{legend}", found {_describe(error, path)}'
        ) from None
    yield legend, worst, failure


def _alive(op: Callable) -> Callable:
    """The op with a sign of life at each call: a check of large arrays takes long."""

    @functools.wraps(op)
    def call(*args: Any) -> Any:
        alive()
        return op(*args)

    return call


def _defined(path: str, names: str) -> Any:
    """Run the file, and return what it defines under the name; a tuple under two names."""
    if not Path(path).is_file():
        raise InputError("expected a Python file, found none")
    try:
        defined = runpy.run_path(path)
    except BaseException as error:  # whatever the reader's code raises
        raise InputError(
            f"expected a file that can be imported, found {_describe(error, path)}"
        ) from None
    things = []
    for name in names.split(","):
        if name not in defined:
            known = [n for n, value in defined.items() if callable(value) and n[0] != "_"]
            raise InputError(
                f"expected something called {name}, found {', '.join(known) or 'no function'}"
                f"{did_you_mean(name, known)}"
            )
        things.append(defined[name])
    return tuple(things) if len(things) > 1 else things[0]


def _point(op: Callable, case: OpCase, options: dict[str, Any]) -> Point:
    """The op at its arguments.  InputError if it is no op, is random, or changes an argument."""
    try:
        point = Point(op, case, case.rng, **options)
    except GradientError as error:
        raise InputError(str(error)) from None
    for name, was, now in zip(point.names, point.args, point.held, strict=True):
        if not equal(was, now):
            raise InputError(
                f"{name}: expected an argument that the op leaves as it is, found it changed"
            )
    return point


def _describe(error: BaseException, path: str) -> str:
    """An exception in one line, with the last line of the reader's file that led to it."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: {describe_error(error)}"
    found, described = last_line(error, lambda file: file == path), describe_error(error)
    return f"line {found[1]}, {found[2]}: {described}" if found else described


def _stated(op: Callable, thing: Any) -> str:
    """The legend in the docstring of an op.

    It follows the name, as in "x (B, T, I)".  "..." means "B T".
    """
    first = thing[0] if isinstance(thing, tuple) else thing
    docstrings = [inspect.getdoc(part) for part in (first, getattr(first, "forward", None))]
    docstring = "\n".join(filter(None, docstrings))
    parts = []
    for name, parameter in inspect.signature(op).parameters.items():
        if parameter.default is parameter.empty:
            part = _documented(name, docstring)
            if name in ("ids", "lengths", "mask"):
                raise InputError(
                    f'{name}: expected --shapes with a part such as "ids: B T < V", '
                    '"lengths: B <= T" or "mask: B T bool", found none'
                )
            if not part:
                raise InputError(
                    f'{name}: expected its shape in the docstring, such as "{name} (B, T)", or '
                    "--shapes, found neither"
                )
            parts.append(part)
    return ", ".join(parts)


def _documented(name: str, docstring: str) -> str:
    """The shape that follows the name in a docstring, or nothing."""
    for stated in re.findall(rf"\b{re.escape(name)} \(([^()]*)\)", docstring):
        words = stated.replace(",", " ").split()
        is_shape = all(re.fullmatch(r"\.\.\.|\d*[A-Za-z]\w*|\d+", word) for word in words)
        if words and is_shape and ("," in stated or stated.isupper()):  # otherwise it is a remark
            # A size starts with a capital in a legend: (N, d_in) becomes "N D_in".
            words = [re.sub(r"^\d*[a-z]", lambda start: start[0].upper(), word) for word in words]
            return " ".join("B T" if word == "..." else word for word in words)
    return ""
