"""``minillm merge``: a run of additions, as a run with weights of its own."""

import argparse
from typing import Any

from minillm.cli.arguments import add_run_folder


def add_parser(verbs: Any) -> None:
    """Declares the verb."""
    parser = verbs.add_parser(
        "merge",
        help="make a run of LoRA's additions and their baseline",
        description="""\
Make a run whose weights are those of a baseline with the additions of a run of `train ...
--lora-rank`: it needs neither of the two any more.  Every other verb merges them in memory.""",
        epilog="""\
examples:
  minillm train classifier questions.tsv --init runs/sentences --lora-rank 8 --out runs/small
  minillm merge runs/small --out runs/whole
""",
    )
    add_run_folder(parser, "the folder of a run with --lora-rank")
    parser.add_argument("--out", required=True, metavar="DIR", help="the folder to be made")
    parser.add_argument("--overwrite", action="store_true", help="replace the run in the folder")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Merges, and says where."""
    from minillm.runs.exchange import merge

    print(merge(args.run_folder, args.out, args.overwrite, args.allow_nan))
    print(f"saved in {args.out}")
    return 0
