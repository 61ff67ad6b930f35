"""Generate text with a language model.

The text is written a character, word or byte pair at a time.  A model that was trained on
documents (shards, or a GPT-2) ends its text by itself.

examples:
  minillm generate runs/first
  minillm generate runs/first --prompt "The while statement" --length 1000
  minillm generate runs/first --temperature 0             the most probable tokens: it will repeat
  minillm generate runs/first --temperature 1 --top-p 0.9 --seed 7
  minillm generate runs/first --adapt --prompt "$(cat chapter.txt)"
"""

import argparse
import sys

from minillm.cli.arguments import ArgumentParser
from minillm.cli.options import (
    add_flag,
    add_option,
    add_run,
    add_settings,
    given_settings,
    integer,
)
from minillm.decoding import Sampling
from minillm.runs.load import load


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the prompt, the length, and how to sample."""
    add_run(parser, "the run of a language model")
    prompt = "the text to continue (default: a new line, or a new document)"
    parser.add_argument("--prompt", default="", metavar="TEXT", help=prompt)
    length = "write at most N characters, words or byte pairs"
    add_option(parser, "--length N", length, integer(1, 10**8), 500)
    stop = "end before this character, word or byte pair; may be given several times"
    parser.add_argument("--stop", action="append", default=[], metavar="TEXT", help=stop)
    adapt = "let a copy of the model learn the prompt first: for a long one"
    add_flag(parser, "--adapt", adapt)
    add_settings(parser, Sampling)


def run(args: argparse.Namespace) -> int:
    """Stream the text to standard output."""
    pieces = load(args.run_folder).write(
        prompt=args.prompt,
        length=args.length,
        stop=args.stop,
        adapt=args.adapt,
        **given_settings(args, Sampling),
    )
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")
    return 0
