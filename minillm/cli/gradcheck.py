"""``minillm gradcheck``: is every backward the derivative of its forward?"""

import argparse
from typing import Any

from minillm.cli.options import integer


def add_parser(verbs: Any) -> None:
    """Declares the verb."""
    parser = verbs.add_parser(
        "gradcheck",
        help="check every op's gradient against central differences, on every kernel",
        description="""\
Checks the hand-written backward of every op at every coordinate against central
differences, in float64, on each kernel that runs here, and prints the worst relative
error.  Recurrences run over several steps with unequal lengths and initial states
that are not zero.
""",
        epilog="""\
examples:
  minillm gradcheck                     every op
  minillm gradcheck lstm gru            these two
  minillm gradcheck lstm --seeds 100    on a hundred random cases

To check an op of your own: minillm.testing.check_gradients(op, *args, rng=rng).
""",
    )
    parser.add_argument("ops", nargs="*", metavar="OP", help="ops to check (default: all)")
    parser.add_argument(
        "--seeds",
        type=integer(1),
        default=5,
        metavar="N",
        help="random cases of each op (default: 5)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the table; exit status 1 if a gradient is wrong."""
    import numpy as np

    from minillm import kernels_info, use_kernels
    from minillm.errors import InputError
    from minillm.ops.gradient_cases import CASES
    from minillm.testing import GradientError, check_gradients

    unknown = sorted(set(args.ops) - set(CASES))
    if unknown:
        raise InputError(f"gradcheck: no op {unknown[0]!r}: expected some of {', '.join(CASES)}")

    kernels = kernels_info()["available"]
    print(f"{'worst relative error':28}" + "".join(f"{name:>12}" for name in kernels))
    failures = []
    for name in args.ops or CASES:
        print(f"{name:28}", end="", flush=True)
        for kernel in kernels:
            worst = 0.0
            with use_kernels(kernel):
                try:
                    for seed in range(args.seeds):
                        rng = np.random.default_rng(seed)
                        op, op_args = CASES[name](rng)
                        worst = max(worst, check_gradients(op, *op_args, rng=rng))
                    print(f"{worst:12.1e}", end="", flush=True)
                except GradientError as error:
                    failures.append(f"{name} on {kernel} kernels, seed {seed}: {error}")
                    print(f"{'WRONG':>12}", end="", flush=True)
        print()
    for failure in failures:
        print(failure)
    if not failures:
        print(f"every gradient agrees within 1e-6 on {args.seeds} random cases")
    return 1 if failures else 0
