"""Train a model.

The kinds of models are in historical order.  Each has its own options: minillm train KIND --help.
"""

import argparse
import sys

from minillm.cli.arguments import ArgumentParser
from minillm.cli.options import add_flag, add_option, add_settings, given_settings
from minillm.runs.kind import TITLES, Kind, find_kind
from minillm.runs.load import load
from minillm.runs.train import train_run

FINETUNED = "finetuned"  # the kind that only `minillm finetune` trains


def add_arguments(parser: ArgumentParser) -> None:
    """Declare a parser for each kind."""
    choices = parser.add_subparsers(title="kinds", metavar="KIND", required=True)
    for name, title in TITLES.items():
        if name == FINETUNED:
            continue

        def declare(kind_parser: ArgumentParser, name: str = name) -> None:
            add_kind(kind_parser, find_kind(name))

        choices.add_parser(name, help=title, declare=declare)


def add_kind(parser: ArgumentParser, kind: Kind) -> None:
    """Declare the arguments of a training of this kind: a folder, and its settings."""
    parser.description, parser.epilog = kind.description, f"examples:\n{kind.examples}\n"
    folder = parser.add_argument_group("the folder")
    add_option(folder, "--out DIR", "the folder of the run", required=True)
    existing = folder.add_mutually_exclusive_group()
    if kind.resumable:
        add_flag(existing, "--resume", "continue the run in DIR, which has its settings")
    add_flag(existing, "--overwrite", "replace the run in DIR")
    add_settings(parser, kind.settings)
    parser.set_defaults(kind=kind, resume=False, over_ranks=True, command=parser.prog)


def run(args: argparse.Namespace) -> int:
    """Train, and show a sample of the model's output."""
    trained = train_run(
        args.kind,
        args.out,
        given_settings(args, args.kind.settings),
        resume=args.resume,
        overwrite=args.overwrite,
        resume_command=f"{args.command} --out {args.out} --resume",
    )
    if not trained:
        return 130
    if hasattr(args.kind.run, "sample"):
        for piece in load(args.out).sample():
            sys.stdout.write(piece)
            sys.stdout.flush()
    return 0
