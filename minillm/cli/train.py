"""``minillm train KIND``: its options are the settings of the kind."""

import argparse
import sys
from typing import Any

from minillm.cli.options import add_settings, given_settings
from minillm.runs.kind import Kind
from minillm.runs.settings import types_of


def add_parser(verbs: Any) -> None:
    """Declares the verb, and a parser for each kind."""
    from minillm.runs.kind import kinds

    parser = verbs.add_parser(
        "train",
        help="train a model",
        description="""\
Train a model of one of these kinds, which stand in historical order. Each has options of its
own: minillm train KIND --help.""",
    )
    choices = parser.add_subparsers(title="kinds", metavar="KIND", required=True)
    for kind in kinds().values():
        if kind.name != "finetuned":
            _add_kind(choices, kind)


def _add_kind(choices: Any, kind: Any, verb: str | None = None) -> None:
    parser = choices.add_parser(
        verb or kind.name,
        help=kind.help + (f" ({kind.year})" if kind.year != Kind.year else ""),
        description=kind.description,
        epilog=f"examples:\n{kind.examples}\n",
    )
    folder = parser.add_argument_group("the folder")
    folder.add_argument("--out", required=True, metavar="DIR", help="the folder of the run")
    existing = folder.add_mutually_exclusive_group()
    if kind.resumable:
        existing.add_argument(
            "--resume",
            action="store_true",
            help="go on with the run in DIR, whose settings are stored there; some may change, "
            "such as the length and the learning rate. To the same number of steps or epochs, the "
            "run goes on bit for bit as if it had never stopped; to a larger one, from the same "
            "state with the learning rate of the longer run; counted in --minutes, from the same "
            "state with a learning rate that follows the clock",
        )
    existing.add_argument("--overwrite", action="store_true", help="replace the run in DIR")
    add_settings(parser, kind.settings)
    if "files" in types_of(kind.settings):
        parser.set_defaults(several_files=True)
    parser.set_defaults(run=run, kind=kind, resume=False)


def run(args: argparse.Namespace) -> int:
    """Trains, and shows a sample of what the model does."""
    from minillm.mpi import ranks
    from minillm.runs import start
    from minillm.runs.opening import load

    given = given_settings(args, args.kind.settings)
    if not start.train(args.kind, args.out, given, args.resume, args.overwrite):
        return 130
    if ranks().rank == 0:
        for piece in args.kind.sample(load(args.out)):
            sys.stdout.write(piece)
            sys.stdout.flush()
    ranks().wait()
    return 0
