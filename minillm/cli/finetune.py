"""``minillm finetune RUN DATA``: a classifier of texts that begins with another model."""

import argparse
from typing import Any

from minillm.cli import train


def add_parser(verbs: Any) -> None:
    """Declares the verb."""
    from minillm.runs.kind import find_kind

    train._add_kind(verbs, find_kind("finetuned"), "finetune")


def run(args: argparse.Namespace) -> int:
    """Train as ``minillm train`` does."""
    return train.run(args)
