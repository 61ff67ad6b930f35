"""``minillm analogy``: a is to b as c is to what?"""

import argparse
from typing import Any

from minillm.cli.arguments import add_run_folder
from minillm.cli.options import integer
from minillm.cli.similar import show
from minillm.errors import InputError


def add_parser(verbs: Any) -> None:
    """Declares the verb."""
    parser = verbs.add_parser(
        "analogy",
        help="a is to b as c is to what?",
        description="""\
Print the words closest to b - a + c.  With --set, count how often the closest is the right
one, over a file of questions, section by section.""",
        epilog="""\
examples:
  minillm analogy runs/vectors man king woman
  minillm analogy runs/vectors --set questions-words.txt
        lines of four words; a line ": name" begins a section
""",
    )
    add_run_folder(parser, "the folder of a run of word2vec")
    parser.add_argument("words", nargs="*", metavar="WORD", help="three words: a b c")
    parser.add_argument("--set", metavar="FILE", help="questions with answers")
    parser.add_argument(
        "--count", type=integer(1), default=10, metavar="N", help="how many words (default 10)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the words, or the accuracy of each section."""
    from minillm.data.word_sets import read_analogies
    from minillm.metrics import analogy_accuracy
    from minillm.runs.opening import load

    if len(args.words) != (0 if args.set else 3):
        raise InputError("analogy: expected three words, or --set FILE")
    vectors = load(args.run_folder, args.allow_nan).vectors
    if args.words:
        a, b, c = args.words
        show(vectors.analogy(a, b, c, args.count))
        return 0
    results = analogy_accuracy(vectors, read_analogies(args.set))
    right, asked, total = (sum(column) for column in zip(*results.values(), strict=True))
    results["all"] = right, asked, total
    width = max(map(len, results))
    for name, (right, asked, total) in results.items():
        percent = f"{100 * right / asked:6.2f} %" if asked else "       - "
        print(f"{name:{width}}{percent}  {right} of {asked} ({total - asked} with unknown words)")
    return 0
