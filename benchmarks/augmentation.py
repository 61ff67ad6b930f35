"""The gain of augmentation from few labels: each method by itself, and some together.

    python -m benchmarks.augmentation TRAIN TEST --vectors FILE
        [--there DIR --back DIR] [--labels 100] [--seeds 5] [--work DIR] [--out DIR]

TRAIN and TEST are files of lines label<TAB>text.  For each seed, a training gets the first texts of
that seed's order (minillm/runs/curve.py), a fifth of which decide when it stops; with a method, it
also gets changed copies of the others.  All methods of a seed have the same texts.  The table has
the accuracies and their gain over the same seed without augmentation: the mean of the differences,
and their standard deviation.

Every training is a line of WORK/results.jsonl; the same command resumes.  OUT gets the table, and
the figures of every seed.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from minillm.cli.curve import sizes_of
from minillm.data.files import write_file
from minillm.runs.curve import measure

PLAIN, EDA = "without", "these four (EDA)"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--vectors", required=True)
    parser.add_argument("--there")
    parser.add_argument("--back")
    parser.add_argument("--labels", default="100")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--work", default="build/augmentation")
    parser.add_argument("--out", default="benchmarks/results/augmentation")
    args = parser.parse_args()
    sizes = sizes_of(args.labels)
    results = measure(args.work, args.train, args.test, sizes, args.seeds, lines_of(args))
    if results is None:
        return 130
    text = "\n\n".join(f"{size:,} labels\n\n{table(results, size)}" for size in sizes)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    write_file(out / "results.md", f"{text}\n".encode())
    write_file(out / "results.json", f"{json.dumps(results, indent=1)}\n".encode())
    print(text)
    return 0


def lines_of(args: argparse.Namespace) -> dict[str, dict]:
    """Return the settings of each method."""
    vectors = str(Path(args.vectors).resolve())
    similar = f"synonyms={vectors}", f"insertion={vectors}"
    methods = {
        "synonyms": similar[0],
        "insertion": similar[1],
        "swap": "swap",
        "deletion": "deletion",
        EDA: ",".join([*similar, "swap", "deletion"]),
    }
    if args.there and args.back:
        there, back = Path(args.there).resolve(), Path(args.back).resolve()
        methods["back-translation"] = f"back-translation={there}+{back}"
    return {PLAIN: {}} | {name: {"augment": augment} for name, augment in methods.items()}


def table(results: dict[str, dict[int, list[float]]], size: int) -> str:
    """Format accuracies and gains in percent as a table in Markdown."""
    plain = 100 * np.array(results[PLAIN][size])
    rows = ["| | accuracy | gain | by seed |", "|---|---:|---:|---|"]
    for name, line in results.items():
        values = 100 * np.array(line[size])
        gains = values - plain
        gain = "" if name == PLAIN else f"{gains.mean():+.1f} ± {gains.std(ddof=1):.1f}"
        seeds = ", ".join(f"{value:.1f}" for value in values)
        rows.append(
            f"| {name} | {values.mean():.1f} ± {values.std(ddof=1):.1f} | {gain} | {seeds} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    raise SystemExit(main())
