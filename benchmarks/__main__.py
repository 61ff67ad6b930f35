"""Time the contestants: `python -m benchmarks [--full] [--threads 1 2] [--out DIR]`."""

import argparse
import os
import sys
from pathlib import Path

from minillm import kernels_info

from . import report
from .cases import cases
from .race import measured_peak, race, threads


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--full", action="store_true", help="all sizes, more rounds: 6 minutes")
    parser.add_argument(
        "--threads", type=int, nargs="+", default=sorted({1, os.cpu_count() or 1}), metavar="N"
    )
    parser.add_argument("--only", default="", help="only the kinds whose name contains this")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark"), metavar="DIR")
    options = parser.parse_args()
    if kernels_info()["available"] == ["numpy"]:
        print("benchmarks: the Cython kernels are not built: make kernels", file=sys.stderr)
        return 2
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        if name in os.environ:
            print(f"benchmarks: {name} is set, which slows NumPy down: unset it", file=sys.stderr)
            return 2

    results = {"machine": report.machine(), "runs": []}
    print("\n".join(f"{key}: {value}" for key, value in results["machine"].items()), flush=True)
    tables = []
    for count in options.threads:
        with threads(count):
            peak, rows = measured_peak(), []
            for case in cases(options.full):
                if options.only not in case.kind:
                    continue
                # A contestant's threads must not disturb the next one: see race().
                pause = 0.1 if count > 1 else 0.0
                times = race(case, 3.0 if options.full else 0.6, 7 if options.full else 3, pause)
                rows.append(report.row(case, times, peak))
                print(f"{count}: {case.kind} ({case.sizes})", file=sys.stderr, flush=True)
        results["runs"].append({"threads": count, "peak": peak, "rows": rows})
        tables.append(report.table(rows, count, peak))
        print("\n" + tables[-1], flush=True)
    report.save(options.out, results, tables)
    print(f"\nWritten to {options.out}: results.json and results.md.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
