"""Merge LoRA's updates into the weights that they update.

Make a run with the weights of a base model plus the updates of a run of finetune --lora-rank.  It
needs neither of these two runs.  Every other verb merges the updates in memory.

If the base model is quantised, such as a published GGUF file, the new weights are q8_0, 8.5 bits
each.  Rounding to 4 bits would lose most of the progress of a short training.  For another type,
such as f16, use minillm quantise instead of merge.

examples:
  minillm finetune runs/sentences questions.tsv --lora-rank 8 --out runs/small
  minillm merge runs/small --out runs/whole
  minillm quantise runs/my-chat --to f16 --out runs/whole
        the same in 16 bits for each weight
"""

import argparse

from minillm.cli.arguments import ArgumentParser
from minillm.cli.options import add_out, add_run
from minillm.runs.conversion import merge


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the two folders."""
    add_run(parser, "a run with --lora-rank")
    add_out(parser)


def run(args: argparse.Namespace) -> int:
    """Merge, and report where."""
    print(merge(args.run_folder, args.out, args.overwrite))
    print(f"saved in {args.out}")
    return 0
