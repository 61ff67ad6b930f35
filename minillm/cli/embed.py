"""Write a vector for each line of text.

The lines of FILEs, or of standard input, become one array (lines, width) in NumPy's format.
A line longer than the model's context is cut.  An imported sentence encoder pools the vectors of
the tokens with the setting in its files.

examples:
  minillm embed runs/bert < lines.txt > vectors.npy
  minillm embed runs/bert lines.txt --to vectors.npy --pooling first
        then, in Python: numpy.load("vectors.npy")
"""

import argparse
import io
import sys

import numpy as np

from minillm.cli.arguments import ArgumentParser
from minillm.cli.lines import chunks
from minillm.cli.options import add_files, add_option, add_run
from minillm.data.files import write_file
from minillm.errors import InputError
from minillm.runs.load import load


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the lines, the output and the pooling."""
    add_run(parser, "a run of bert or encoder")
    add_files(parser, "lines of UTF-8 text (default: standard input)")
    add_option(parser, "--to FILE", "write a .npy file (default: standard output)")
    parser.add_argument(
        "--pooling",
        choices=("mean", "first", "max"),
        help="the mean of all tokens' vectors, the first token's, or the largest of each feature "
        "(default: the setting of a sentence encoder, otherwise the mean)",
    )


def run(args: argparse.Namespace) -> int:
    """Read and embed, some lines at a time, and write all vectors at the end."""
    if args.to is None and sys.stdout.isatty():
        raise InputError("expected the name of a file: a terminal cannot show vectors", "to")
    run = load(args.run_folder)
    vectors = [run.embed([], args.pooling)]  # an error of the run comes before reading
    vectors += [run.embed(texts, args.pooling) for texts, _ in chunks(args.files)]
    buffer = io.BytesIO()
    np.save(buffer, np.concatenate(vectors))
    if args.to is None:
        sys.stdout.buffer.write(buffer.getvalue())
    else:
        write_file(args.to, buffer.getvalue())
    return 0
