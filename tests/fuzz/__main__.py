"""The deep fuzzer: every reader in a process of its own, with limits on memory and time.

A crash, a hang and any exception but InputError are counted, their input is kept in build/fuzz/,
and the fuzzer goes on.
"""

import argparse
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from .driver import Bench, right
from .readers import READERS, Samples, read_samples
from .samples import write_samples

SECONDS, MEMORY = 5, 4 << 30  # of one input's processor time; of the process that reads it
PATIENCE = 60  # seconds of the clock: an input may also wait, for ever
TIMERS = (signal.SIGPROF, signal.SIGALRM)
COUNTS = ("read", "refused", "wrong", "crashed", "hung")
KEPT = Path("build/fuzz")


def work(bench: Bench, numbers: range, pipe: int) -> None:
    """Reads these inputs, and writes a byte for each of them; in the child."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for timer in TIMERS:
        signal.signal(timer, signal.SIG_DFL)  # kills, even in compiled code
    for number in numbers:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.alarm(PATIENCE)
        error = bench.run(number)
        what = "read" if error is None else "refused"
        if not right(error):
            what = "wrong"
            kept = bench.save(number, type(error).__name__, KEPT)
            (kept / "traceback").write_text("".join(traceback.format_exception(error)))
            print(f"{kept}: {type(error).__name__}: {str(error)[:200]}", flush=True)
        os.write(pipe, bytes([COUNTS.index(what)]))


def fuzz(bench: Bench, inputs: int, report: float) -> dict[str, int]:
    """All inputs of one reader; a child that dies is followed by another."""
    counts, reported = Counter(dict.fromkeys(COUNTS, 0)), time.monotonic()
    while (begun := counts.total()) < inputs:
        pipe, end = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                work(bench, range(begun, inputs), end)
            finally:
                os._exit(1)
        os.close(end)
        while found := os.read(pipe, 4096):
            counts.update(COUNTS[number] for number in found)
            if time.monotonic() - reported > report:
                reported = time.monotonic()
                print(f"{bench.name}: {counts.total():,} of {inputs:,} {dict(counts)}", flush=True)
        os.close(pipe)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if counts.total() < inputs:
            what = "hung" if -status in TIMERS else "crashed"
            print(bench.save(counts.total(), what, KEPT), flush=True)
            counts[what] += 1
    return dict(counts)


def samples_in(folder: Path) -> Samples:
    """The samples, made in a child: a process that has used threads should not be forked."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            write_samples(folder)
            status = 0
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(status)
    if os.waitpid(child, 0)[1]:
        sys.exit("the samples could not be made")
    return read_samples(folder)


def main() -> int:
    """Reads the arguments, fuzzes each reader, and prints the counts; 1 if any input went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="in all (default 100,000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--readers", nargs="+", choices=list(READERS), default=list(READERS))
    parser.add_argument("--report", type=float, default=60, help="seconds between two reports")
    args = parser.parse_args()
    each = -(-args.inputs // len(args.readers))
    base = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # a damaged name may be that of standard input
    results, started = {}, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=base) as folder:
        samples = samples_in(Path(folder) / "samples")
        for name in args.readers:
            begun = time.monotonic()
            bench = Bench(name, samples, Path(folder) / "work", args.seed)
            results[name] = fuzz(bench, each, args.report)
            rate = each / (time.monotonic() - begun)
            print(f"{name}: {results[name]} {rate:,.0f} inputs/s", flush=True)
    total = {key: sum(counts[key] for counts in results.values()) for key in COUNTS}
    seconds = time.monotonic() - started
    print(f"\n{'reader':20}" + "".join(f"{key:>10}" for key in COUNTS))
    for name, counts in {**results, "all": total}.items():
        print(f"{name:20}" + "".join(f"{counts[key]:10,}" for key in COUNTS))
    inputs = each * len(args.readers)
    print(f"{inputs:,} inputs in {seconds:,.0f} s, {inputs / seconds:,.0f} inputs/s")
    return 1 if total["wrong"] + total["crashed"] + total["hung"] else 0


if __name__ == "__main__":
    sys.exit(main())
