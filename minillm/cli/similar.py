"""``minillm similar``: the words that are most similar to a word."""

import argparse
from typing import Any

from minillm.cli.arguments import add_run_folder
from minillm.cli.options import integer
from minillm.errors import InputError


def add_parser(verbs: Any) -> None:
    """Declares the verb."""
    parser = verbs.add_parser(
        "similar",
        help="the words that are most similar to a word",
        description="""\
Print the words whose vectors lie closest to a word's, with the cosine between them; of two
words, their cosine.  With --set, compare with human judgements of pairs of words: the rank
correlation (Spearman) of their scores with the cosines.""",
        epilog="""\
examples:
  minillm similar runs/vectors class
  minillm similar runs/vectors class function
  minillm similar runs/vectors --set wordsim353.tsv
        one pair a line: word, word and score, separated by tabs, commas or spaces
""",
    )
    add_run_folder(parser, "the folder of a run of word2vec")
    parser.add_argument("words", nargs="*", metavar="WORD", help="one word or two")
    parser.add_argument("--set", metavar="FILE", help="pairs of words with scores")
    parser.add_argument(
        "--count", type=integer(1), default=10, metavar="N", help="how many words (default 10)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the words, or the correlation."""
    from minillm.data.word_sets import read_scored_pairs
    from minillm.metrics import similarity_correlation
    from minillm.runs.run import load

    if bool(args.set) == bool(args.words) or len(args.words) > 2:
        raise InputError("similar: expected one word or two, or --set FILE")
    vectors = load(args.run_folder, args.allow_nan).vectors
    if args.set:
        pairs = read_scored_pairs(args.set)
        correlation, used = similarity_correlation(vectors, pairs)
        unknown = f"{len(pairs) - used} have an unknown word"
        print(f"spearman {correlation:.4f} on {used} of {len(pairs)} pairs ({unknown})")
        return 0
    if len(args.words) == 2:
        print(f"{vectors.similarity(*args.words):.4f}")
    else:
        show(vectors.nearest(args.words[0], args.count))
    return 0


def show(words: list[tuple[str, float]]) -> None:
    """A line for each word and its cosine."""
    for word, cosine in words:
        print(f"{cosine:7.4f}  {word}")
