"""Train the history of language models on one text, each for the same time."""

import argparse

from minillm.cli import studies
from minillm.cli.arguments import ArgumentParser


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the text, the length of the trainings, and the folder."""
    studies.declare("milestones", parser)


def run(args: argparse.Namespace) -> int:
    """Train what is missing, print the table, and draw the losses."""
    return studies.program("milestones").run(args)
