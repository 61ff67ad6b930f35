"""``minillm train classifier``: a text classifier."""

import argparse
from dataclasses import asdict
from typing import Any

from minillm.cli.arguments import integer
from minillm.cli.runs import (
    COMMON_DEFAULTS,
    add_options,
    add_recurrence_options,
    add_vocabulary_options,
    run_training,
    settle,
)
from minillm.errors import InputError

DEFAULTS: dict[str, Any] = COMMON_DEFAULTS | {
    "learning_rate": 2e-3,
    "unit": "word",
    "minimum_count": 2,
    "vocabulary": 20000,
    "max_length": 400,
    "cell": "gru",
    "layers": 1,
    "hidden": 128,
    "embedding": 128,
    "vectors": None,
    "forward_only": None,
    "pooling": "max",
    "dropout": 0.3,
}


def add_parser(kinds: Any) -> None:
    """Declares the kind and its options."""
    parser = kinds.add_parser(
        "classifier",
        help="a text classifier: sentiment, topic, language",
        description="""\
Train a recurrent network to label texts: a file of lines label<TAB>text, or a folder that has
a folder of text files for each label. Every tenth text of each label is held out.""",
        epilog="""\
examples:
  minillm train classifier reviews.tsv --out runs/reviews
  minillm train classifier topics/ --out runs/topics --pooling attention --minutes 10
  minillm train classifier names.tsv --out runs/names --unit character --hidden 64
  minillm train classifier reviews.tsv --out runs/reviews2 --vectors vectors.bin

then: minillm classify DIR, minillm eval DIR
""",
    )

    def shown(name: str) -> str:
        return f"(default {DEFAULTS[name]})"

    parser.add_argument("data", nargs="?", metavar="DATA", help="a file of lines, or a folder")
    text = parser.add_argument_group("the texts")
    text.add_argument(
        "--validation", metavar="DATA", help="texts to measure on (default: every tenth)"
    )
    text.add_argument(
        "--unit",
        choices=("character", "word", "token"),
        help=f"what a text is cut into; tokens stand between spaces already {shown('unit')}",
    )
    add_vocabulary_options(text, DEFAULTS)
    text.add_argument(
        "--max-length",
        type=integer(1, 100_000),
        metavar="N",
        help=f"read the first N tokens of a text {shown('max_length')}",
    )
    model = parser.add_argument_group("the model")
    model.add_argument(
        "--pooling",
        choices=("last", "mean", "max", "attention"),
        help=f"from all steps to one vector {shown('pooling')}",
    )
    add_recurrence_options(model, DEFAULTS, "stacked", "width of a layer, in each direction")
    model.add_argument(
        "--vectors",
        metavar="FILE",
        help="start the embedding from word vectors in word2vec's format, text or binary, "
        "as `minillm export` writes them; its width is theirs",
    )
    model.add_argument(
        "--forward-only",
        action="store_true",
        default=None,
        help="read in one direction, not in both",
    )
    add_options(parser, DEFAULTS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Trains."""
    import numpy as np

    from minillm.data import Minibatches
    from minillm.data.registry import absolute, open_labelled
    from minillm.formats.word2vec import read_vectors
    from minillm.models.classifier import Classifier, ClassifierConfig
    from minillm.text import build_vocabulary
    from minillm.training.classifier import encode_texts, start_from_vectors
    from minillm.training.minibatches import MinibatchTask, fingerprint

    settings, config = settle(args, "classifier", DEFAULTS)
    data = dict(config["data"]) if config else {}
    for option in ("data", "validation"):
        if getattr(args, option) is not None:
            data[option] = absolute(getattr(args, option))
    if "data" not in data:
        raise InputError("DATA: expected a file or a folder (see --help), found none")
    texts = open_labelled(data["data"], data.get("validation"))
    vocabulary = build_vocabulary(
        (text for _, text in texts.texts("training")),
        settings["unit"],
        settings["minimum_count"],
        settings["vocabulary"],
        held_out=(text for _, text in texts.texts("validation")),
    )
    columns = {}
    for part in ("training", "validation"):
        columns[part] = encode_texts(
            texts.texts(part), vocabulary, texts.labels, settings["max_length"]
        )
        print(f"{len(columns[part][1]):,} {part} texts")
    digest = fingerprint(columns["training"])
    if data.setdefault("sha256", digest) != digest:
        raise InputError(f"{data['data']}: the data have changed since the run was started")
    data["labels"] = texts.labels

    rng = np.random.default_rng(settings["seed"])
    words, vectors = None, None
    if settings["vectors"] and config is None:  # a resumed run has learnt from them already
        words, vectors = read_vectors(settings["vectors"])
        if args.embedding not in (None, vectors.shape[1]):
            raise InputError(
                f"--embedding: the vectors of {settings['vectors']} have {vectors.shape[1]} "
                f"numbers each, found {args.embedding}"
            )
        settings["embedding"] = vectors.shape[1]
    sizes = ClassifierConfig(
        vocabulary=len(vocabulary),
        classes=len(texts.labels),
        embedding=settings["embedding"],
        hidden=settings["hidden"],
        layers=settings["layers"],
        cell=settings["cell"],
        bidirectional=not settings["forward_only"],
        pooling=settings["pooling"],
        dropout=settings["dropout"],
    )
    model = Classifier(sizes, rng)
    if words is not None and vectors is not None:
        found = start_from_vectors(model, vocabulary, words, vectors)
        print(f"{found:,} of {len(vocabulary):,} words have a vector in {settings['vectors']}")
    training, validation = (
        Minibatches(columns[part], settings["batch"], settings["seed"]) for part in columns
    )
    task = MinibatchTask(model, training, validation, count=lambda batch: len(batch[0]))
    config = {"kind": "classifier", "model": asdict(sizes), "training": settings, "data": data}
    files = {"vocabulary.json": vocabulary}
    summary = run_training(args, config, files, model.params, task, rng, "text")
    return 130 if summary.interrupted else 0
