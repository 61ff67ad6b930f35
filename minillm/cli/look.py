"""Look inside a model as it reads a text.

Write one HTML file that opens from disk in any browser.  It shows, for each token, the distribution
that predicted it and its loss; the attention of all heads of a GPT, a BERT or a translator; the
gates and cells of a recurrent language model; and in these models, but for translators, the
gradient of each loss that reaches each token.  It compares the predictions of a network with the
best n-gram of the same training text.  For a translator, TEXT is the source.  For an n-gram model,
the page shows the contexts that it found.

examples:
  minillm look runs/first "The while statement"
  minillm look runs/first "The while statement" --beside runs/characters
        with the predictions of another run
  minillm look runs/bert "the while statement repeats" --out bert.html
  minillm look runs/numbers "forty-two" --target "quarante-deux"
"""

import argparse

from minillm.cli.arguments import ArgumentParser
from minillm.cli.options import add_option, add_run
from minillm.cli.process import say
from minillm.runs.load import load


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the text, the file, and what to show with it."""
    add_run(parser)
    parser.add_argument("text", metavar="TEXT", help="the text that the model reads")
    add_option(parser, "--out FILE", "the file (default: DIR/look.html)")
    other = "another run with the same tokens, to compare with (default: the best n-gram)"
    add_option(parser, "--beside DIR", other)
    output = "the output of a translator to look at (default: its own)"
    add_option(parser, "--target TEXT", output)


def run(args: argparse.Namespace) -> int:
    """Write the file and print its path; notes go to standard error."""
    first = load(args.run_folder)
    beside = None if args.beside is None else load(args.beside)
    page = first.look(args.text, beside, args.target)
    path = first.home / "look.html" if args.out is None else args.out
    page.save(path)
    for note in page.trace.notes:
        say(note)
    print(path)
    return 0
