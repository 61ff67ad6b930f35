"""Plot the accuracy of classifiers by the number of labels.

Train classifiers with more and more of the labelled texts in DATA, measure them on texts that none
of them sees, and plot their accuracies beside those of TF-IDF with logistic regression (if
scikit-learn is installed).  One line is that of train classifier; --vectors adds one of train
recurrent-classifier, and --init one of finetune for each run; with --augment, each has a second
line.  All are trained with several seeds, each of which also draws its own texts.  Every result is
a line of DIR/results.jsonl: the same command, or one with more sizes, seeds or lines, trains only
missing results.

examples:
  minillm curve questions.tsv --test questions.test.tsv --out curves/questions
  minillm curve reviews.tsv --out curves/reviews --sizes 50,100,200,400 --seeds 3 --init runs/bert
  minillm curve questions.tsv --test questions.test.tsv --out curves/questions \\
      --vectors vectors.bin --augment synonyms,swap,deletion
"""

import argparse
from pathlib import Path

from minillm.cli.arguments import ArgumentParser
from minillm.cli.options import add_option, add_settings, given_settings, integer
from minillm.data.files import write_file
from minillm.errors import InputError
from minillm.plots import learning_curve
from minillm.runs.curve import PICTURE, CurveSettings, lines_of, measure, table

OWN = ("data", "validation", "seed", "init")  # the curve sets these itself
LABELS = "50,100,300,1000"


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the curve, and the settings of its classifiers."""
    parser.add_argument("data", metavar="DATA", help="a file of lines label<TAB>text, or a folder")
    curve = parser.add_argument_group("the curve")
    add_option(curve, "--out DIR", "the folder of the results and the plot", required=True)
    help = "test texts (default: every tenth of each label, which is not used for training)"
    add_option(curve, "--test DATA", help)
    add_option(curve, "--sizes N,N,...", "numbers of labels", default=LABELS)
    add_option(curve, "--seeds N", "trainings for each point", integer(1, 1000), 5)
    help = "fine-tune these runs, with a line for each"
    curve.add_argument("--init", nargs="+", default=[], metavar="DIR", help=help)
    add_settings(parser, CurveSettings, without=OWN, common=("vectors", "augment", "lora_rank"))


def run(args: argparse.Namespace) -> int:
    """Train missing results, print the table, and draw the plot."""
    sizes, given = sizes_of(args.sizes), given_settings(args, CurveSettings)
    given = {name: value for name, value in given.items() if name not in OWN}
    lines = lines_of(given, args.init)
    results = measure(args.out, args.data, args.test, sizes, args.seeds, lines)
    if results is None:
        print("to continue: the same command again")
        return 130
    print(f"accuracy in percent, mean and standard deviation of {args.seeds} seeds:\n")
    print(table(results))
    path = Path(args.out) / PICTURE
    try:
        write_file(path, learning_curve(results))
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
