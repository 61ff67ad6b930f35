"""``minillm embed``: a vector for each line of text."""

import argparse
import io
import sys
from typing import Any

from minillm.cli.arguments import add_run_folder
from minillm.errors import InputError


def add_parser(verbs: Any) -> None:
    """Declares the verb."""
    parser = verbs.add_parser(
        "embed",
        help="vectors of texts, line by line",
        description="""\
Write a vector for each line of FILEs or of standard input, with a run of bert: one array (lines,
width) in NumPy's format.  Lines of similar length are read together.  Of a line longer than the
model's context, the beginning is read.  A sentence encoder that was imported pools the vectors of
its tokens as its files say.""",
        epilog="""\
examples:
  minillm embed runs/bert < lines.txt > vectors.npy
  minillm embed runs/bert lines.txt --to vectors.npy --pooling first
        then, in Python: numpy.load("vectors.npy")
""",
    )
    add_run_folder(parser, "the folder of a run of `train bert`")
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="lines of UTF-8 text (default: standard input)"
    )
    parser.add_argument(
        "--to", metavar="FILE", help="the .npy file to write (default: standard output)"
    )
    parser.add_argument(
        "--pooling",
        choices=("mean", "first", "max"),
        help="the mean of all tokens' vectors, the first token's, or the largest of each feature "
        "(default: as a sentence encoder's files say, else the mean)",
    )
    parser.set_defaults(run=run, several_files=True)


def run(args: argparse.Namespace) -> int:
    """Reads and embeds, some lines at a time, and writes all vectors at the end."""
    import numpy as np

    from minillm.cli.lines import chunks
    from minillm.data.files import write_file
    from minillm.runs.opening import load

    if args.to is None and sys.stdout.isatty():
        raise InputError("--to: expected the name of a file: a terminal cannot show vectors")
    opened = load(args.run_folder, args.allow_nan)
    found = [opened.embed([], args.pooling)]  # whether it can, before anything is read
    for texts, _ in chunks(getattr(args, "files", None) or ["-"]):
        found.append(opened.embed(texts, args.pooling))
    buffer = io.BytesIO()
    np.save(buffer, np.concatenate(found))
    if args.to is None:
        sys.stdout.buffer.write(buffer.getvalue())
    else:
        write_file(args.to, buffer.getvalue())
    return 0
