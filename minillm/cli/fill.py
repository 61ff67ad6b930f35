"""``minillm fill``: what a model fills into the gaps of a text."""

import argparse
from typing import Any

from minillm.cli.arguments import add_run_folder
from minillm.cli.options import integer


def add_parser(verbs: Any) -> None:
    """Declares the verb."""
    parser = verbs.add_parser(
        "fill",
        help="fill in the gaps of a text",
        description="""\
Print the tokens that a run of `train bert` finds the most probable where [MASK] stands, each with
its probability.  If there are several gaps, each is filled in by itself: their tokens stand in
paragraphs, one after the other.  A token that begins with ## goes on with a word.""",
        epilog="""\
examples:
  minillm fill runs/bert "the [MASK] statement"
  minillm fill runs/bert "import [MASK], [MASK]" --top 3
""",
    )
    add_run_folder(parser, "the folder of a run of `train bert`")
    parser.add_argument("text", metavar="TEXT", help="a text with [MASK] where a word is missing")
    parser.add_argument(
        "--top", type=integer(1), default=5, metavar="K", help="how many tokens (default 5)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the tokens of each gap."""
    from minillm.runs.opening import load

    gaps = load(args.run_folder, args.allow_nan).fill(args.text, args.top)
    for number, gap in enumerate(gaps):
        if number:
            print()
        for token, probability in gap:
            print(f"{probability:7.4f}  {token}")
    return 0
