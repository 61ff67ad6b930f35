"""Store the weights of a Llama in fewer bits.

Make a run whose matrices are blocks of small integers with scales, as llama.cpp has them.  Such a
model takes less memory, and writes faster.  It cannot be trained.  With --to f32 the weights are
floats again.

  q8_0         8.5 bits for each weight
  q6_k         6.6 bits
  q5_0, q5_k   5.5 bits
  q4_1         5 bits
  q4_0, q4_k   4.5 bits

A matrix whose rows are not a multiple of 256 weights has q5_0 in place of q4_k, and q8_0 in place
of q5_k and q6_k.  Files of other programs may have further types, which are read: q5_1, q3_k, q2_k,
iq4_nl and iq4_xs.

examples:
  minillm quantise runs/llama --to q8_0 --out runs/small
  minillm quantise runs/smol --to f32 --out runs/floats
        an imported model, to fine-tune it
"""

import argparse

from minillm.cli.arguments import ArgumentParser
from minillm.cli.options import add_option, add_out
from minillm.quantised.blocks import WRITTEN
from minillm.runs.conversion import quantise


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the run, the type and the new run."""
    parser.add_argument("run_folder", metavar="DIR", help="the folder of a run of llama")
    names = [name.lower() for name in WRITTEN]
    add_option(parser, "--to TYPE", "the type of the weights", choices=names, required=True)
    add_out(parser)


def run(args: argparse.Namespace) -> int:
    """Quantise, and report where."""
    print(quantise(args.run_folder, args.to.upper(), args.out, args.overwrite))
    print(f"saved in {args.out}")
    return 0
