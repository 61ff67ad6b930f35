"""Time NumPy, Cython and PyTorch at the same work, or compare two files of such times.

    python -m benchmarks [--full] [--threads 1 2] [--only KIND] [--out DIR]
    python -m benchmarks compare A.jsonl B.jsonl

Prints a table.  Writes two files to DIR, named after the date: the figures (.jsonl) and the table
(.txt).

MINILLM_KERNELS=avx2 compares what runs on CPUs without AVX-512: NumPy and PyTorch are held to AVX2
as well.
"""

import os
import sys
from pathlib import Path

from benchmarks.machine import HELD_TO_AVX2, machine
from minillm import kernels_info
from minillm.errors import InputError
from minillm.timing.contest import limits, threads, timed

from . import command, report, verdicts
from .files import Kept, load, new_file


def main() -> int:
    try:
        if sys.argv[1:2] == ["compare"]:
            comparing(sys.argv[2:])
        else:
            timing(sys.argv[1:])
    except InputError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    return 0


def comparing(arguments: list[str]) -> None:
    parser = command.parser(verdicts.__doc__)
    parser.add_argument("before", metavar="A")
    parser.add_argument("after", metavar="B")
    options = parser.parse_args(arguments)
    print(verdicts.compare(load(options.before), load(options.after)))


def timing(arguments: list[str]) -> None:
    parser = command.parser(__doc__)
    parser.add_argument("--full", action="store_true", help="more sizes, and all models")
    parser.add_argument(
        "--threads", type=int, nargs="+", default=sorted({1, os.cpu_count() or 1}), metavar="N"
    )
    parser.add_argument("--only", default="", metavar="KIND", help="kinds whose name contains this")
    parser.add_argument(
        "--compiled", action="store_true", help="torch.compile, too, for GPT: a minute each"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark"), metavar="DIR")
    options = parser.parse_args(arguments)
    if kernels_info()["available"] == ["numpy"]:
        raise InputError("the Cython kernels are not built: make kernels")
    hold_peers()
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        if name in os.environ and HELD_TO_AVX2.items() - os.environ.items():
            raise InputError(f"{name} is set, which slows NumPy down: unset it")

    from .cases import cases  # imports PyTorch: seconds, which a refusal need not wait for

    results = Kept(machine())
    with new_file(options.out) as file:
        path = Path(file.name)
        results.write_to(file)
        try:
            for count in options.threads:
                with threads(count):
                    results.add(limits(count))
                    for case in cases(options.full, options.compiled):
                        if options.only in case.kind:
                            results.add(timed(case, count, 3.0 if options.full else 0.6))
                    results.add(limits(count))
        finally:
            if not results.cells:
                path.unlink()
    if not results.cells:
        raise InputError(f"--only {options.only}: expected a part of a kind's name, found no case")
    typed = "$ python -m benchmarks " + " ".join(arguments)
    text = f"{typed.strip()}\n{report.table(results)}\n"
    path.with_suffix(".txt").write_text(text)
    print(text)
    print(f"The figures and the table are {path.with_suffix('')}.jsonl and .txt.")


def hold_peers() -> None:
    """Start again with NumPy and PyTorch held to AVX2, if our kernels are and the CPU has more.

    Both read these variables when they are loaded.
    """
    kernels = kernels_info()
    is_held = not HELD_TO_AVX2.items() - os.environ.items()
    if kernels["kernels"] == "avx2" and "avx512" in kernels["available"] and not is_held:
        command = [sys.executable, "-m", "benchmarks", *sys.argv[1:]]
        os.execve(sys.executable, command, os.environ | HELD_TO_AVX2)


if __name__ == "__main__":
    sys.exit(main())
