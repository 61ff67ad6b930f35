"""``minillm train image-classifier``: what digit an image shows."""

import argparse
from dataclasses import asdict
from typing import Any

from minillm.cli.arguments import integer, number
from minillm.cli.runs import COMMON_DEFAULTS, add_options, run_training, settle

DEFAULTS: dict[str, Any] = COMMON_DEFAULTS | {
    "minutes": 0.2,
    "hidden": 256,
    "dropout": 0.3,
}


def add_parser(kinds: Any) -> None:
    """Declares the kind and its options."""
    parser = kinds.add_parser(
        "image-classifier",
        help="what digit an image shows",
        description="""\
Train a feed-forward network to classify handwritten digits, 8 by 8 pixels, from scikit-learn's
bundled set.""",
        epilog="""\
examples:
  minillm train image-classifier digits --out runs/digits
  minillm eval runs/digits --part test
""",
    )
    parser.add_argument(
        "data", nargs="?", choices=("digits",), default="digits", help="the set: digits"
    )
    model = parser.add_argument_group("the model")
    model.add_argument(
        "--hidden",
        type=integer(1, 65536),
        metavar="H",
        help=f"width of the hidden layer (default {DEFAULTS['hidden']})",
    )
    model.add_argument(
        "--dropout",
        type=number(least=0, below=1),
        metavar="RATE",
        help=f"share of activations zeroed in training (default {DEFAULTS['dropout']})",
    )
    add_options(parser, DEFAULTS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Trains."""
    import numpy as np

    from minillm.data import Minibatches
    from minillm.data.registry import open_images
    from minillm.models.image_classifier import ImageClassifier, ImageClassifierConfig
    from minillm.training.minibatches import MinibatchTask

    settings, _ = settle(args, "image-classifier", DEFAULTS)
    digits = open_images(args.data)
    training, validation = (
        Minibatches(digits.part(part), settings["batch"], settings["seed"])
        for part in ("training", "validation")
    )
    rng = np.random.default_rng(settings["seed"])
    points = digits.images.shape[1]
    sizes = ImageClassifierConfig(
        points, len(digits.labels), settings["hidden"], settings["dropout"]
    )
    model = ImageClassifier(sizes, rng)
    task = MinibatchTask(model, training, validation, count=lambda batch: len(batch[0]))
    data = {"name": args.data, "labels": digits.labels}
    config = {
        "kind": "image-classifier",
        "model": asdict(sizes),
        "training": settings,
        "data": data,
    }
    summary = run_training(args, config, {}, model.params, task, rng, "image")
    return 130 if summary.interrupted else 0
