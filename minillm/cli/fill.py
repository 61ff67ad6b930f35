"""Fill in the gaps of a text.

Print the most probable tokens for each [MASK], with their probabilities, by a run of bert or
encoder.  Some encoders write <mask>.  Several gaps are filled in independently, with a paragraph of
tokens per gap.  A token that begins with ## continues a word.

examples:
  minillm fill runs/bert "the [MASK] statement"
  minillm fill runs/bert "import [MASK], [MASK]" --top 3
  minillm fill runs/roberta "the <mask> statement"
"""

import argparse

from minillm.cli.arguments import ArgumentParser
from minillm.cli.options import add_option, add_run, integer
from minillm.cli.similar import print_scored
from minillm.runs.load import load


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the text."""
    add_run(parser, "a run of bert or encoder")
    parser.add_argument("text", metavar="TEXT", help="a text with [MASK] where a word is missing")
    add_option(parser, "--top K", "print K tokens for each gap", integer(1), 5)


def run(args: argparse.Namespace) -> int:
    """Print the tokens of each gap."""
    for number, gap in enumerate(load(args.run_folder).fill(args.text, args.top)):
        if number:
            print()
        print_scored(gap)
    return 0
