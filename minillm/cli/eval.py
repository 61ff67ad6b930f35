"""Measure a model on held-out data.

The data are the part that was held out in training, or all of the FILEs.
A language model: nats and bits per token, perplexity; and the loss of the best n-gram of the same
training text.  An encoder-decoder: also the share of unknown words in the targets, exact outputs
and token errors; with the packages of the extra "metrics", also BLEU, chrF and ROUGE.  A
classifier: accuracy, macro-F1 and the confusion matrix; for texts, also the accuracy of TF-IDF with
logistic regression, trained on the same texts (this needs the package scikit-learn).  A qa model:
exact match and F1 in percent, and both figures for counting shared words.  A llama or a chat, on
JSON lines: for conversations, the loss of the answers, and with --pattern the share of written
answers that match; for multiple choice, in the form of HellaSwag or ARC, the share of right
answers, with its standard error.

examples:
  minillm eval runs/first
  minillm eval runs/first other.txt --json
  cat *.txt | minillm eval runs/first -
  minillm eval runs/cmudict --part test --beam 5
  minillm eval runs/multi30k val.tsv
  minillm eval runs/smol chats.jsonl --pattern "[0-9]+"
"""

import argparse
import json

from minillm.cli.arguments import ArgumentParser
from minillm.cli.options import add_beam, add_files, add_flag, add_option, add_run, open_run
from minillm.cli.process import say
from minillm.errors import InputError
from minillm.models.llama import Llama


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the data, and how to decode."""
    add_run(parser)
    add_files(parser, "UTF-8 text, - for standard input")
    parser.add_argument(
        "--part",
        choices=("validation", "test"),
        help="the part of a built-in set to measure on (default validation)",
    )
    add_beam(parser)
    pattern = "of conversations: compare the last match of REGEX in written and known answer"
    add_option(parser, "--pattern REGEX", pattern)
    add_flag(parser, "--json", "print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print the figures."""
    opened = open_run(args)
    if args.pattern is not None and not isinstance(opened.model, Llama):
        raise InputError(f"--pattern: expected a run of llama or chat, found {opened.kind.name}")
    results = opened.evaluate(
        files=tuple(args.files),
        part=args.part,
        beam=args.beam,
        pattern=args.pattern,
        length_exponent=args.length_exponent,
        beside=True,
        report=say,
    )
    if args.json:
        print(json.dumps(results))
        return 0
    labels, matrix = results.pop("labels", []), results.pop("confusion", [])
    width = max(map(len, results)) + 2
    for key, value in results.items():
        shown = f"{value:.4f}" if isinstance(value, float) else value
        print(f"{key.replace('_', ' '):{width}}{shown}")
    if labels:
        print(confusion(labels, matrix), end="")
    return 0


def confusion(labels: list[str], matrix: list[list[int]]) -> str:
    """The confusion matrix as a table."""
    width = max(len(str(max(map(max, matrix)))), *map(len, labels)) + 1
    lines = ["confusion: each row is a label, each column a prediction"]
    lines.append("".join(f"{label:>{width}}" for label in ["", *labels]))
    for label, row in zip(labels, matrix, strict=True):
        lines.append("".join(f"{entry:>{width}}" for entry in [label, *row]))
    return "".join(f"{line}\n" for line in lines)
