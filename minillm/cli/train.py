"""Train a model, and fine-tune one."""

import sys
from collections.abc import Sequence
from dataclasses import MISSING
from itertools import pairwise
from pathlib import Path

from minillm.cli.arguments import ArgumentParser, Given, declare, given
from minillm.data.conversations import form_of
from minillm.data.files import read_json
from minillm.errors import InputError
from minillm.option import option
from minillm.quantised.gguf import is_gguf
from minillm.runs.kind import TITLES, find_kind
from minillm.runs.load import load
from minillm.runs.train import train_run

FINE_TUNING = ("finetuned", "chat", "preferences")  # the kinds of finetune; it alone has the first


def train(parser: ArgumentParser) -> None:
    """Train a model.

    The kinds of models are in historical order.  Each has its own options: minillm train KIND
    --help.
    """
    titles = {name: title for name, title in TITLES.items() if name != FINE_TUNING[0]}
    parser.add_words("kinds", "KIND", titles, _declare_kind, required=True)


def finetune(parser: ArgumentParser) -> None:
    """Fine-tune a trained model to label texts, or to answer."""
    _declare_kind(_kind_for(parser.words), parser)


def _declare_kind(name: str, parser: ArgumentParser) -> None:
    """Declare a training of this kind: a folder, and its settings."""
    kind = find_kind(name)

    def train_kind(
        out: str = option(MISSING, "the folder of the run", "DIR", group="the folder"),
        resume: bool = option(
            False, "continue the run in DIR, which has its settings", group="the folder"
        ),
        overwrite: bool = option(False, "replace the run in DIR", group="the folder"),
        chosen: Given = given(kind.settings, group="the model"),
    ) -> int:
        if resume and overwrite:
            raise InputError("expected resume or overwrite, found both")
        again = f"{parser.prog} --out {out} --resume"
        if not train_run(
            kind, out, chosen, resume=resume, overwrite=overwrite, resume_command=again
        ):
            return 130
        if hasattr(kind.run, "sample"):
            for piece in load(out).sample():
                sys.stdout.write(piece)
                sys.stdout.flush()
        return 0

    declare(parser, train_kind, without=() if kind.resumable else ("resume",))
    parser.set_page(f"{kind.description}\n\nexamples:\n{kind.examples}\n")
    parser.set_defaults(over_ranks=True)


def _kind_for(words: Sequence[str]) -> str:
    """The kind to train: of the run to resume; or it depends on the data, or else on the run."""
    outs = {after for before, after in pairwise(words) if before == "--out"}
    models = [word for word in words if word not in outs and is_gguf(word)]
    others = [word for word in words if word not in (*outs, *models)]
    files = [word for word in others if Path(word).is_file()]
    answers = models or any(Path(word, "chat.json").is_file() for word in words)
    try:
        for path in [Path(out, "config.json") for out in outs if "--resume" in words]:
            if path.is_file() and (kind := read_json(path).get("kind")) in FINE_TUNING:
                return kind
        if files:
            kinds = {"conversation": "chat", "preference": "preferences"}
            return kinds.get(form_of(files[0]), "finetuned")
    except InputError:  # the command that reads the file will say it
        return "chat"
    data = [word for word in others if Path(word).is_dir()][0 if models else 1 :]
    return "chat" if answers and not data else "finetuned"
