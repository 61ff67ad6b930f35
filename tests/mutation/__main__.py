"""The command line: see the package."""

import argparse
import fnmatch
import random
import signal
import sys
from pathlib import Path

from . import __doc__ as about
from . import compiled, python
from .judge import Judge
from .mutant import Mutant
from .results import FINAL, SURVIVED, Results, report
from .witnesses import KERNELS, files

ROOT = Path(__file__).resolve().parents[2]
MOST = 40
ROOMS = ("ops", "layers", "models", "training", "decoding", "runs", "_kernels")


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("files", nargs="*", type=Path, help="which to mutate; all that have mutants unless given")
    add("--results", type=Path, default=ROOT / "build/mutants.jsonl", metavar="FILE")
    add("--only", metavar="PATTERN", help="those whose 'file:line  change' matches, as *lstm*:8?*")
    add("--all", action="store_true", help=f"of a kernel's file all, not {MOST} that are spread")
    add("--again", action="store_true", help="survivors once more, after a new test")
    add("--draw", type=int, metavar="N", help="N from each folder, of all functions, at random")
    add("--seed", type=int, default=0, metavar="S", help="of --draw")
    add("--list", action="store_true", help="only list them, with what is known of each")
    add("--report", action="store_true", help="only report what is known")
    return parser


def mutants_of(paths: list[Path], everything: bool) -> list[Mutant]:
    found = []
    for path in paths:
        source = (ROOT / path).read_text()
        if path.suffix == ".py":
            found += python.mutants(path, source)
        else:
            some = compiled.mutants(path, source)
            found += some if everything else compiled.sample(some, MOST)
    return found


def drawn(folders: list[Path], count: int, seed: int) -> list[Mutant]:
    """So many mutants of each folder, from any line; by default of those that tests mirror."""
    rng, found = random.Random(seed), []
    for folder in folders or [Path("minillm", room) for room in ROOMS]:
        if folder == KERNELS:
            pages = [path for path in files(ROOT) if path.parent == KERNELS]
            every = [m for p in pages for m in compiled.mutants(p, (ROOT / p).read_text())]
        else:
            pages = [path.relative_to(ROOT) for path in (ROOT / folder).rglob("*.py")]
            every = [m for p in pages for m in python.mutants(p, (ROOT / p).read_text(), True)]
        found += rng.sample(sorted(every, key=str), count)
    return found


def chosen_files(given: list[Path]) -> list[Path]:
    known = files(ROOT)
    paths = [path.resolve().relative_to(ROOT) if path.is_absolute() else path for path in given]
    for path in paths:
        if path not in known:
            sys.exit(f"{path}: expected a file that has mutants, such as {known[0]}")
    return paths or known


def main() -> int:
    arguments = parser().parse_args()
    # A run in the background ignores an interrupt: so a request to end is one too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if arguments.draw:
        mutants = drawn(arguments.files, arguments.draw, arguments.seed)
    else:
        mutants = mutants_of(chosen_files(arguments.files), arguments.all)
    if arguments.only:
        mutants = [m for m in mutants if fnmatch.fnmatch(str(m), arguments.only)]
    results = Results(arguments.results)
    if arguments.list:
        for mutant in mutants:
            print(f"{results.verdict(mutant):12}{mutant}")
        return 0
    if not arguments.report:
        done = FINAL - {SURVIVED} if arguments.again else FINAL
        left = [m for m in mutants if results.verdict(m) not in {*done, "equivalent"}]
        print(f"{len(mutants)} mutants, {len(mutants) - len(left)} are decided", flush=True)
        try:
            Judge(ROOT, results, lambda line: print(line, flush=True)).run(left)
        except KeyboardInterrupt:
            print("stopped: the same command goes on from here")
            return 130
        except RuntimeError as error:  # the unchanged project cannot be built or imported
            sys.exit(f"mutation: {error}")
    text, any_survived = report(mutants, results)
    print(text)
    return 1 if any_survived else 0


if __name__ == "__main__":
    sys.exit(main())
