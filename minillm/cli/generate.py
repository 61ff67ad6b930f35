"""``minillm generate``: what a language model writes."""

import argparse
import sys
from typing import Any

from minillm.cli.arguments import add_run_folder
from minillm.cli.options import integer, number, seed


def add_parser(verbs: Any) -> None:
    """Declares the verb."""
    parser = verbs.add_parser(
        "generate",
        help="generate text with a language model",
        description="""\
Generate text with a trained language model, a character, word or byte pair at a time. A model that
was trained on documents (shards, or a GPT-2) ends its text by itself.""",
        epilog="""\
examples:
  minillm generate runs/first
  minillm generate runs/first --prompt "The while statement" --length 1000
  minillm generate runs/first --temperature 0             always the most probable: it will repeat
  minillm generate runs/first --temperature 1 --top-p 0.9 --seed 7
""",
    )
    add_run_folder(parser, "the folder of a language model's run")
    parser.add_argument(
        "--prompt",
        default="",
        metavar="TEXT",
        help="what to continue (default: a new line, or a new document)",
    )
    parser.add_argument(
        "--length",
        type=integer(1, 10**8),
        default=500,
        metavar="N",
        help="how many characters, words or byte pairs to write at most (default 500)",
    )
    parser.add_argument(
        "--temperature",
        type=number(least=0),
        default=0.8,
        metavar="T",
        help="below 1, probable tokens are drawn more often, above 1 less often; 0: always the "
        "most probable one (default 0.8)",
    )
    parser.add_argument(
        "--top-k", type=integer(1), metavar="K", help="draw from the K most probable only"
    )
    parser.add_argument(
        "--top-p",
        type=number(above=0, most=1),
        metavar="P",
        help="draw from the fewest most probable whose probabilities sum to P",
    )
    parser.add_argument(
        "--seed", type=seed(), metavar="N", help="the same seed generates the same text"
    )
    parser.add_argument(
        "--stop",
        action="append",
        default=[],
        metavar="TEXT",
        help="end before this character, word or byte pair; may be given several times",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Streams the text to standard output."""
    from minillm.runs.opening import load

    pieces = load(args.run_folder, args.allow_nan).write(
        args.prompt, args.length, args.temperature, args.top_k, args.top_p, args.seed, args.stop
    )
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")
    return 0
