"""Check gradients against central differences."""

import re
from collections.abc import Iterator

import numpy as np

from minillm import kernels_info, use_kernels
from minillm.cli.arguments import argument
from minillm.errors import InputError, did_you_mean
from minillm.ops.gradient_cases import CASES
from minillm.option import option
from minillm.testing import GradientError, check_gradients
from minillm.testing.own_op import check_file
from minillm.testing.own_process import NoAnswerError, messages


def gradcheck(
    ops: list[str] = argument("ops to check, or FILE.py:NAME (default: all ops)", "OP", ()),
    seeds: int = option(5, "check N random cases of each op", "N", least=1, most=10**6),
    tolerance: float = option(
        1e-6, "the greatest relative error that passes", "X", above=0, below=1
    ),
    shapes: str | None = option(None, "the shapes of your op's arguments", "LEGEND"),
    kinks: list[float] = option((), "keep its arguments 0.05 away from these, such as 0", "X"),
    line: bool = option(False, "say which line of a wrong backward is wrong"),
) -> int:
    """Check gradients against central differences: every op's, or your own.

    Check the hand-written backward of every op at every coordinate against central differences, in
    float64, on each kernel that runs here, and print the worst relative error.  Recurrences run
    over several steps with unequal lengths and initial states that are not zero.

    FILE.py:NAME is yours: a function that returns its output and its backward, a class with forward
    and backward, a torch.autograd.Function or a jax.custom_vjp.  FILE.py:FORWARD,BACKWARD is a pair
    of functions, forward(x) -> y, cache and backward(dy, cache).  Arguments are random, of the
    shapes that the docstring states, such as "x (B, T, I), W (I, O)", or that --shapes gives; equal
    letters are equal sizes.

    examples:
      minillm gradcheck                     every op
      minillm gradcheck lstm gru            these two
      minillm gradcheck lstm --seeds 100    on a hundred random cases
      minillm gradcheck mine.py:affine --shapes "B T I, I O, O"
      minillm gradcheck mine.py:pool --shapes "B T D, B <= T"     also B T < V, B T bool
      minillm gradcheck mine.py:affine --line                     which line is wrong
    """
    own = [name for name in ops if ":" in name or name.endswith(".py")]
    names = [name for name in ops if name not in own] or ([] if own else list(CASES))
    for name in names:
        if name not in CASES:
            raise InputError(
                f"gradcheck: expected FILE.py:NAME, or some of {', '.join(CASES)}; "
                f"found {name!r}{did_you_mean(name, CASES)}"
            )
    for name, value in (("shapes", shapes), ("kinks", kinks)):
        if names and value:
            raise InputError("expected FILE.py:NAME, found an op of the package", name)
    if re.fullmatch(r"\(?\d+(\s*[,x]\s*\d+)+\)?", shapes or ""):
        raise InputError(
            f'expected letters, such as "B T, T" for two arrays, found {shapes!r}', "shapes"
        )
    failures: list[str] = []
    for target in own:
        failures += _check_own(target, shapes or "", seeds, tuple(kinks), tolerance, line)
    if names:
        failures += _check_ours(names, seeds, tolerance, line)
    for failure in failures:
        print(failure)
    if not failures:
        cases = f"{seeds} random case{'' if seeds == 1 else 's'}"
        print(f"every gradient agrees within {tolerance:g} on {cases}")
    return 1 if failures else 0


def _check_ours(names: list[str], seeds: int, tolerance: float, line: bool) -> Iterator[str]:
    """Print a row for each op and a column for each kernel, and yield the faults."""
    kernels = kernels_info()["available"]
    print(f"{'worst relative error':28}" + "".join(f"{name:>12}" for name in kernels))
    for name in names:
        print(f"{name:28}", end="", flush=True)
        failures = []
        for kernel in kernels:
            worst, seed = 0.0, 0
            try:
                with use_kernels(kernel):
                    for seed in range(seeds):
                        rng = np.random.default_rng(seed)
                        op, args = CASES[name](rng)
                        error = check_gradients(
                            op, *args, rng=rng, tolerance=tolerance, locate=line
                        )
                        worst = max(worst, error)
                print(f"{worst:12.1e}", end="", flush=True)
            except GradientError as error:
                failures.append(f"{name} on {kernel} kernels, seed {seed}: {error}")
                print(f"{'WRONG':>12}", end="", flush=True)
        print()
        yield from failures


def _check_own(
    target: str,
    shapes: str,
    seeds: int,
    kinks: tuple[float, ...],
    tolerance: float,
    line: bool,
) -> Iterator[str]:
    """Print the worst error by each argument of FILE.py:NAME, or yield what is wrong."""
    path, _, name = target.rpartition(":")
    if not path.endswith(".py") or not name:
        raise InputError(f"{target}: expected FILE.py:NAME, the name of a function or of a class")
    options = {"tolerance": tolerance}
    try:
        ((legend, worst, failure),) = messages(
            check_file, path, name, shapes, seeds, kinks, options, line
        )
    except (InputError, NoAnswerError) as error:
        raise InputError(f"{target}: {error}") from None
    if failure:
        yield f"{target}: {failure}"
        return
    print(f'{target} on "{legend}", worst relative error')
    for name, largest in worst.items():
        print(f"  by {name:23}{largest:12.1e}")
