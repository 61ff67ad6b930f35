"""Fine-tune a trained model to label texts."""

import argparse

from minillm.cli import train
from minillm.cli.arguments import ArgumentParser
from minillm.runs.kind import find_kind


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the settings of the kind, two of which are the run and the data."""
    train.add_kind(parser, find_kind(train.FINETUNED))


def run(args: argparse.Namespace) -> int:
    """Train as ``minillm train`` does."""
    return train.run(args)
