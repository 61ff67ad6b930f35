"""``minillm train captioner``: what an image shows, in words."""

import argparse
from dataclasses import asdict
from typing import Any

from minillm.cli.arguments import integer, number
from minillm.cli.runs import COMMON_DEFAULTS, add_options, run_training, settle

DEFAULTS: dict[str, Any] = COMMON_DEFAULTS | {
    "minutes": 0.3,
    "cell": "gru",
    "hidden": 128,
    "embedding": 32,
    "dropout": 0.5,
}


def add_parser(kinds: Any) -> None:
    """Declares the kind and its options."""
    parser = kinds.add_parser(
        "captioner",
        help="what an image shows, in words",
        description="""\
Train a captioner: it looks at a handwritten digit of 8 by 8 pixels and writes, character by
character, what it shows, as "a seven, which is odd". The digits are scikit-learn's bundled
set.""",
        epilog="""\
examples:
  minillm train captioner digits --out runs/captions
  minillm eval runs/captions --part test
""",
    )

    def shown(name: str) -> str:
        return f"(default {DEFAULTS[name]})"

    parser.add_argument(
        "data", nargs="?", choices=("digits",), default="digits", help="the set: digits"
    )
    model = parser.add_argument_group("the model")
    model.add_argument(
        "--cell", choices=("rnn", "lstm", "gru"), help=f"the recurrence {shown('cell')}"
    )
    model.add_argument(
        "--hidden",
        type=integer(1, 65536),
        metavar="H",
        help=f"width of the recurrence {shown('hidden')}",
    )
    model.add_argument(
        "--embedding",
        type=integer(1, 65536),
        metavar="D",
        help=f"width of the characters' embedding {shown('embedding')}",
    )
    model.add_argument(
        "--dropout",
        type=number(least=0, below=1),
        metavar="RATE",
        help=f"share of the image's features zeroed in training {shown('dropout')}",
    )
    add_options(parser, DEFAULTS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Trains, and captions some held-out images."""
    import numpy as np

    from minillm.data import Minibatches, Sequences
    from minillm.data.registry import open_images
    from minillm.decoding import beam_search
    from minillm.models.captioner import Captioner, CaptionerConfig
    from minillm.text import Characters
    from minillm.training import RunFolder
    from minillm.training.images import load_captioner
    from minillm.training.minibatches import MinibatchTask

    settings, _ = settle(args, "captioner", DEFAULTS)
    digits = open_images(args.data)
    captions = digits.captions
    vocabulary = Characters.from_text("".join(captions))
    border = len(vocabulary)
    batches = []
    for part in ("training", "validation"):
        images, classes = digits.part(part)
        written = Sequences([*vocabulary.encode(captions[c]), border] for c in classes)
        batches.append(Minibatches((images, written), settings["batch"], settings["seed"]))

    rng = np.random.default_rng(settings["seed"])
    sizes = CaptionerConfig(
        points=digits.images.shape[1],
        vocabulary=len(vocabulary),
        embedding=settings["embedding"],
        hidden=settings["hidden"],
        cell=settings["cell"],
        dropout=settings["dropout"],
    )
    model = Captioner(sizes, rng)
    training, validation = batches
    task = MinibatchTask(model, training, validation, count=lambda batch: int(batch[2].sum()))
    data = {"name": args.data, "longest": max(map(len, captions)) + 1}
    config = {"kind": "captioner", "model": asdict(sizes), "training": settings, "data": data}
    files = {"vocabulary.json": vocabulary}
    summary = run_training(args, config, files, model.params, task, rng, "character")
    if summary.interrupted:
        return 130
    best, _ = load_captioner(RunFolder(args.out))
    images, classes = (column[:5] for column in digits.part("validation"))
    print("held-out examples:")
    found = beam_search(best, images, np.ones(5, np.int64), beam=1, limit=data["longest"])
    for hypotheses, digit in zip(found, classes, strict=True):
        print(f"  {digit}: {vocabulary.decode(hypotheses[0].ids)}")
    return 0
