"""Find the words most similar to a word, or the texts most similar to a text.

With word vectors: print the words closest to a word, with their cosines, or the cosine of two
words.  With --set, print the rank correlation (Spearman) of the cosines and human judgements of
pairs of words.  With a run of bert or encoder: print the cosine of two texts, or the lines of a
file that are closest to one text.

examples:
  minillm similar runs/vectors class
  minillm similar runs/vectors class function
  minillm similar runs/vectors --set wordsim353.tsv
        one pair per line: word, word and score, separated by tabs, commas or spaces
  minillm similar runs/bert "how a loop ends" --among sentences.txt
  minillm similar runs/bert "how a loop ends" "the break statement"
"""

import argparse

from minillm.cli.arguments import ArgumentParser
from minillm.cli.options import add_option, add_run, integer
from minillm.data.lines import read_lines
from minillm.data.word_sets import read_scored_pairs
from minillm.errors import InputError
from minillm.metrics import cosines, similarity_correlation
from minillm.runs.load import load
from minillm.runs.run import Run


def add_arguments(parser: ArgumentParser) -> None:
    """Declare what to compare."""
    add_run(parser, "a run of word2vec, bert or encoder")
    parser.add_argument("words", nargs="*", metavar="WORD", help="one word or two, or texts")
    add_option(parser, "--set FILE", "pairs of words with scores")
    add_option(parser, "--among FILE", "lines to compare one text with, - for standard input")
    add_option(parser, "--count N", "print N words or lines", integer(1), 10)


def run(args: argparse.Namespace) -> int:
    """Print the words or texts, or the correlation."""
    run = load(args.run_folder)
    if run.has("embed"):
        return _compare_texts(args, run)
    if args.among:
        raise InputError(f"a run of {run.kind.name} compares words, not texts", "among")
    if bool(args.set) == bool(args.words) or len(args.words) > 2:
        raise InputError(
            f"similar: expected one word or two, or --set FILE; found {len(args.words)} words"
        )
    if args.set:
        pairs = read_scored_pairs(args.set)
        correlation, used = similarity_correlation(run.vectors, pairs)
        unknown = f"{len(pairs) - used} have an unknown word"
        print(f"spearman {correlation:.4f} on {used} of {len(pairs)} pairs ({unknown})")
    elif len(args.words) == 2:
        print(f"{run.vectors.similarity(*args.words):.4f}")
    else:
        print_scored(run.vectors.most_similar(args.words[0], topn=args.count))
    return 0


def _compare_texts(args: argparse.Namespace, run: Run) -> int:
    """Print the lines that are most similar to a text, or the cosine of two texts."""
    if args.set or len(args.words) != (1 if args.among else 2):
        raise InputError(
            f"similar: a run of {run.kind.name} compares two texts, or one with --among FILE"
        )
    if not args.among:
        one, other = run.embed(args.words)
        print(f"{cosines(one, other[None])[0]:.4f}")
        return 0
    lines = list(dict.fromkeys(line for line, _ in read_lines(args.among) if line.strip()))
    similarities = cosines(run.embed(args.words)[0], run.embed(lines))
    best = (-similarities).argsort(kind="stable")[: args.count]
    print_scored([(lines[at], float(similarities[at])) for at in best])
    return 0


def print_scored(words: list[tuple[str, float]]) -> None:
    """Print a line for each word or text, with its score before it."""
    for word, score in words:
        print(f"{score:7.4f}  {word}")
