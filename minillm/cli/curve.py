"""Draw how the accuracy of classifiers grows with the number of labels.

Train classifiers with ever more of the labelled texts in DATA, measure each on texts that none of
them sees, and draw their accuracies beside those of TF-IDF with logistic regression (if
scikit-learn is installed).  One line begins from scratch, others with --vectors or the weights of
--init; with --augment, each has a second line.  All are trained with several seeds, each of
which also draws its own texts.  Every result is a line of DIR/results.jsonl: the same command, or
one with more sizes, seeds or lines, trains what is missing.

examples:
  minillm curve questions.tsv --test questions.test.tsv --out curves/questions
  minillm curve reviews.tsv --out curves/reviews --sizes 50,100,200,400 --seeds 3 --pooling mean
  minillm curve questions.tsv --test questions.test.tsv --out curves/questions \\
      --vectors vectors.bin --augment synonyms,swap,deletion
"""

import argparse
from pathlib import Path
from typing import Any

from minillm.cli.arguments import ArgumentParser
from minillm.cli.options import add_option, add_settings, given_settings, integer
from minillm.data.files import write_file
from minillm.errors import InputError
from minillm.plots import learning_curve
from minillm.runs.augmentation import joined, parse
from minillm.runs.curve import PICTURE, measure, points, table
from minillm.runs.initial import ONLY_WITH_INIT
from minillm.runs.kind import find_kind
from minillm.runs.kinds.classifier import SIZES
from minillm.runs.settings import make

OWN = ("data", "validation", "seed", "seeds", "folds", "init")  # the curve sets these itself
TWIN = ("augment", "augment_share", "copies", "mixup")  # settings of each second line
LABELS = "50,100,300,1000"
TOKENS = ("tokenizer", "unit", "minimum_count", "vocabulary")  # those of --init come along


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the curve, and the settings of its classifiers."""
    parser.add_argument("data", metavar="DATA", help="a file of lines label<TAB>text, or a folder")
    place = parser.add_argument_group("the curve")
    add_option(place, "--out DIR", "the folder of the results and the picture", required=True)
    help = "texts to measure on (default: every tenth of each label, which none is trained on)"
    add_option(place, "--test DATA", help)
    add_option(place, "--sizes N,N,...", "how many labels", default=LABELS)
    add_option(place, "--seeds N", "trainings for each point", integer(1, 1000), 5)
    help = "a line for each of these runs, which begins with its weights"
    place.add_argument("--init", nargs="+", default=[], metavar="DIR", help=help)
    settings = find_kind("classifier").settings
    add_settings(parser, settings, without=OWN, common=("vectors", "augment", "augment_share"))
    parser.set_defaults(settings=settings)


def run(args: argparse.Namespace) -> int:
    """Train what is missing, print the table, and draw the picture."""
    sizes = sizes_of(args.sizes)
    given = {n: v for n, v in given_settings(args, args.settings).items() if n not in OWN}
    make(args.settings, given)  # before anything is trained
    lines = lines_of(given, args.init)
    asked = (args.out, args.data, args.test, sizes, args.seeds, lines)
    if not measure(*asked):
        print("to go on: the same command again")
        return 130
    results = points(*asked)
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


def lines_of(given: dict[str, Any], runs: list[str]) -> dict[str, dict[str, Any]]:
    """The lines of the curve by name, and the settings of each.

    Sizes and tokenizers are for models from scratch, what goes with --init for the others.
    """

    def without(*names: str) -> dict[str, Any]:
        return {n: v for n, v in given.items() if n not in (*names, *TWIN)}

    scratch = without("vectors", *ONLY_WITH_INIT)
    if "tokenizer" in scratch:
        scratch["tokenizer"] = str(Path(scratch["tokenizer"]).resolve())
    vectors = given.get("vectors")
    lines = {"from scratch": scratch}
    if vectors:
        lines["word vectors"] = scratch | {"vectors": str(Path(vectors).resolve())}
    for path in runs:
        name = f"from {Path(path).resolve().name}"
        if name in lines:
            raise InputError(f"--init: expected folders of different names, found {name[5:]} again")
        lines[name] = without(*SIZES, *TOKENS) | {"init": str(Path(path).resolve())}
    twin = {n: v for n, v in given.items() if n in TWIN}
    if not twin.get("augment") and not twin.get("mixup"):
        return lines
    if "augment" in twin:
        twin["augment"] = joined(parse(twin["augment"], vectors))
    both: dict[str, dict[str, Any]] = {}
    for name, settings in lines.items():
        changes = {n: v for n, v in twin.items() if n != "mixup" or "init" not in settings}
        both[name] = settings
        if changes.get("augment") or changes.get("mixup"):
            both[f"{name}, augmented"] = settings | changes
    return both
