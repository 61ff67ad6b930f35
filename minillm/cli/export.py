"""``minillm export``: a model in the format that other programs read."""

import argparse
from typing import Any

from minillm.cli.arguments import add_run_folder


def add_parser(verbs: Any) -> None:
    """Declares the verb."""
    parser = verbs.add_parser(
        "export",
        help="write an n-gram model as ARPA, or word vectors in word2vec's format",
        description="""\
Write an n-gram model as an ARPA file, which SRILM and KenLM read, or word vectors in the
formats of word2vec, which gensim reads.""",
        epilog="""\
examples:
  minillm export runs/words model.arpa
  minillm export runs/words model.arpa.gz
  minillm export runs/vectors vectors.txt
  minillm export runs/vectors vectors.bin --binary
""",
    )
    add_run_folder(parser, "a folder of ngram or word2vec")
    parser.add_argument("file", metavar="FILE", help="the file to be written")
    parser.add_argument(
        "--binary", action="store_true", help="word vectors in the binary format, not as text"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Writes the file, and prints its name unless it is a stream, which a line would end up in."""
    from minillm.data.files import is_stream
    from minillm.runs.run import load

    load(args.run_folder, args.allow_nan).export(args.file, binary=args.binary)
    if not is_stream(args.file):
        print(args.file)
    return 0
