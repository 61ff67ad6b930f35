"""``minillm export``: a model in the format that other programs read."""

import argparse
from typing import Any


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
    parser.add_argument("run_folder", metavar="DIR", help="a folder of ngram or word2vec")
    parser.add_argument("file", metavar="FILE", help="the file to be written")
    parser.add_argument(
        "--binary", action="store_true", help="word vectors in the binary format, not as text"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Writes the file."""
    from minillm.cli.runs import load_config
    from minillm.errors import InputError
    from minillm.formats.arpa import write_arpa
    from minillm.formats.word2vec import write_vectors
    from minillm.training import RunFolder
    from minillm.training.ngram import load_ngram
    from minillm.training.word2vec import load_word2vec

    folder = RunFolder(args.run_folder)
    if load_config(folder, "ngram", "word2vec")["kind"] == "ngram":
        if args.binary:
            raise InputError("--binary: an ARPA file is text")
        model, vocabulary = load_ngram(folder)
        write_arpa(args.file, vocabulary, model.params)
    else:
        trained = load_word2vec(folder)
        write_vectors(args.file, trained.words, trained.model.params["vectors"], args.binary)
    print(args.file)
    return 0
