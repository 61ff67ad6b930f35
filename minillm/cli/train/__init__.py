"""``minillm train KIND``: a module for each kind of model; ``cli/runs.py`` is what they share."""

from typing import Any

from minillm.cli.train import (
    captioner,
    classifier,
    image_classifier,
    lm,
    ngram,
    seq2seq,
    word2vec,
)


def add_parser(verbs: Any) -> None:
    """Declares the verb and its kinds."""
    parser = verbs.add_parser(
        "train",
        help="train a model",
        description="Train a model. Each kind has options of its own: minillm train KIND --help.",
    )
    kinds = parser.add_subparsers(title="kinds", metavar="KIND", required=True)
    sequences = (seq2seq, classifier, captioner, image_classifier)
    for kind in (ngram, word2vec, lm, *sequences):
        kind.add_parser(kinds)
