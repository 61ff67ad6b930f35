"""Plot the accuracy of classifiers by the number of labels."""

import argparse

from minillm.cli import studies
from minillm.cli.arguments import ArgumentParser


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the curve, and the settings of its classifiers."""
    studies.declare("curve", parser)


def run(args: argparse.Namespace) -> int:
    """Train missing results, print the table, and draw the plot."""
    return studies.program("curve").run(args)
