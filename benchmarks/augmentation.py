"""What augmentation gains where labels are few: each method by itself, and some together.

    python -m benchmarks.augmentation TRAIN TEST --vectors FILE [--fill DIR ...]
        [--there DIR --back DIR] [--labels 100] [--seeds 5] [--work DIR] [--out DIR]

TRAIN and TEST are files of lines label<TAB>text.  For each seed, a training is given the first of
the seed's order of the training texts (minillm/runs/curve.py), a fifth of which tells it when to
stop; with a method, changed copies of the others as well.  The methods of the same seed have the
same texts.  Beside the accuracies stands what each gains over the same seed without augmentation:
the mean of the differences, and their standard deviation.  An epoch is as many texts with copies as
without.

Every training is a line of WORK/results.jsonl; the same command goes on where it was stopped.  OUT
gets the table, and the figures of every seed.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from minillm.cli.curve import sizes_of
from minillm.data.files import write_file
from minillm.runs.curve import measure, points
from minillm.runs.run import load

PLAIN, EDA = "without", "these four (EDA)"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--vectors", required=True)
    parser.add_argument("--fill", nargs="*", default=[])
    parser.add_argument("--there")
    parser.add_argument("--back")
    parser.add_argument("--labels", default="100")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--work", default="build/augmentation")
    parser.add_argument("--out", default="benchmarks/results/augmentation")
    args = parser.parse_args()
    sizes = sizes_of(args.labels)
    asked = (args.work, args.train, args.test, sizes, args.seeds, lines_of(args))
    if not measure(*asked):
        return 130
    found = points(*asked)
    text = "\n\n".join(f"{size:,} labels\n\n{table(found, size)}" for size in sizes)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    write_file(out / "results.md", f"{text}\n".encode())
    write_file(out / "results.json", f"{json.dumps(found, indent=1)}\n".encode())
    print(text)
    return 0


def lines_of(args: argparse.Namespace) -> dict[str, dict]:
    """The settings of each way to train."""
    vectors = str(Path(args.vectors).resolve())
    similar = f"synonyms={vectors}", f"insertion={vectors}"
    methods = {
        "synonyms": similar[0],
        "insertion": similar[1],
        "swap": "swap",
        "deletion": "deletion",
        EDA: ",".join([*similar, "swap", "deletion"]),
    }
    for run in args.fill:
        methods[f"fill, by {load(run).kind.name}"] = f"fill={Path(run).resolve()}"
    if args.there and args.back:
        there, back = Path(args.there).resolve(), Path(args.back).resolve()
        methods["back-translation"] = f"back-translation={there}+{back}"
    lines: dict[str, dict] = {PLAIN: {}}
    lines |= {name: {"augment": augment} for name, augment in methods.items()}
    lines |= {f"mixup, alpha {alpha}": {"mixup": alpha} for alpha in (0.2, 1.0)}
    return lines


def table(found: dict[str, dict[int, list[float]]], size: int) -> str:
    """Accuracies and gains in percent, as a table in Markdown."""
    plain = 100 * np.array(found[PLAIN][size])
    rows = ["| | accuracy | gain | by seed |", "|---|---:|---:|---|"]
    for name, line in found.items():
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
