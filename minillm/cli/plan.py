"""Plan the training of a GPT or a Llama: memory, and hours on 1 to 1,024 ranks."""

import argparse

from minillm.cli import studies
from minillm.cli.arguments import ArgumentParser


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the model, the budget and the machine."""
    studies.declare("plan", parser)


def run(args: argparse.Namespace) -> int:
    """Print the plan."""
    return studies.program("plan").run(args)
