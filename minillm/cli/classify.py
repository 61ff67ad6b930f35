"""``minillm classify``: the label of each line."""

import argparse
import json
import sys
from typing import Any

from minillm.cli.arguments import add_run_folder


def add_parser(verbs: Any) -> None:
    """Declares the verb."""
    parser = verbs.add_parser(
        "classify",
        help="label texts, line by line",
        description="""\
Label the lines of FILEs or of standard input with a run of `train classifier`. Printed are the
label, its probability and the text, separated by tabs. An empty line is a text, too: it gets the
label that the model gives when it has read nothing. With a run of `train image-classifier`, a
line is an image: its pixels, 0 to 1, separated by spaces.""",
        epilog="""\
examples:
  echo "a fine film" | minillm classify runs/reviews
  minillm classify runs/reviews --all < texts.txt
  minillm classify runs/reviews texts.txt --json > labels.jsonl
        one object a line: {"label": ..., "probabilities": {...}, "text": ...}
""",
    )
    add_run_folder(parser, "the folder of a run")
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="lines of UTF-8 text (default: standard input)"
    )
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument(
        "--all",
        action="store_true",
        help="print the probabilities of all labels, the largest first",
    )
    shown.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.set_defaults(run=run, several_files=True)


def run(args: argparse.Namespace) -> int:
    """Reads, classifies and prints, some lines at a time."""
    from minillm.cli.lines import chunks
    from minillm.runs.opening import load

    opened = load(args.run_folder, args.allow_nan)
    opened.classify([])  # whether this run can classify, before anything is read
    for texts, places in chunks(getattr(args, "files", None) or ["-"]):
        for text, found in zip(texts, opened.classify(texts, places), strict=True):
            if args.json:
                values = {"label": found.label, "probabilities": found.probabilities}
                print(json.dumps(values | {"text": text}, ensure_ascii=False))
            elif args.all:
                entries = found.probabilities.items()
                print("\t".join(f"{label} {probability:.4f}" for label, probability in entries))
            else:
                print(f"{found.label}\t{found.probability:.4f}\t{text}")
        sys.stdout.flush()
    return 0
