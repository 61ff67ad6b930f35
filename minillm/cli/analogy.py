"""Answer "a is to b as c is to what?" with word vectors.

Print the words closest to b - a + c.  With --set, measure the accuracy of the closest word on a
file of questions, section by section.

examples:
  minillm analogy runs/vectors man king woman
  minillm analogy runs/vectors --set questions-words.txt
        lines of four words; a line ": name" begins a section
"""

import argparse

from minillm.cli.arguments import ArgumentParser
from minillm.cli.options import add_option, add_run, integer
from minillm.cli.similar import print_scored
from minillm.data.word_sets import read_analogies
from minillm.errors import InputError
from minillm.metrics import analogy_accuracy
from minillm.runs.load import load


def add_arguments(parser: ArgumentParser) -> None:
    """Declare three words, or a file of questions."""
    add_run(parser, "a run of word2vec")
    parser.add_argument("words", nargs="*", metavar="WORD", help="three words: a b c")
    add_option(parser, "--set FILE", "questions with answers")
    add_option(parser, "--count N", "print N words", integer(1), 10)


def run(args: argparse.Namespace) -> int:
    """Print the words, or the accuracy of each section."""
    if len(args.words) != (0 if args.set else 3):
        raise InputError(
            f"analogy: expected three words, or --set FILE; found {len(args.words)} words"
        )
    vectors = load(args.run_folder).vectors
    if args.words:
        a, b, c = args.words
        print_scored(vectors.analogy(a, b, c, args.count))
        return 0
    results = analogy_accuracy(vectors, read_analogies(args.set))
    right, known, total = (sum(column) for column in zip(*results.values(), strict=True))
    results["all"] = right, known, total
    width = max(map(len, results))
    for name, (right, known, total) in results.items():
        percent = f"{100 * right / known:6.2f} %" if known else "       - "
        print(f"{name:{width}}{percent}  {right} of {known} ({total - known} with unknown words)")
    return 0
