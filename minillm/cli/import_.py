"""``minillm import``: a model that another program wrote."""

import argparse
from typing import Any


def add_parser(verbs: Any) -> None:
    """Declares the verb."""
    parser = verbs.add_parser(
        "import",
        help="read an ARPA file, or word vectors in word2vec's format",
        description="""\
Make a folder of an ARPA file (gzip too) or of word vectors in one of word2vec's formats, for
generate, eval, similar, analogy, plot and export.""",
        epilog="""\
examples:
  minillm import model.arpa.gz --out runs/words
  minillm import vectors.bin --out runs/vectors
""",
    )
    parser.add_argument("file", metavar="FILE", help="the file to be read")
    parser.add_argument("--out", required=True, metavar="DIR", help="the folder to be made")
    parser.add_argument("--overwrite", action="store_true", help="replace the run in DIR")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Reads the file, then writes the folder."""
    from minillm.runs.start import import_file

    print(import_file(args.file, args.out, args.overwrite))
    print(f"saved in {args.out}")
    return 0
