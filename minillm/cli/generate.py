"""Generate text with a language model.

The text is written a character, word or byte pair at a time.  A model that was trained on
documents (shards, or a GPT-2) ends its text by itself.

examples:
  minillm generate runs/first
  minillm generate runs/first --prompt "The while statement" --length 1000
  minillm generate runs/first --temperature 0             the most probable tokens: it will repeat
  minillm generate runs/first --temperature 1 --top-p 0.9 --seed 7
"""

import argparse
import sys

from minillm.cli.arguments import ArgumentParser
from minillm.cli.options import add_option, add_run, add_seed, integer, number, open_run


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the prompt, the length, and how to sample."""
    add_run(parser, "the run of a language model")
    help = "the text to continue (default: a new line, or a new document)"
    parser.add_argument("--prompt", default="", metavar="TEXT", help=help)
    help = "write at most N characters, words or byte pairs"
    add_option(parser, "--length N", help, integer(1, 10**8), 500)
    help = "sample; below 1, probable tokens more often, above 1 less often; 0: the most probable"
    add_option(parser, "--temperature T", help, number(least=0), 0.8)
    add_option(parser, "--top-k K", "sample from the K most probable tokens only", integer(1))
    help = "sample from the smallest set of most probable tokens whose probabilities sum to P"
    add_option(parser, "--top-p P", help, number(above=0, most=1))
    add_seed(parser, "the same seed generates the same text")
    help = "end before this character, word or byte pair; may be given several times"
    parser.add_argument("--stop", action="append", default=[], metavar="TEXT", help=help)


def run(args: argparse.Namespace) -> int:
    """Stream the text to standard output."""
    pieces = open_run(args).write(
        prompt=args.prompt,
        length=args.length,
        temperature=args.temperature,
        top_k=args.top_k,
        top_p=args.top_p,
        seed=args.seed,
        stop=args.stop,
    )
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")
    return 0
