"""What the kinds of ``minillm train`` share: options, the run's folder, the run itself.

A kind's module in ``train/`` declares its own options beside :func:`add_options`, and its ``run``
goes

    settings, config = settle(args, "lm", DEFAULTS)    # options and folder, checked
    ...                                                # read the data, make model and task
    summary = run_training(...)                        # write the folder, train, report

Nothing is written before all input is known to be good.
"""

import argparse
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from minillm.cli.arguments import integer, number
from minillm.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from minillm.text import Vocabulary
    from minillm.training import RunFolder, Summary, Task

KINDS = ("ngram", "word2vec", "lm", "seq2seq", "classifier", "captioner", "image-classifier")

# What the options are when they are not given.  argparse's own defaults are all None, so that a
# resumed run can tell what was given from what was not.
COMMON_DEFAULTS: dict[str, Any] = {
    "steps": None,
    "minutes": 5.0,
    "seed": 0,
    "batch": 32,
    "accumulate": 1,
    "optimiser": "adamw",
    "learning_rate": 3e-3,
    "warmup": 0.02,
    "weight_decay": 0.01,
    "momentum": 0.9,
    "clip": 1.0,
    "validations": 10,
    "checkpoint_seconds": 30.0,
}

# These may change when a run is resumed; all others would make it another run.
_CHANGEABLE = (
    "steps",
    "minutes",
    "validations",
    "checkpoint_seconds",
    "learning_rate",
    "clip",
    "threads",
)


def add_vocabulary_options(group: Any, defaults: Mapping[str, Any]) -> None:
    """Declares which words a model knows."""
    group.add_argument(
        "--minimum-count",
        type=integer(1),
        metavar="N",
        help=f"words seen less often become the unknown word (default {defaults['minimum_count']})",
    )
    group.add_argument(
        "--vocabulary",
        type=integer(2, 1_000_000),
        metavar="N",
        help=f"keep the N most frequent words (default {defaults['vocabulary']})",
    )


def add_recurrence_options(
    group: Any, defaults: Mapping[str, Any], layers: str, hidden: str, one_hot: bool = False
) -> None:
    """Declares a recurrent model's sizes; ``layers`` and ``hidden`` say what these two mean.

    one_hot: the model can do without an embedding.
    """

    def shown(name: str) -> str:
        return f"(default {defaults[name]})"

    group.add_argument(
        "--cell", choices=("rnn", "lstm", "gru"), help=f"the recurrence {shown('cell')}"
    )
    group.add_argument(
        "--layers", type=integer(1, 64), metavar="L", help=f"{layers} {shown('layers')}"
    )
    group.add_argument(
        "--hidden", type=integer(1, 65536), metavar="H", help=f"{hidden} {shown('hidden')}"
    )
    group.add_argument(
        "--embedding",
        type=integer(0 if one_hot else 1, 65536),
        metavar="D",
        help="width of the embedding "
        + ("or, 0, one-hot input: quickest with few characters " if one_hot else "")
        + shown("embedding"),
    )
    group.add_argument(
        "--dropout",
        type=number(least=0, below=1),
        metavar="RATE",
        help=f"share of activations zeroed in training {shown('dropout')}",
    )


def add_options(parser: argparse.ArgumentParser, defaults: Mapping[str, Any]) -> None:
    """Declares the options that all kinds share."""

    def shown(name: str) -> str:
        return f"(default {defaults[name]:g})"

    run = parser.add_argument_group("the run")
    run.add_argument("--out", required=True, metavar="DIR", help="the run's folder, made anew")
    existing = run.add_mutually_exclusive_group()
    existing.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in DIR, bit for bit as if it had never stopped; its options are "
        "remembered, but its length, learning rate and clipping may change",
    )
    existing.add_argument("--overwrite", action="store_true", help="replace the run in DIR")
    length = run.add_mutually_exclusive_group()
    length.add_argument(
        "--minutes",
        type=number(above=0),
        metavar="M",
        help=f"train for M minutes, the learning rate following the clock {shown('minutes')}",
    )
    length.add_argument("--steps", type=integer(1), metavar="N", help="train for N steps instead")
    run.add_argument(
        "--seed",
        type=integer(0),
        metavar="N",
        help=f"of the first weights, dropout and shuffling {shown('seed')}",
    )
    run.add_argument(
        "--validations",
        type=integer(1),
        metavar="N",
        help="measure the validation loss N times, evenly over the run, fewer where that would "
        f"take more than a twentieth of the --minutes {shown('validations')}",
    )
    run.add_argument(
        "--checkpoint-seconds",
        type=number(least=0),
        metavar="S",
        help=f"save for --resume every S seconds {shown('checkpoint_seconds')}",
    )

    descent = parser.add_argument_group("gradient descent")
    descent.add_argument(
        "--optimiser",
        choices=("sgd", "adam", "adamw"),
        help=f"the rule that turns gradients into steps (default {defaults['optimiser']})",
    )
    descent.add_argument(
        "--learning-rate",
        type=number(above=0),
        metavar="R",
        help="at its peak: it warms up, then falls along a cosine to a hundredth "
        f"{shown('learning_rate')}",
    )
    descent.add_argument(
        "--warmup",
        type=number(least=0, below=1),
        metavar="SHARE",
        help=f"share of the run in which it rises {shown('warmup')}",
    )
    descent.add_argument(
        "--weight-decay",
        type=number(least=0),
        metavar="D",
        help=f"pull of the weights towards zero, adamw only {shown('weight_decay')}",
    )
    descent.add_argument(
        "--momentum",
        type=number(least=0, below=1),
        metavar="M",
        help=f"share of the last step that is kept, sgd only {shown('momentum')}",
    )
    descent.add_argument(
        "--clip",
        type=number(above=0),
        metavar="N",
        help=f"largest norm of the gradient {shown('clip')}",
    )
    descent.add_argument(
        "--batch", type=integer(1, 65536), metavar="B", help=f"rows in a batch {shown('batch')}"
    )
    descent.add_argument(
        "--accumulate",
        type=integer(1),
        metavar="N",
        help=f"add up the gradients of N batches for one step {shown('accumulate')}",
    )


def settle(
    args: argparse.Namespace, kind: str, defaults: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The options of the run, and the stored configuration if it is one to resume.

    An option that was not given has its default, or in a resumed run its old value.
    """
    from minillm.training import RunFolder

    folder = RunFolder(args.out)
    given = {name: getattr(args, name) for name in defaults if getattr(args, name) is not None}
    config = None
    settings = dict(defaults)
    if args.resume:
        config = load_config(folder, kind)
        settings |= config["training"]
        for name, value in given.items():
            if name not in _CHANGEABLE and value != settings[name]:
                raise InputError(
                    f"--{name.replace('_', '-')}: the run in {args.out} has {settings[name]}, "
                    f"found {value}: it cannot change when a run is resumed"
                )
    elif folder.path.exists() and not folder.path.is_dir():
        raise InputError(f"{args.out}: expected a folder, found a file")
    elif folder.holds_run() and not args.overwrite:
        raise InputError(
            f"{args.out}: it already holds a run: give --resume to go on with it, "
            "or --overwrite to replace it"
        )
    settings |= given
    if "steps" in given:
        settings["minutes"] = None
    if "minutes" in given:
        settings["steps"] = None
    return settings, config


def load_config(folder: "RunFolder", *kinds: str) -> dict[str, Any]:
    """The configuration of a run of one of ``kinds``."""
    config = folder.load_json("config.json")
    path = folder.path / "config.json"
    if config.get("kind") not in kinds:
        wanted = " or ".join(kinds)
        raise InputError(f"{path}: expected a run of {wanted}, found {config.get('kind')!r}")
    for part in ("model", "training", "data"):
        if not isinstance(config.get(part), dict):
            raise InputError(f"{path}: expected an object {part!r}")
    return config


def run_training(
    args: argparse.Namespace,
    config: dict[str, Any],
    vocabularies: "Mapping[str, Vocabulary]",
    params: "Mapping[str, np.ndarray]",
    task: "Task",
    rng: "np.random.Generator",
    unit: str,
) -> "Summary":
    """Writes the folder's first files, trains, draws the loss curve, and reports.

    ``config`` has the kind, and the settings under "training"; ``vocabularies`` goes by file name;
    ``unit`` is what the loss is per: "character", "word".
    """
    from minillm.training import (
        SGD,
        Adam,
        AdamW,
        Options,
        RunFolder,
        Summary,
        restore_checkpoint,
        save_checkpoint,
        train,
    )
    from minillm.training.progress import minutes_and_seconds

    settings = config["training"]
    names = [option.name for option in fields(Options) if option.name in settings]
    options = Options(**{name: settings[name] for name in names})
    optimiser: SGD | Adam
    if settings["optimiser"] == "sgd":
        optimiser = SGD(params, settings["momentum"])
    elif settings["optimiser"] == "adam":
        optimiser = Adam(params)
    else:
        optimiser = AdamW(params, weight_decay=settings["weight_decay"])

    folder = RunFolder(args.out)
    state = (folder, params, optimiser, task, rng)
    if args.resume:
        start = restore_checkpoint(*state)
        if options.progress(start.step, start.seconds) >= 1:
            raise InputError(
                f"{args.out}: the run is complete after {start.step:,} steps, "
                f"{minutes_and_seconds(start.seconds)}: raise --steps or --minutes to go on"
            )
    else:
        start = Summary()
        folder.clear()
        for name, vocabulary in vocabularies.items():
            folder.save_json(name, vocabulary.to_dict())
        save_checkpoint(*state, start)
    folder.save_json("config.json", config)
    summary = train(params, optimiser, task, options, rng, folder, start)

    curve = _draw_loss_curve(folder, unit)
    print(
        f"{'stopped' if summary.interrupted else 'trained'} after {summary.step:,} steps, "
        f"{summary.tokens:,} {unit}s, {minutes_and_seconds(summary.seconds)}"
    )
    if summary.best_step:
        print(
            f"validation loss {summary.best_loss:.4f} nats per {unit} (step {summary.best_step:,})"
        )
    print(f"loss curve: {curve}")
    if summary.interrupted:
        print(f"to go on: minillm train {config['kind']} --out {args.out} --resume")
    return summary


def _draw_loss_curve(folder: "RunFolder", unit: str) -> str:
    """The path of the picture, or why there is none."""
    from minillm.plots import loss_curve

    try:
        return str(folder.save_picture("loss.png", loss_curve(folder.read_metrics(), unit)))
    except InputError as error:
        return f"not drawn: {error}"
