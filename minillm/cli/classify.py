"""``minillm classify``: the label of each line."""

import argparse
import sys
from typing import Any

from minillm.errors import InputError


def add_parser(verbs: Any) -> None:
    """Declares the verb."""
    parser = verbs.add_parser(
        "classify",
        help="label texts, line by line",
        description="""\
Label standard input, line by line, with a run of `train classifier`: label, probability and
the text, tab between them. With a run of `train image-classifier`, a line is an image: its
points, 0 to 1, with spaces between them.""",
        epilog="""\
examples:
  echo "a fine film" | minillm classify runs/reviews
  minillm classify runs/reviews --all < texts.txt
""",
    )
    parser.add_argument("run_folder", metavar="DIR", help="the folder of a run")
    parser.add_argument(
        "--all", action="store_true", help="print every label's probability, likeliest first"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Reads, classifies and prints, some lines at a time."""
    from minillm.cli.runs import load_config
    from minillm.cli.translate import chunks
    from minillm.data.lines import read_lines
    from minillm.training import RunFolder

    config = load_config(RunFolder(args.run_folder), "classifier", "image-classifier")
    labels = config["data"]["labels"]
    classify = _texts if config["kind"] == "classifier" else _images
    probabilities_of = classify(args.run_folder, config)
    for chunk in chunks(read_lines("-"), 1 if sys.stdin.isatty() else 1024):
        for (line, _), p in zip(chunk, probabilities_of(chunk), strict=True):
            ranked = sorted(zip(p, labels, strict=True), key=lambda entry: -entry[0])
            if args.all:
                print("\t".join(f"{label} {share:.4f}" for share, label in ranked))
            else:
                print(f"{ranked[0][1]}\t{ranked[0][0]:.4f}\t{line}")
        sys.stdout.flush()
    return 0


def _texts(run_folder: str, config: dict[str, Any]) -> Any:
    from minillm.data import Sequences
    from minillm.training import RunFolder
    from minillm.training.classifier import class_probabilities, load_classifier

    model, vocabulary = load_classifier(RunFolder(run_folder))
    longest = config["training"]["max_length"]

    def probabilities_of(chunk: list[tuple[str, str]]) -> Any:
        ids = Sequences()
        for line, place in chunk:
            encoded = vocabulary.encode(line, place)[:longest]
            if len(encoded) == 0:
                raise InputError(f"{place}: expected a text, found an empty line")
            ids.append(encoded)
        return class_probabilities(model, ids)

    return probabilities_of


def _images(run_folder: str, config: dict[str, Any]) -> Any:
    import numpy as np

    from minillm import ops
    from minillm.training import RunFolder
    from minillm.training.images import load_image_classifier

    model = load_image_classifier(RunFolder(run_folder))
    points = model.config.pixels

    def probabilities_of(chunk: list[tuple[str, str]]) -> Any:
        images = np.empty((len(chunk), points), np.float32)
        for row, (line, place) in enumerate(chunk):
            images[row] = read_image(line, place, points)
        return ops.softmax(model.forward(images)[0])[0]

    return probabilities_of


def read_image(line: str, place: str, points: int) -> list[float]:
    """The points of an image that is a line of numbers.  InputError, with its place, if not."""
    try:
        image = [float(number) for number in line.split()]
    except ValueError:
        image = []
    if len(image) != points or not all(0 <= point <= 1 for point in image):
        raise InputError(f"{place}: expected an image: {points} numbers from 0 to 1")
    return image
