"""Fine-tune a trained model to label texts."""

import argparse

from minillm.cli import train
from minillm.cli.arguments import ArgumentParser
from minillm.runs.kind import find_kind


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the settings of the kind, including the run and the data."""
    train.add_kind(parser, find_kind(train.FINETUNED))


def run(args: argparse.Namespace) -> int:
    """Train like ``minillm train``."""
    return train.run(args)
