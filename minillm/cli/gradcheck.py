"""Check every op's gradient against central differences.

Check the hand-written backward of every op at every coordinate against central differences, in
float64, on each kernel that runs here, and print the worst relative error.  Recurrences run over
several steps with unequal lengths and initial states that are not zero.

To check an op of your own: minillm.testing.check_gradients(op, *args, rng=rng).

examples:
  minillm gradcheck                     every op
  minillm gradcheck lstm gru            these two
  minillm gradcheck lstm --seeds 100    on a hundred random cases
"""

import argparse

import numpy as np

from minillm import kernels_info, use_kernels
from minillm.cli.arguments import ArgumentParser
from minillm.cli.options import add_option, integer
from minillm.errors import InputError
from minillm.ops.gradient_cases import CASES
from minillm.testing import GradientError, check_gradients


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the ops, and the number of cases."""
    parser.add_argument("ops", nargs="*", metavar="OP", help="ops to check (default: all)")
    add_option(parser, "--seeds N", "check N random cases of each op", integer(1), 5)


def run(args: argparse.Namespace) -> int:
    """Print the table; exit status 1 if a gradient is wrong."""
    unknown = sorted(set(args.ops) - set(CASES))
    if unknown:
        raise InputError(f"gradcheck: expected some of {', '.join(CASES)}; found {unknown[0]!r}")
    kernels = kernels_info()["available"]
    print(f"{'worst relative error':28}" + "".join(f"{name:>12}" for name in kernels))
    failures = []
    for name in args.ops or CASES:
        print(f"{name:28}", end="", flush=True)
        for kernel in kernels:
            try:
                print(f"{_worst_error(name, kernel, args.seeds):12.1e}", end="", flush=True)
            except GradientError as error:
                failures.append(f"{name} on {kernel} kernels, {error}")
                print(f"{'WRONG':>12}", end="", flush=True)
        print()
    for failure in failures:
        print(failure)
    if not failures:
        print(f"every gradient agrees within 1e-6 on {args.seeds} random cases")
    return 1 if failures else 0


def _worst_error(name: str, kernel: str, seeds: int) -> float:
    """The largest relative error of some cases.  GradientError, with the seed, if one is wrong."""
    worst = 0.0
    with use_kernels(kernel):
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            op, args = CASES[name](rng)
            try:
                worst = max(worst, check_gradients(op, *args, rng=rng))
            except GradientError as error:
                raise GradientError(f"seed {seed}: {error}") from None
    return worst
