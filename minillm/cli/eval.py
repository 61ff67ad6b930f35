"""``minillm eval``: how well a model does on data that it was not trained on."""

import argparse
import json
from typing import Any

from minillm.cli.arguments import add_run_folder
from minillm.cli.translate import add_beam_options


def add_parser(verbs: Any) -> None:
    """Declares the verb."""
    parser = verbs.add_parser(
        "eval",
        help="measure a model on held-out data",
        description="""\
Measure a model on the data that were held out when it was trained, or on all of the FILEs.
A language model: nats and bits per token, perplexity. An encoder-decoder: also exact outputs,
token errors, BLEU, chrF and ROUGE. A classifier: accuracy, macro-F1 and the confusion matrix; one
of texts, also the accuracy of TF-IDF with logistic regression, trained on the same texts (it
needs the package scikit-learn). A reader: exact match and F1 in percent, beside what counting
shared words reaches.""",
        epilog="""\
examples:
  minillm eval runs/first
  minillm eval runs/first other.txt --json
  cat *.txt | minillm eval runs/first -
  minillm eval runs/cmudict --part test --beam 5
  minillm eval runs/multi30k val.tsv
""",
    )
    add_run_folder(parser, "the folder of a run")
    parser.add_argument("files", nargs="*", metavar="FILE", help="UTF-8 text, - for standard input")
    parser.add_argument(
        "--part",
        choices=("validation", "test"),
        help="of a built-in set: what to measure on (default validation)",
    )
    add_beam_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run, several_files=True)


def run(args: argparse.Namespace) -> int:
    """Prints the figures."""
    from minillm.runs.opening import load

    files = tuple(getattr(args, "files", ()))
    results = load(args.run_folder, args.allow_nan).evaluate(
        files=files,
        part=args.part,
        beam=args.beam,
        length_exponent=args.length_exponent,
        beside=True,
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
    lines = ["confusion: each row is a label, each column what it was classified as"]
    lines.append("".join(f"{label:>{width}}" for label in ["", *labels]))
    for label, row in zip(labels, matrix, strict=True):
        lines.append("".join(f"{entry:>{width}}" for entry in [label, *row]))
    return "".join(f"{line}\n" for line in lines)
