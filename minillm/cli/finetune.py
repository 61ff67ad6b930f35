"""Fine-tune a trained model to label texts, or to answer."""

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from minillm.cli import train
from minillm.cli.arguments import ArgumentParser
from minillm.data.files import read_json
from minillm.errors import InputError
from minillm.runs.kind import find_kind


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the settings of the kind, including the run and the data."""
    train.add_kind(parser, find_kind(_kind_for(parser.words)))


def run(args: argparse.Namespace) -> int:
    """Train like ``minillm train``."""
    return train.run(args)


def _kind_for(words: Sequence[str]) -> str:
    """The kind to train, which depends on the run to begin with, or on the run to resume."""
    outs = {after for before, after in pairwise(words) if before == "--out"}
    for word in sorted(words, key=outs.__contains__):
        try:
            if read_json(Path(word, "config.json")).get("kind") in ("llama", "chat"):
                return "chat"
        except (InputError, OSError, ValueError):
            continue
    return "finetuned"
