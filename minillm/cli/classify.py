"""Label texts, line by line.

Label TEXTs, the lines of FILEs, or the lines of standard input, with a trained classifier.  Each
line of output contains the label, its probability and the text, separated by tabs.  An empty line
is also a text.  With a run of image-classifier, a line is an image: its pixels, 0 to 1, separated
by spaces.  The output of a line that cannot be read is an empty line, or null with --json.

examples:
  minillm classify runs/reviews "a fine film" "the worst of the year"
  minillm classify runs/reviews < texts.txt
  minillm classify runs/reviews texts.txt --json > labels.jsonl
        one object per line: {"label": ..., "probabilities": {...}, "text": ...}
"""

import argparse
import json
from typing import Any

from minillm.cli.arguments import ArgumentParser
from minillm.cli.lines import chunks, print_answers, separately
from minillm.cli.options import add_files, add_flag, add_run
from minillm.runs.load import load


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the lines, and the form of the output."""
    add_run(parser, "a run of a classifier")
    texts = "a text, or a file of lines of UTF-8 text (default: standard input)"
    add_files(parser, texts, "TEXT|FILE")
    add_flag(parser, "--json", "print one JSON object a line, with the probabilities of all labels")


def run(args: argparse.Namespace) -> int:
    """Read, classify and print, some lines at a time."""

    def show(number: int, text: str, answer: Any) -> list[str]:
        if answer is None:
            return ["null" if args.json else ""]
        if args.json:
            values = {"label": answer.label, "probabilities": answer.probabilities}
            return [json.dumps(values | {"text": text}, ensure_ascii=False)]
        return [f"{answer.label}\t{answer.probability:.4f}\t{text}"]

    classify = load(args.run_folder).classify
    return print_answers(separately(classify), show, chunks(args.files, or_texts=True))
