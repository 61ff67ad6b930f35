"""The validation loss of ``train gpt`` after some minutes, with the defaults.

    python -m benchmarks.gpt_learning FILE [--minutes 1 2 3 4 5] [--out runs/learning]

Each length is a run of its own, for the learning rate follows the clock.  The loss, in nats per
token of all the text that was held out, is measured twice:

    overlapping   windows that overlap by half: nearly every token sees half a context or more
    blocks        one window after the other, each from an empty context

Other options are those of ``train gpt``, such as --context 64.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

import minillm
from minillm.cli import main as command
from minillm.runs.kind import Evaluation
from minillm.runs.text import evaluation_ids
from minillm.training.context import evaluate_in_context

from . import report


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--out", type=Path, default=Path("runs/learning"))
    args, options = parser.parse_known_args()
    rows = []
    for minutes in args.minutes:
        out = str(args.out / f"{minutes:g}")
        length = ["--minutes", str(minutes), "--overwrite", "--out", out]
        if status := command(["train", "gpt", args.file, *length, *options]):
            return status
        run = minillm.load(out)
        _, ids = evaluation_ids(run, Evaluation())
        overlapping, _ = evaluate_in_context(run.model, ids, run.settings.batch)
        rows.append((minutes, overlapping, loss_of_blocks(run.model, ids, run.settings.batch)))
    print()
    for key, value in report.machine().items():
        print(f"{key}: {value}")
    print("\n| minutes | overlapping | blocks |\n|--:|--:|--:|")
    for minutes, overlapping, blocks in rows:
        print(f"| {minutes:g} | {overlapping:.3f} | {blocks:.3f} |")
    return 0


def loss_of_blocks(model: Any, ids: np.ndarray, batch: int) -> float:
    """Nats per token, each block of the context's length from nothing."""
    context = model.config.context
    blocks = (len(ids) - 1) // context
    inputs, targets = (
        ids[first : first + blocks * context].reshape(blocks, context).astype(np.int64)
        for first in (0, 1)
    )
    total = 0.0
    for start in range(0, blocks, batch):
        rows = slice(start, start + batch)
        (loss, _), _ = model.window_loss(inputs[rows], targets[rows], {})
        total += float(loss) * len(inputs[rows])
    return total / blocks


if __name__ == "__main__":
    sys.exit(main())
