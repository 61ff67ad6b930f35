"""``minillm curve``: accuracy by the number of labels."""

import argparse
from pathlib import Path
from typing import Any

from minillm.cli.options import add_settings, given_settings, integer
from minillm.errors import InputError

OWN = ("data", "validation", "seed", "seeds", "init")  # the curve sets these itself
LABELS = "50,100,300,1000"


def add_parser(verbs: Any) -> None:
    """Declares the verb."""
    from minillm.runs.curve import CurveSettings

    parser = verbs.add_parser(
        "curve",
        help="the learning curve of classifiers: accuracy by the number of labels",
        description="""\
Train classifiers with ever more of the labelled texts in DATA, measure each on texts that none of
them sees, and draw their accuracies beside those of TF-IDF with logistic regression (if
scikit-learn is installed). One line is that of train classifier; --vectors adds one of train
recurrent-classifier, and --init one of finetune for each run; with --augment, each has a second
line. All are trained with several seeds, each of which also draws its own texts. Every result is a
line of DIR/results.jsonl: the same command, or one with more sizes, seeds or lines, trains what is
missing.""",
        epilog="""\
examples:
  minillm curve questions.tsv --test questions.test.tsv --out curves/questions
  minillm curve reviews.tsv --out curves/reviews --sizes 50,100,200,400 --init runs/bert
  minillm curve questions.tsv --test questions.test.tsv --out curves/questions \\
      --vectors vectors.bin --augment synonyms,swap,deletion
""",
    )
    parser.add_argument("data", metavar="DATA", help="a file of lines label<TAB>text, or a folder")
    place = parser.add_argument_group("the curve")
    place.add_argument(
        "--out", required=True, metavar="DIR", help="the folder of the results and the picture"
    )
    place.add_argument(
        "--test",
        metavar="DATA",
        help="texts to measure on (default: every tenth of each label, which none is trained on)",
    )
    place.add_argument(
        "--sizes", metavar="N,N,...", default=LABELS, help=f"how many labels (default {LABELS})"
    )
    place.add_argument(
        "--seeds",
        type=integer(1, 1000),
        default=5,
        metavar="N",
        help="trainings for each point (default 5)",
    )
    place.add_argument(
        "--init",
        nargs="+",
        default=[],
        metavar="DIR",
        help="a line for each of these runs, that begins with its weights",
    )
    add_settings(parser, CurveSettings, OWN)
    parser.set_defaults(run=run, settings=CurveSettings)


def run(args: argparse.Namespace) -> int:
    """Trains what is missing, prints the table, and draws the picture."""
    from minillm.data.files import write_file
    from minillm.plots import learning_curve
    from minillm.runs.curve import PICTURE, lines_of, measure, points, table
    from minillm.runs.settings import make

    sizes = sizes_of(args.sizes)
    given = {n: v for n, v in given_settings(args, args.settings).items() if n not in OWN}
    make(args.settings, given)  # before anything is trained
    lines = lines_of(given, args.init)
    asked = (args.out, args.data, args.test, sizes, args.seeds, lines)
    if not measure(*asked):
        print("to go on: the same command again")
        return 130
    found = points(*asked)
    print(f"accuracy in percent, mean and standard deviation of {args.seeds} seeds:\n")
    print(table(found))
    path = Path(args.out) / PICTURE
    try:
        write_file(path, learning_curve(found))
    except InputError as error:
        print(f"\nlearning curve: not drawn: {error}")
    else:
        print(f"\nlearning curve: {path}")
    return 0


def sizes_of(text: str) -> list[int]:
    """The numbers of labels, in order.  InputError for anything else."""
    numbers = text.split(",")
    if not all(n.strip().isdecimal() and len(n) < 10 and int(n) > 0 for n in numbers):
        raise InputError(f"--sizes: expected whole numbers with commas between, found {text!r}")
    return sorted({int(n) for n in numbers})
