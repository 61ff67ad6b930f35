"""Training a run: check the settings, open the data, make the model or resume, descend, report."""

import timeit
from collections.abc import Callable, Mapping
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
from minillm.option import make, option_of
from minillm.runs.config import read_config, save_config, save_vocabularies
from minillm.runs.folder import RunFolder
from minillm.runs.initial_weights import (
    choose_trained,
    with_init_defaults,
    with_one_length,
)
from minillm.runs.kind import Kind, Training
from minillm.runs.load import check_resumable, load
from minillm.runs.report import draw_losses, no_better, report_losses
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
from minillm.training.task import Task, machine_memory

SECONDS_TOLD = 60  # of a step: shorter ones show themselves on the bar
SLOWEST = 1e9  # multiply-adds a second that every machine can do


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
            if given.get("init"):
                training.initial = load(_absolute(given["init"]))
            training.settings = new_settings(kind, given, training.initial)
        training.data = _data_of(training, given)
        if training.stored is None:
            training.settings = kind.complete(training, given)
        try:
            return kind.train(training) if kind.train else _descend(training)
        except DivergedError as error:
            raise DivergedError(f"{error}; {folder.path} keeps the last good state") from None


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
    return MappingProxyType(data)


# --- settings --------------------------------------------------------------------------------


def new_settings(kind: Kind, given: Mapping[str, object], initial: Run | None = None) -> Any:
    """The settings of a new run, checked, with the defaults for what is not given."""
    return make(kind.settings, with_init_defaults(kind, initial, given))


def _absolute(value: object) -> Any:
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
    if stored_run and training.data.get("init"):
        training.initial = load(training.data["init"])
    if stored_run:
        check_resumable(folder, stored_run)
    kind.prepare(training)
    trained, stored, optimiser = choose_trained(training)
    initial, training.initial = training.initial, None  # its weights are no longer needed
    task = training.task

    check_step(task, training.report)

    # Begin, or go on from the checkpoint.
    options, start = _options(settings).of(task), Summary()
    if stored_run:
        start = restore_checkpoint(folder, stored, optimiser, task, training.rng)
        if trained is not None:
            trained.merge()
        _check_unfinished(folder, options, start)
    if options.precision == "bfloat16" and (why := slow_bfloat16()):
        training.report(f"precision: bfloat16 would be slower here, so float32 is used: {why}")
        options = replace(options, precision="float32")
    ranks().wait()  # all have read the folder; from here on, rank 0 writes it
    for note in training.notes:
        training.report(note)
    if not stored_run:
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
    )
    ranks().wait()  # the run is on the disk
    if not training.quiet:
        report_losses(training, options, summary)
        for line in kind.closing(training, summary):
            training.report(line)
        draw_losses(training)
        if summary.interrupted:
            training.report(f"to continue: {training.resume_command}")
    return not summary.interrupted


def check_step(task: Task, report: Callable[[str], None]) -> None:
    """Report the time of a step of more than a minute; InputError if memory cannot hold one.

    The time is estimated from its multiply-adds, at the speed of a product of two matrices.
    """
    kept, work = task.step_cost()
    memory = machine_memory()
    if memory and kept > memory:
        raise InputError(
            f"expected a step that fits into the memory of this machine, {memory / 1e9:,.0f} GB, "
            f"found one that keeps at least {kept / 1e9:,.0f} GB: give a smaller batch, or a "
            "smaller context or window"
        )
    if work < SECONDS_TOLD * SLOWEST:
        return
    x = np.ones((512, 512), np.float32)
    seconds = work / x.size / len(x) * min(timeit.repeat(lambda: x @ x, number=1, repeat=20))
    if seconds > SECONDS_TOLD:
        report(
            f"a step takes {minutes_and_seconds(seconds)} or more, and keeps {kept / 1e9:,.1f} GB "
            "or more: a smaller batch, or a smaller context or window, makes it shorter"
        )


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
            f"{folder.path}: the run stopped early {how_far}: {no_better(begin)}: "
            "raise patience to continue"
        )
