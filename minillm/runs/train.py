"""Training a run: its settings, the training, the report at the end.

run = minillm.train("lm", "runs/x", text="...", steps=500)
run = minillm.train("classifier", texts=["...", ...], labels=["good", ...])
run = minillm.train("transformer", pairs=[("one", "un"), ...])
run = minillm.train("word2vec", sentences=[["a", "b"], ...])
"""

import inspect
import math
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from minillm._kernels import slow_bfloat16
from minillm.data.files import STANDARD_INPUT
from minillm.data.registry import absolute
from minillm.errors import DivergedError, InputError
from minillm.mpi import ranks
from minillm.option import check_names, make, option_of, types_of
from minillm.plots import loss_curve
from minillm.runs.config import read_config, save_config, save_vocabularies
from minillm.runs.folder import RunFolder
from minillm.runs.initial_weights import (
    choose_trained,
    with_init_defaults,
    with_one_length,
)
from minillm.runs.kind import Kind, Training, find_kind
from minillm.runs.load import check_resumable, load, open_initial
from minillm.runs.python_data import named_as, python_data
from minillm.runs.run import Run
from minillm.runs.settings import names_of_data
from minillm.training import (
    Options,
    Summary,
    loop,
    restore_checkpoint,
    save_checkpoint,
)
from minillm.training.progress import minutes_and_seconds

BASELINE_FRACTION = 0.9  # of the baseline's loss, above which a model has barely learned


def train(
    kind: str,
    out: str | Path | None = None,
    *,
    text: str | None = None,
    files: str | Path | Sequence[str | Path] | None = None,
    texts: Iterable[str] | None = None,
    labels: Iterable[str] | None = None,
    pairs: Iterable[tuple[str, str]] | None = None,
    sentences: Iterable[Sequence[str]] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    report: Callable[[str], None] | None = None,
    quiet: bool = False,
    **settings: object,
) -> Run:
    """Train a model of a kind, such as "lm", and return the finished run.

    The run is in the folder ``out``; None: in memory, until ``run.save(folder)``.  The data are a
    text, texts with labels, pairs of source and target, sentences as lists of words, or files.  A
    run stores data that are not in files.  The settings are the options of
    ``minillm train KIND --help``, as keyword arguments: ``learning_rate=1e-3``.

    Ctrl-C ends the training, and the run so far is returned; ``resume=True`` continues it.
    ``report``, by default ``print``, is called with each line of output.  ``quiet`` shows nothing.

    InputError for wrong settings or data.
    """
    declared = find_kind(kind)
    check_names(settings, [*types_of(declared.settings), *inspect.signature(train).parameters])
    if resume and out is None:
        raise InputError("expected out, the folder of the run to resume", "resume")
    if out is None and ranks().size > 1:
        raise InputError("expected a folder, which all ranks share", "out")
    objects = python_data(declared, files, text, sentences, texts, labels, pairs)
    if sentences is not None:
        settings["pretokenised"] = True
    folder = Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="minillm-"))
    show = report or (lambda line: None if quiet else print(line))
    given_as = " or ".join((*declared.takes, "files")).replace("labels", "texts")
    names: dict[str | Path, str] = {"DATA: ": f"{given_as}: "}
    if out is None:
        names |= {f"; {folder} keeps the last good state": "", folder: "the run"}
    try:
        with (
            named_as(names),
            objects.stored() if objects else nullcontext() as path,
        ):
            if path is not None:
                files = path
            settings = {n: str(v) if isinstance(v, Path) else v for n, v in settings.items()}
            if files is not None:
                settings |= _files(declared.settings, files)
            train_run(
                declared,
                folder,
                settings,
                resume=resume,
                overwrite=overwrite,
                report=show,
                quiet=quiet,
                resume_command=f'minillm.train("{declared.name}", "{folder}", resume=True)',
                attached={path.name: path} if path is not None else {},
            )
        run = load(folder)
    except BaseException:
        if out is None:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    if out is None:
        assert run.folder is not None
        run.folder.temporary = True
        weakref.finalize(run, shutil.rmtree, folder, ignore_errors=True)
    return run


def _files(settings: type, files: str | Path | Sequence[str | Path]) -> dict[str, object]:
    """The setting for the files: some kinds take one, others several."""
    names = tuple(map(str, [files] if isinstance(files, str | Path) else files))
    if "files" in types_of(settings):
        return {"files": names}
    if len(names) != 1:
        raise InputError(f"expected one file, found {len(names)}", "files")
    return {"data": names[0]}


def train_run(
    kind: Kind,
    out: str | Path,
    given: Mapping[str, object],
    resume: bool = False,
    overwrite: bool = False,
    report: Callable[[str], None] = print,
    quiet: bool = False,
    resume_command: str | None = None,
    attached: Mapping[str, Path] | None = None,
) -> bool:
    """Train a run in the folder ``out``, and return False if it was interrupted.

    ``given`` are the settings that differ from the defaults or, for a run to resume, from the
    stored ones.  Nothing is written before all input has been checked.  ``report`` is called with
    each line of output.  ``quiet`` hides the progress, and draws no loss curve.  ``resume_command``
    is shown if the training is interrupted.  ``attached`` are data files by name, which the run
    gets in its folder.

    All ranks of a job call this; only rank 0 writes and reports.  InputError if there are several,
    and the kind has no gradients for them to divide.
    """
    size = ranks().size
    if size > 1 and kind.train:
        raise InputError(f"{kind.name}: expected one process, found {size}, started by mpiexec")
    if ranks().rank > 0:
        report, quiet = lambda line: None, True
    folder = RunFolder(out)
    folder.attached = dict(attached or {})
    command = resume_command or f"minillm train {kind.name} --out {folder.path} --resume"
    with folder.held_for_all():  # keeps other processes out
        training = Training(kind, folder, None, {}, report, quiet, command)
        if resume:
            training.stored = read_config(folder, kind)
            training.settings = _changed(folder, training.stored.settings, given)
        else:
            folder.check_free(overwrite, kind.resumable)
            training.initial = open_initial({"init": _absolute(given.get("init"))})
            training.settings = new_settings(kind, given, training.initial)
        training.data = _data_of(training, given)
        if training.stored is None:
            training.settings = kind.complete(training, given)
        try:
            return kind.train(training) if kind.train else _descend(training)
        except DivergedError as error:
            kept = "the run that was to be replaced" if folder.replaces() else "the last good state"
            raise DivergedError(f"{error}; {folder.path} keeps {kept}") from None


def _data_of(training: Training, given: Mapping[str, object]) -> Mapping[str, Any]:
    """The data that are stored, with those that are given now."""
    kind, settings = training.kind, training.settings
    data = dict(training.stored.data) if training.stored else {}
    for name in names_of_data(kind.settings):
        if name in given or name not in data:
            data[name] = _absolute(getattr(settings, name))
        declared = option_of(kind.settings, name)
        if declared.positional and data[name] is None:
            raise InputError(f"{declared.metavar}: expected {declared.help}; found none")
    if ranks().size > 1 and STANDARD_INPUT in (*data.get("files", ()), data.get("data")):
        raise InputError("standard input: expected files, which every rank can read")
    if training.initial is not None:
        data |= kind.initial_data(training.initial)
    return MappingProxyType(data)


# --- settings --------------------------------------------------------------------------------


def new_settings(kind: Kind, given: Mapping[str, object], initial: Run | None = None) -> Any:
    """The settings of a new run, checked, with the defaults for what is not given."""
    return make(kind.settings, with_init_defaults(kind, initial, given))


def _absolute(value: object) -> object:
    """Make paths absolute; names of built-in sets do not change."""
    if isinstance(value, tuple):
        return [absolute(name) for name in value]
    return absolute(value) if isinstance(value, str) else value


def _changed(folder: RunFolder, stored: Any, given: Mapping[str, object]) -> Any:
    """The stored settings of a run to resume, replaced by the given ones.

    InputError for a setting that cannot change.
    """
    given = with_one_length(type(stored), given)
    new = make(type(stored), given)
    for name in given:
        declared = option_of(type(stored), name)
        before, now = getattr(stored, name), getattr(new, name)
        if not (declared.changeable or declared.data) and now != before:
            raise InputError(
                f"the run in {folder.path} has {before}, "
                f"found {now}: it cannot change when a run is resumed",
                name,
            )
    return replace(stored, **{name: getattr(new, name) for name in given})


# --- training --------------------------------------------------------------------------------


def _descend(training: Training) -> bool:
    """Train by gradient descent, and return False if that was interrupted."""
    kind, folder, settings = training.kind, training.folder, training.settings
    assert kind.prepare is not None
    training.rng = np.random.default_rng(settings.seed)

    # Open the data, make the model, and choose the weights to train.
    stored_run = training.stored
    if stored_run or "begun_with" in training.data:
        training.initial = open_initial(training.data)
    if stored_run:
        check_resumable(folder, stored_run)
    kind.prepare(training)
    trained, stored, optimiser = choose_trained(training)
    initial, training.initial = training.initial, None  # its weights are no longer needed
    task = training.task

    # Begin, or go on from the checkpoint.
    options, start = _options(settings).of(task), Summary()
    if stored_run:
        start = restore_checkpoint(folder, stored, optimiser, task, training.rng)
        _check_unfinished(folder, options, start)
    if options.precision == "bfloat16" and (why := slow_bfloat16()):
        training.report(f"precision: bfloat16 would be slower here, so float32 is used: {why}")
        options = replace(options, precision="float32")
    ranks().wait()  # all have read the folder; from here on, rank 0 writes it
    for note in training.notes:
        training.report(note)
    if stored_run:
        _report_the_schedule(training, options, start)
    else:
        folder.begin()
        save_vocabularies(folder, kind, training.vocabularies)
        if initial and initial.chat_template and type(initial.model) is type(training.model):
            folder.save_json("chat.json", initial.chat_template.to_dict())
        save_checkpoint(folder, stored, optimiser, task, training.rng, start)
    save_config(folder, training.config())
    del initial

    summary = loop.train(
        params=stored,
        optimiser=optimiser,
        trained=trained,
        task=task,
        options=options,
        rng=training.rng,
        store=folder,
        start=start,
        quiet=training.quiet,
        unit=training.item or training.unit,
        items=(lambda: task.rows) if training.item else None,
    )
    ranks().wait()  # the run is on the disk
    if not training.quiet:
        _report_losses(training, options, summary)
        for line in kind.closing(training, summary):
            training.report(line)
        _draw_losses(training)
        if summary.interrupted:
            training.report(f"to continue: {training.resume_command}")
    return not summary.interrupted


def _options(settings: object) -> Options:
    names = [entry.name for entry in fields(Options) if hasattr(settings, entry.name)]
    return Options(**{name: getattr(settings, name) for name in names})


def _check_unfinished(folder: RunFolder, options: Options, begin: Summary) -> None:
    """InputError if there is nothing left to do."""
    how_far = f"after {begin.step:,} steps, {minutes_and_seconds(begin.seconds)}"
    if options.progress(begin.step, begin.seconds) >= 1:
        raise InputError(
            f"{folder.path}: the run is complete {how_far}: "
            "raise epochs, steps or minutes to continue"
        )
    if options.gives_up(begin):
        raise InputError(
            f"{folder.path}: the run stopped early {how_far}: {_no_better(begin)}: "
            "raise patience to continue"
        )


# --- the report ------------------------------------------------------------------------------


def _report_the_schedule(training: Training, options: Options, begin: Summary) -> None:
    """Report if the learning rate goes back up, because a longer run has a longer schedule."""
    assert training.stored is not None
    before, now = (
        o.rate(min(1.0, o.progress(begin.step, begin.seconds)))
        for o in (_options(training.stored.settings).of(training.task), options)
    )
    if now > 1.01 * before:
        training.report(
            f"the schedule has changed: the learning rate goes from {before:.2g} up to {now:.2g}"
        )


def _no_better(summary: Summary) -> str:
    count = f"{summary.waited} validation{'s' * (summary.waited != 1)}"
    return f"{count} in a row without a better loss"


def _report_losses(training: Training, options: Options, summary: Summary) -> None:
    """Report how far the training went, and the best validation loss."""
    report, unit = training.report, training.unit
    early = options.gives_up(summary)
    how_far = f"{summary.step:,} steps, {summary.tokens:,} {unit}s"
    best = f"step {summary.best_step:,}"
    if options.in_epochs:
        how_far = f"{options.epoch(summary.step):,.3g} epochs, {how_far}"
        best = f"epoch {options.epoch(summary.best_step):,.3g}"
    word = "stopped" if summary.interrupted else "stopped early" if early else "trained"
    report(f"{word} after {how_far}, {minutes_and_seconds(summary.seconds)}")
    if early:
        report(f"{_no_better(summary)}: the best was at {best}")
    if math.isfinite(summary.best_loss):
        report(f"validation loss {summary.best_loss:.4f} nats per {unit} ({best})")
    if BASELINE_FRACTION * training.baseline < summary.best_loss < math.inf:
        report(
            f"the model has barely learned: always predicting by frequency gives a loss of "
            f"{training.baseline:.4f}; train it longer"
        )


def _draw_losses(training: Training) -> None:
    """Draw the loss curve, and report where it is."""
    folder = training.folder
    try:
        extra = extra_of(training.settings, training.model.config)
        folder.save_file("loss.png", loss_curve(folder.read_metrics(), training.unit, extra))
        training.report(f"loss curve: {folder.path / 'loss.png'}")
    except InputError as error:
        training.report(f"loss curve: not drawn: {error}")


def extra_of(settings: object, config: object) -> str:
    """The parts of the training loss that the validation loss lacks, for a plot's legend."""
    names = ("dropout", "label_smoothing")
    used = [
        name.replace("_", " ")
        for name in names
        if getattr(settings, name, None) or getattr(config, name, None)
    ]
    return " and ".join(used)
