"""Generate text with a language model.

The text is written a character, word or byte pair at a time.  A model that was trained on
documents (shards, or a GPT-2) ends its text by itself.

examples:
  minillm generate runs/first
  minillm generate runs/first --prompt "The while statement" --length 1000
  minillm generate runs/first --temperature 0             always the most probable: it will repeat
  minillm generate runs/first --temperature 1 --top-p 0.9 --seed 7
"""

import argparse
import sys

from minillm.cli.arguments import ArgumentParser
from minillm.cli.options import add_count, add_run, add_seed, add_temperature, number, open_run


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the prompt, the length, and how to sample."""
    add_run(parser, "the run of a language model")
    parser.add_argument(
        "--prompt",
        default="",
        metavar="TEXT",
        help="the text to continue (default: a new line, or a new document)",
    )
    add_count(
        parser, "--length", "N", 500, "write at most N characters, words or byte pairs", most=10**8
    )
    add_temperature(parser, "; 0: always the most probable token (default 0.8)", 0.8)
    add_count(parser, "--top-k", "K", None, "sample from the K most probable tokens only")
    parser.add_argument(
        "--top-p",
        type=number(above=0, most=1),
        metavar="P",
        help="sample from the fewest most probable tokens whose probabilities sum to P",
    )
    add_seed(parser, "the same seed generates the same text")
    parser.add_argument(
        "--stop",
        action="append",
        default=[],
        metavar="TEXT",
        help="end before this character, word or byte pair; may be given several times",
    )


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
