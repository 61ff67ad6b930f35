"""``minillm classify``: the label of each line."""

import argparse
import sys
from typing import Any

from minillm.cli.arguments import add_run_folder


def add_parser(verbs: Any) -> None:
    """Declares the verb."""
    parser = verbs.add_parser(
        "classify",
        help="label texts, line by line",
        description="""\
Label standard input, line by line, with a run of `train classifier`. Printed are the label,
its probability and the text, separated by tabs. With a run of `train image-classifier`, a line
is an image: its pixels, 0 to 1, separated by spaces.""",
        epilog="""\
examples:
  echo "a fine film" | minillm classify runs/reviews
  minillm classify runs/reviews --all < texts.txt
""",
    )
    add_run_folder(parser, "the folder of a run")
    parser.add_argument(
        "--all",
        action="store_true",
        help="print the probabilities of all labels, the largest first",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Reads, classifies and prints, some lines at a time."""
    from minillm.cli.lines import chunks
    from minillm.runs.run import load

    opened = load(args.run_folder, args.allow_nan)
    opened.classify([])  # whether this run can classify, before anything is read
    for texts, places in chunks():
        for text, found in zip(texts, opened.classify(texts, places), strict=True):
            if args.all:
                entries = found.probabilities.items()
                print("\t".join(f"{label} {probability:.4f}" for label, probability in entries))
            else:
                print(f"{found.label}\t{found.probability:.4f}\t{text}")
        sys.stdout.flush()
    return 0
