"""``minillm similar``: the words that are most similar to a word, the texts to a text."""

import argparse
from typing import Any

from minillm.cli.arguments import add_run_folder
from minillm.cli.options import integer
from minillm.errors import InputError


def add_parser(verbs: Any) -> None:
    """Declares the verb."""
    parser = verbs.add_parser(
        "similar",
        help="the words that are most similar to a word, the texts to a text",
        description="""\
Print the words whose vectors lie closest to a word's, with the cosine between them; of two
words, their cosine.  With --set, compare with human judgements of pairs of words: the rank
correlation (Spearman) of their scores with the cosines.  A run of `train bert` compares texts:
two, or one with the lines of a file.""",
        epilog="""\
examples:
  minillm similar runs/vectors class
  minillm similar runs/vectors class function
  minillm similar runs/vectors --set wordsim353.tsv
        one pair a line: word, word and score, separated by tabs, commas or spaces
  minillm similar runs/bert "how a loop ends" --among sentences.txt
  minillm similar runs/bert "how a loop ends" "the break statement"
""",
    )
    add_run_folder(parser, "the folder of a run of word2vec or bert")
    parser.add_argument("words", nargs="*", metavar="WORD", help="one word or two, or texts")
    parser.add_argument("--set", metavar="FILE", help="pairs of words with scores")
    parser.add_argument(
        "--among",
        metavar="FILE",
        help="lines of text to compare one text with, - for standard input",
    )
    parser.add_argument(
        "--count",
        type=integer(1),
        default=10,
        metavar="N",
        help="how many words or lines (default 10)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the words or texts, or the correlation."""
    from minillm.data.word_sets import read_scored_pairs
    from minillm.metrics import similarity_correlation
    from minillm.runs.opening import load

    opened = load(args.run_folder, args.allow_nan)
    if hasattr(opened.kind, "embed"):
        return compare_texts(args, opened)
    if args.among:
        raise InputError(f"--among: a run of {opened.kind.name} compares words, not texts")
    if bool(args.set) == bool(args.words) or len(args.words) > 2:
        raise InputError("similar: expected one word or two, or --set FILE")
    vectors = opened.vectors
    if args.set:
        pairs = read_scored_pairs(args.set)
        correlation, used = similarity_correlation(vectors, pairs)
        unknown = f"{len(pairs) - used} have an unknown word"
        print(f"spearman {correlation:.4f} on {used} of {len(pairs)} pairs ({unknown})")
        return 0
    if len(args.words) == 2:
        print(f"{vectors.similarity(*args.words):.4f}")
    else:
        show(vectors.most_similar(args.words[0], args.count))
    return 0


def compare_texts(args: argparse.Namespace, opened: Any) -> int:
    """Prints the lines that are most similar to a text, or the cosine of two texts."""
    from minillm.data.lines import read_lines
    from minillm.metrics import cosines

    if args.set or len(args.words) != (1 if args.among else 2):
        raise InputError(
            f"similar: a run of {opened.kind.name} compares two texts, or one with --among FILE"
        )
    if not args.among:
        one, other = opened.embed(args.words)
        print(f"{cosines(one, other[None])[0]:.4f}")
        return 0
    lines = list(dict.fromkeys(line for line, _ in read_lines(args.among) if line.strip()))
    found = cosines(opened.embed(args.words)[0], opened.embed(lines))
    best = (-found).argsort(kind="stable")[: args.count]
    show([(lines[at], float(found[at])) for at in best])
    return 0


def show(words: list[tuple[str, float]]) -> None:
    """A line for each word or text and its cosine."""
    for word, cosine in words:
        print(f"{cosine:7.4f}  {word}")
