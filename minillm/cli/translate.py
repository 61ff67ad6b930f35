"""``minillm translate``: the outputs of an encoder-decoder for lines of text."""

import argparse
import sys
from typing import Any

from minillm.cli.arguments import add_run_folder
from minillm.cli.options import integer, number, seed


def add_parser(verbs: Any) -> None:
    """Declares the verb."""
    parser = verbs.add_parser(
        "translate",
        help="translate texts, line by line, with an encoder-decoder",
        description="""\
Translate standard input to standard output, line by line, with a run of `train seq2seq`.
Beam search extends the most probable hypotheses step by step; --beam 1 is the greedy choice.""",
        epilog="""\
examples:
  echo speech | minillm translate runs/cmudict
  minillm translate runs/multi30k < english.txt > french.txt
  echo attention | minillm translate runs/cmudict --n-best 3
        number of the line, score (nats per token) and output, separated by tabs, best first
  echo attention | minillm translate runs/cmudict --temperature 1 --seed 7
        drawn at random instead
""",
    )
    add_run_folder(parser, "the folder of a run of `train seq2seq`")
    add_beam_options(parser)
    parser.add_argument(
        "--n-best",
        type=integer(1, 1000),
        metavar="N",
        help="print the N best outputs of each line, with their scores",
    )
    parser.add_argument(
        "--temperature",
        type=number(least=0),
        metavar="T",
        help="sample: below 1, probable tokens are drawn more often, above 1 less often",
    )
    parser.add_argument(
        "--seed", type=seed(), metavar="N", help="the same seed draws the same outputs"
    )
    parser.set_defaults(run=run)


def add_beam_options(parser: argparse.ArgumentParser) -> None:
    """Declares the options of every verb that uses beam search."""
    parser.add_argument(
        "--beam",
        type=integer(1, 1000),
        default=5,
        metavar="K",
        help="how many hypotheses are extended at each step (default 5)",
    )
    parser.add_argument(
        "--length-exponent",
        type=number(least=0, most=10),
        default=1.0,
        metavar="A",
        help="rank outputs by log probability / length^A (default 1)",
    )


def run(args: argparse.Namespace) -> int:
    """Reads, decodes and prints, some lines at a time."""
    import numpy as np

    from minillm.cli.lines import chunks
    from minillm.errors import InputError
    from minillm.runs.opening import load

    if args.n_best and args.n_best > args.beam:
        raise InputError(f"--n-best: expected at most --beam {args.beam}, found {args.n_best}")
    if args.n_best and args.temperature is not None:
        raise InputError("--n-best: there is one output of each line with --temperature")
    opened = load(args.run_folder, args.allow_nan)
    options = {
        "beam": args.beam,
        "length_exponent": args.length_exponent,
        "temperature": args.temperature,
        "rng": np.random.default_rng(args.seed),
    }
    opened.hypotheses([], **options)  # whether this run can translate, before anything is read
    number = 0
    for texts, places in chunks():
        for found in opened.hypotheses(texts, places=places, **options):
            number += 1
            if not args.n_best:
                print(found[0].text)
            for output in found[: args.n_best or 0]:
                print(f"{number}\t{output.hypothesis.score:.4f}\t{output.text}")
        sys.stdout.flush()
    return 0
