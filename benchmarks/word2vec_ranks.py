"""word2vec over ranks: words per second, and quality beside one process.

    python -m benchmarks.word2vec_ranks [FILE] [--ranks 1 2 4] [--epochs 20] [--seeds 3]

Without FILE it reads the built-in corpus.  Each training is the command itself, as several ranks of
one thread each.  A table in Markdown has, for each number of ranks:

- words per second, over the whole training;
- the loss of a prediction on the text, in nats, over the same draws for all;
- the share of right analogies among artificial words, learnt from artificial sentences (as in
  `benchmarks.word2vec_gensim`);

and both measures with three learning rates at the start: that of one process, sqrt(n) times that,
and n times that, which is what the command does.  Means over the seeds, with their range.
"""

import argparse
import math
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import minillm
from minillm.metrics import analogy_accuracy
from minillm.runs.folder import RunFolder

from . import report
from .word2vec_gensim import grid

RATE = 0.025  # of one process, skip-gram
RATES = {"as one": -1.0, "sqrt(n)": -0.5, "n": 0.0}  # powers of n beside what the command does


def train(files: list[str], folder: Path, ranks: int, **options: Any) -> Any:
    """A run, and its words per second."""
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec") or "mpiexec"
    job = [found, "-n", str(ranks)] if ranks > 1 else []
    given = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "minillm", "train", "word2vec", *files, *given]
    subprocess.run(
        [*job, *command, "--out", str(folder), "--overwrite"],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    last = RunFolder(folder).read_metrics()[-1]
    return minillm.load(folder), last["step"] / last["seconds"]


def shown(values: list[float], form: str) -> str:
    """The mean, and the range."""
    low, mean, high = (f"{x:{form}}" for x in (min(values), np.mean(values), max(values)))
    return f"{mean} ({low} to {high})"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", metavar="FILE")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--average-every", type=int, nargs="+", default=[50_000])
    args = parser.parse_args()
    for key, value in report.machine().items():
        print(f"{key}: {value}")
    print("\n| ranks | words between averages | rate | words/s | loss, nats | analogies, % |")
    print("|--:|--:|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        folder, artificial = Path(place) / "run", Path(place) / "artificial.txt"
        lines, questions = grid(4_000, 0)
        artificial.write_text("".join(lines.blocks()))
        for ranks in args.ranks:
            for every in args.average_every if ranks > 1 else args.average_every[:1]:
                for name, power in RATES.items() if ranks > 1 else [("as one", 0.0)]:
                    rate = RATE * math.pow(ranks, power)
                    given = {"average_every": every, "learning_rate": rate}
                    speeds, losses, right = [], [], []
                    for seed in range(args.seeds):
                        given["seed"] = seed
                        run, speed = train(args.files, folder, ranks, epochs=args.epochs, **given)
                        speeds.append(speed)
                        losses.append(run.evaluate()["nats_per_prediction"])
                        small = {"dimension": 50, "subsample": 0, "minimum_count": 1, "epochs": 5}
                        options = ["--pretokenised"]
                        run, _ = train([str(artificial), *options], folder, ranks, **given, **small)
                        count, asked, _ = analogy_accuracy(run.vectors, questions)["grid"]
                        right.append(100 * count / asked)
                    print(
                        f"| {ranks} | {every if ranks > 1 else ''} | {name} | "
                        f"{shown(speeds, ',.0f')} | {shown(losses, '.4f')} | "
                        f"{shown(right, '.1f')} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
