"""Fine-tune a trained model to label texts, or to answer."""

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from minillm.cli import train
from minillm.cli.arguments import ArgumentParser
from minillm.data.conversations import form_of
from minillm.data.files import read_json
from minillm.errors import InputError
from minillm.quantised.gguf import is_gguf
from minillm.runs.kind import find_kind

KINDS = ("finetuned", "chat", "preferences")


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the settings of the kind, including the run and the data."""
    train.add_kind(parser, find_kind(_kind_for(parser.words)))


def run(args: argparse.Namespace) -> int:
    """Train like ``minillm train``."""
    return train.run(args)


def _kind_for(words: Sequence[str]) -> str:
    """The kind to train: of the run to resume; or it depends on the data, or else on the run."""
    outs = {after for before, after in pairwise(words) if before == "--out"}
    models = [word for word in words if word not in outs and is_gguf(word)]
    others = [word for word in words if word not in (*outs, *models)]
    files = [word for word in others if Path(word).is_file()]
    answers = models or any(Path(word, "chat.json").is_file() for word in words)
    try:
        for path in [Path(out, "config.json") for out in outs if "--resume" in words]:
            if path.is_file() and (kind := read_json(path).get("kind")) in KINDS:
                return kind
        if files:
            kinds = {"conversation": "chat", "preference": "preferences"}
            return kinds.get(form_of(files[0]), "finetuned")
    except InputError:  # the command that reads the file will say it
        return "chat"
    data = [word for word in others if Path(word).is_dir()][0 if models else 1 :]
    return "chat" if answers and not data else "finetuned"
