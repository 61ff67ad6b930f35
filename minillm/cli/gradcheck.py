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
  minillm gradcheck mine.py:pool --shapes "B T D, B <= T"     also B T < V, B T bool
"""

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np

from minillm import kernels_info, use_kernels
from minillm.cli.arguments import ArgumentParser
from minillm.cli.options import add_option, integer, number
from minillm.errors import InputError, did_you_mean
from minillm.ops.gradient_cases import CASES
from minillm.testing import GradientError, check_gradients
from minillm.testing.own_op import check_file
from minillm.testing.own_process import NoAnswerError, messages


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the ops, and the number of cases."""
    parser.add_argument(
        "ops", nargs="*", metavar="OP", help="ops to check, or FILE.py:NAME (default: all ops)"
    )
    add_option(parser, "--seeds N", "check N random cases of each op", integer(1), 5)
    tolerance = "the greatest relative error that passes (default 1e-6)"
    add_option(parser, "--tolerance X", tolerance, number(above=0, below=1))
    add_option(parser, "--shapes LEGEND", "the shapes of your op's arguments")


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
            raise InputError("expected FILE.py:NAME, found an op of the package", "shapes")
        names = [name for name in args.ops if name not in own] or list(CASES)
        failures += _check_ours(names, args.seeds, options)
    for failure in failures:
        print(failure)
    if not failures:
        tolerance = options.get("tolerance", 1e-6)
        plural = "" if args.seeds == 1 else "s"
        print(f"every gradient agrees within {tolerance:g} on {args.seeds} random case{plural}")
    return 1 if failures else 0


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
