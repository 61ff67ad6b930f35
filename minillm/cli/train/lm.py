"""``minillm train lm``: a recurrent language model of characters or words."""

import argparse
from dataclasses import asdict
from typing import Any

from minillm.cli.arguments import integer
from minillm.cli.generate import write_sample
from minillm.cli.runs import (
    COMMON_DEFAULTS,
    add_options,
    add_recurrence_options,
    add_vocabulary_options,
    run_training,
    settle,
)
from minillm.data.registry import absolute
from minillm.errors import InputError

DEFAULTS: dict[str, Any] = COMMON_DEFAULTS | {
    "learning_rate": 6e-3,
    "unit": "character",
    "minimum_count": 2,
    "vocabulary": 10000,
    "pretokenised": None,
    "cell": "lstm",
    "layers": 1,
    "hidden": 512,
    "embedding": 128,
    "tied": None,
    "dropout": 0.2,
    "window": 64,
}


def add_parser(kinds: Any) -> None:
    """Declares the kind and its options."""
    parser = kinds.add_parser(
        "lm",
        help="a recurrent language model of characters or words",
        description="""\
Train a recurrent language model: it reads a text and learns to tell what comes next.
The last tenth of the text is held out, to measure how well it does on what it never saw.""",
        epilog="""\
examples:
  minillm train lm --out runs/first --minutes 2
        on the Python language reference, which ships with every CPython
  minillm train lm shakespeare.txt --out runs/shakespeare
        on a text of your own, with the defaults: an LSTM of 512 over characters, 5 minutes
  minillm train lm a.txt b.txt --out runs/words --unit word --hidden 256 --dropout 0.3
        words instead of characters, those seen only once as one unknown word
  zcat text.gz | minillm train lm - --out runs/piped --cell gru --layers 2 --steps 2000
        from standard input
  minillm train lm --out runs/shakespeare --resume --minutes 10
        go on, to 10 minutes in all

Ctrl-C saves and stops; --resume goes on from there, bit for bit.
""",
    )

    def shown(name: str) -> str:
        return f"(default {DEFAULTS[name]})"

    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="UTF-8 text, any number of files, - for standard input; none: the built-in corpus",
    )
    text = parser.add_argument_group("the text")
    text.add_argument(
        "--unit",
        choices=("character", "word"),
        help=f"what the model reads at each step {shown('unit')}",
    )
    add_vocabulary_options(text, DEFAULTS)
    text.add_argument(
        "--pretokenised",
        action="store_true",
        default=None,
        help="words stand between spaces already; do not split off punctuation",
    )
    model = parser.add_argument_group("the model")
    add_recurrence_options(model, DEFAULTS, "stacked", "width of a layer", one_hot=True)
    model.add_argument(
        "--tied",
        action="store_true",
        default=None,
        help="the output layer is the embedding again (then --embedding must equal --hidden)",
    )
    model.add_argument(
        "--window",
        type=integer(1, 65536),
        metavar="T",
        help=f"steps of truncated backpropagation through time {shown('window')}",
    )
    add_options(parser, DEFAULTS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Trains, and prints a sample at the end."""
    import numpy as np

    from minillm.data import split_text
    from minillm.models.language_model import LanguageModel, LanguageModelConfig
    from minillm.text import build_vocabulary
    from minillm.training import RunFolder
    from minillm.training.language_model import LanguageModelTask, load_language_model

    settings, config = settle(args, "lm", DEFAULTS)
    if settings["tied"] and not config and args.embedding is None:
        settings["embedding"] = settings["hidden"]
    data = dict(config["data"]) if config else {}
    if args.files or not config:
        data["files"] = [absolute(file) for file in args.files]
    text = read_training_text(data)
    training, validation = split_text(text)
    unit = settings["unit"]
    vocabulary = build_vocabulary(
        [training],
        "token" if unit == "word" and settings["pretokenised"] else unit,
        settings["minimum_count"],
        settings["vocabulary"],
        held_out=[validation],
    )

    rng = np.random.default_rng(settings["seed"])
    try:
        sizes = LanguageModelConfig(
            vocabulary=len(vocabulary),
            cell=settings["cell"],
            layers=settings["layers"],
            hidden=settings["hidden"],
            embedding=settings["embedding"],
            tied=bool(settings["tied"]),
            dropout=settings["dropout"],
        )
    except ValueError as error:
        raise InputError(str(error)) from None
    model = LanguageModel(sizes, rng)
    task = LanguageModelTask(
        model,
        vocabulary.encode(training),
        vocabulary.encode(validation),
        settings["batch"],
        settings["window"],
    )
    config = {"kind": "lm", "model": asdict(sizes), "training": settings, "data": data}
    vocabularies = {"vocabulary.json": vocabulary}
    summary = run_training(args, config, vocabularies, model.params, task, rng, vocabulary.unit)
    if summary.interrupted:
        return 130
    best, _ = load_language_model(RunFolder(args.out))
    print("sample:\n")
    write_sample(best, vocabulary, None, 500, np.random.default_rng(settings["seed"]), 0.8)
    return 0


def read_training_text(data: dict[str, Any]) -> str:
    """The text of a run, whose ``data`` are its files and, once it was read, its fingerprint.

    InputError if the text is no longer the one with that fingerprint.
    """
    import hashlib

    from minillm.data import read_text

    text = read_text(data["files"])
    fingerprint = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    if data.setdefault("sha256", fingerprint) != fingerprint:
        names = ", ".join(data["files"]) or "the built-in corpus"
        raise InputError(f"{names}: the text has changed since the run was started")
    return text
