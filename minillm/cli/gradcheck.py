"""Check gradients against central differences: every op's, or your own.

Check the hand-written backward of every op at every coordinate against central differences, in
float64, on each kernel that runs here, and print the worst relative error.  Recurrences run over
several steps with unequal lengths and initial states that are not zero.

FILE.py:NAME is yours: a function that returns its output and its backward, a class with forward and
backward, a torch.autograd.Function or a jax.custom_vjp.  FILE.py:FORWARD,BACKWARD is a pair of
functions, forward(x) -> y, cache and backward(dy, cache).  Arguments are random, of the shapes that
the docstring states, such as "x (B, T, I), W (I, O)", or that --shapes gives; equal letters are
equal sizes.

examples:
  minillm gradcheck                     every op
  minillm gradcheck lstm gru            these two
  minillm gradcheck lstm --seeds 100    on a hundred random cases
  minillm gradcheck mine.py:affine --shapes "B T I, I O, O"
  minillm gradcheck mine.py:pool --shapes "B T D, lengths B <= T"     also ids B T < V, mask B T
"""

import argparse
import functools
import inspect
import re
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from minillm import kernels_info, use_kernels
from minillm.cli.arguments import ArgumentParser
from minillm.cli.options import add_option, integer, number
from minillm.errors import InputError, did_you_mean, told
from minillm.ops.gradient_cases import CASES
from minillm.testing import GradientError, arrays, as_op, check_gradients
from minillm.testing.calls import equal, last_line
from minillm.testing.gradients import check_point
from minillm.testing.legends import OpCase, limits_of
from minillm.testing.own_process import NoAnswerError, alive, messages
from minillm.testing.point import Point


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the ops, and the number of cases."""
    parser.add_argument(
        "ops", nargs="*", metavar="OP", help="ops to check, or FILE.py:NAME (default: all ops)"
    )
    add_option(parser, "--seeds N", "check N random cases of each op", integer(1), 5)
    tolerance = "the greatest relative error that passes (default 1e-6)"
    add_option(parser, "--tolerance X", tolerance, number(above=0, below=1))
    add_option(parser, "--shapes LEGEND", "the shapes of your op's arguments", _legend)


def run(args: argparse.Namespace) -> int:
    """Print the worst errors; exit status 1 if a gradient is wrong."""
    options: dict[str, Any] = {} if args.tolerance is None else {"tolerance": args.tolerance}
    own = [name for name in args.ops if ":" in name or name.endswith(".py")]
    unknown = sorted(set(args.ops) - set(CASES) - set(own))
    if unknown:
        raise InputError(
            f"gradcheck: expected FILE.py:NAME, or some of {', '.join(CASES)}; "
            f"found {unknown[0]!r}{did_you_mean(unknown[0], CASES)}"
        )
    failures: list[str] = []
    for target in own:
        failures += _check_own(target, args.shapes, args.seeds, options)
    if len(own) < len(args.ops) or not own:
        if args.shapes:
            raise InputError("--shapes: expected FILE.py:NAME, found an op of the package")
        names = [name for name in args.ops if name not in own] or list(CASES)
        failures += _check_ours(names, args.seeds, options)
    for failure in failures:
        print(failure)
    if not failures:
        tolerance = options.get("tolerance", 1e-6)
        plural = "" if args.seeds == 1 else "s"
        print(f"every gradient agrees within {tolerance:g} on {args.seeds} random case{plural}")
    return 1 if failures else 0


# --- the ops of the package -------------------------------------------------------------


def _check_ours(names: list[str], seeds: int, options: dict[str, Any]) -> Iterator[str]:
    """Print a row for each op and a column for each kernel, and yield the faults."""
    kernels = kernels_info()["available"]
    print(f"{'worst relative error':28}" + "".join(f"{name:>12}" for name in kernels))
    for name in names:
        print(f"{name:28}", end="", flush=True)
        failures = []
        for kernel in kernels:
            try:
                worst = _worst_error(name, kernel, seeds, options)
                print(f"{worst:12.1e}", end="", flush=True)
            except GradientError as error:
                failures.append(f"{name} on {kernel} kernels, {error}")
                print(f"{'WRONG':>12}", end="", flush=True)
        print()
        yield from failures


def _worst_error(name: str, kernel: str, seeds: int, options: dict[str, Any]) -> float:
    """The largest relative error of some cases.  GradientError, with the seed, if one is wrong."""
    worst = 0.0
    with use_kernels(kernel):
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            op, args = CASES[name](rng)
            try:
                worst = max(worst, check_gradients(op, *args, rng=rng, **options))
            except GradientError as error:
                raise GradientError(f"seed {seed}: {error}") from None
    return worst


# --- the reader's ops -------------------------------------------------------------------


def _check_own(
    target: str, shapes: str | None, seeds: int, options: dict[str, Any]
) -> Iterator[str]:
    """Print the worst error by each argument of FILE.py:NAME, or yield what is wrong."""
    path, _, name = target.rpartition(":")
    if not path.endswith(".py") or not name:
        raise InputError(f"{target}: expected FILE.py:NAME, the name of a function or of a class")
    try:
        ((legend, worst, failure),) = messages(check_file, path, name, shapes or "", seeds, options)
    except (InputError, NoAnswerError) as error:
        raise InputError(f"{target}: {error}") from None
    if failure:
        yield f"{target}: {failure}"
        return
    print(f'{target} on "{legend}", worst relative error')
    for argument, largest in worst.items():
        print(f"  by {argument:23}{largest:12.1e}")


def check_file(
    path: str, name: str, legend: str, seeds: int, options: dict[str, Any]
) -> Iterator[tuple[str, dict[str, float], str]]:
    """Yield the legend, the worst error by each argument, and what is wrong, or an empty text.

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
            case = arrays(legend, seed=seed)
            point = _point(op, case, options)
            try:
                compared = check_point(point)
            except GradientError as error:
                failure = f"{error}\nto repeat: {case.call(thing, **options)}"
                break
            for gradient in compared:
                before = worst.get(gradient.name, 0.0)
                worst[gradient.name] = max(gradient.worst.error, before)
    except InputError:
        raise
    except BaseException as error:  # whatever the reader's code raises
        raise InputError(
            f'expected an op of arguments "{legend}", found {_told(error, path)}'
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
            f"expected a file that can be imported, found {_told(error, path)}"
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


def _told(error: BaseException, path: str) -> str:
    """An exception in one line, with the last line of the reader's file that led to it."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: {told(error)}"
    found = last_line(error, lambda file: file == path)
    return f"line {found[1]}, {found[2]}: {told(error)}" if found else told(error)


# --- legends ----------------------------------------------------------------------------


def _legend(text: str) -> str:
    """The value of --shapes."""
    try:
        limits_of(text, {})
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


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
                    f'{name}: expected --shapes with a part such as "ids B T < V", '
                    '"lengths B <= T" or "mask B T", found none'
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
            return " ".join("B T" if word == "..." else word for word in words)
    return ""
