"""Starting a run, or resuming one: its settings, the training loop, the report at the end."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minillm.data.files import STANDARD_INPUT, read_json, reading
from minillm.errors import DivergedError, InputError
from minillm.mpi import ranks
from minillm.runs import repeated
from minillm.runs.adaptation import gained_and_forgotten
from minillm.runs.fine_tuning import import_additions, trained_part
from minillm.runs.folder import RunFolder
from minillm.runs.initial import begun, forgotten
from minillm.runs.kind import Complete, Job, Kind, Parts, kinds
from minillm.runs.run import load, stored_config
from minillm.runs.settings import LENGTHS, TrainingSettings, make, option_of, values_of

if TYPE_CHECKING:
    from minillm.training import Options, Summary


HARDLY = 0.9  # a loss above this share of the baseline is that of a model that has hardly learnt


def start(
    kind: Kind,
    out: str | Path,
    given: Mapping[str, Any],
    resume: bool = False,
    overwrite: bool = False,
    report: Callable[[str], None] = print,
    quiet: bool = False,
) -> bool:
    """Trains a run in the folder ``out``; False if it was interrupted.

    ``given`` are the settings that differ from the defaults or, of a run to resume, from what
    was stored.  Nothing is written before all input has been checked.  ``report`` is called with
    each line to be shown.  ``quiet`` shows no progress, and draws no loss curve.

    All ranks of a job call this alike; rank 0 alone writes and reports.
    """
    if ranks().rank > 0:
        report, quiet = _unseen, True
    folder = RunFolder(out)
    if resume:
        stored_config(folder, kind)  # before anything is made
    with _held(folder), forgotten():
        stored, asked = None, given
        if resume:
            stored = stored_config(folder, kind)
            settings = _changed(folder, stored["training"], given)
        else:
            check_free(folder, overwrite, kind.resumable)
            given = begun(kind, given)
            settings = make(kind.settings, _with_one_length(kind.settings, given))
        data = dict(stored["data"]) if stored else {}
        for name, value in values_of(settings, data=True).items():
            if name in given or name not in data:
                data[name] = _absolute(value)
        if ranks().size > 1 and STANDARD_INPUT in (*data.get("files", ()), data.get("data")):
            raise InputError("standard input: expected files, which every rank can read")
        if not resume:
            settings = kind.with_length(settings, asked, data)
        return repeated.train(kind, Job(folder, settings, data, stored, report, quiet))


def _unseen(line: str) -> None:
    pass


@contextmanager
def _held(folder: RunFolder) -> Iterator[None]:
    """Keeps other processes out of the folder; a divergence says what the folder has."""
    if folder.path.exists() and not folder.path.is_dir():
        raise InputError(f"{folder.path}: expected a folder, found a file")
    with folder.held_for_all():
        try:
            yield
        except DivergedError as error:
            kept = "the run that was to be replaced" if folder.replaces() else "the last good state"
            raise DivergedError(f"{error}; {folder.path} keeps {kept}") from None


def _absolute(value: Any) -> Any:
    """A path or several, so that they hold in any folder; names of built-in sets stay."""
    from minillm.data.registry import absolute

    if isinstance(value, tuple):
        return [absolute(name) for name in value]
    return absolute(value) if isinstance(value, str) else value


def check_free(folder: RunFolder, overwrite: bool, resumable: bool = False) -> None:
    """InputError if the folder of a new run holds one already, unless it may be replaced."""
    if folder.holds_run() and not overwrite:
        resume = "--resume to go on with it, or " if resumable else ""
        raise InputError(
            f"{folder.path}: it already holds a run: give {resume}--overwrite to replace it"
        )


def _with_one_length(settings: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """What is given; a length that is takes the place of the others.  InputError for several."""
    lengths = [name for name in LENGTHS if given.get(name) is not None]
    if not issubclass(settings, TrainingSettings) or not lengths:
        return dict(given)
    if len(lengths) > 1:
        raise InputError(f"expected one of {', '.join(LENGTHS)}, found {' and '.join(lengths)}")
    return {**given, **dict.fromkeys(LENGTHS, None), lengths[0]: given[lengths[0]]}


def _changed(folder: RunFolder, stored: Any, given: Mapping[str, Any]) -> Any:
    """The stored settings of a run to resume, with the given ones in their place.

    InputError for one that must not change.
    """
    given = _with_one_length(type(stored), given)
    new = make(type(stored), given)
    for name in given:
        declared = option_of(type(stored), name)
        before, now = getattr(stored, name), getattr(new, name)
        if not (declared.changeable or declared.data) and now != before:
            raise InputError(
                f"--{name.replace('_', '-')}: the run in {folder.path} has {before}, "
                f"found {now}: it cannot change when a run is resumed"
            )
    return replace(stored, **{name: getattr(new, name) for name in given})


def train_by_gradient_descent(kind: Kind, job: Job) -> bool:
    """Makes model and task, trains them in the loop, and reports the result."""
    import numpy as np

    from minillm.training import Summary, restore_checkpoint, save_checkpoint, train

    settings, folder = job.settings, job.folder
    rng = np.random.default_rng(settings.seed)
    parts = kind.prepare(settings, job.data, rng)
    trained = trained_part(kind, job, parts, lambda params: _optimiser(settings, params), rng)
    params, options = trained.params, _options(settings).of(parts.task)
    state = (folder, params, trained.optimiser, parts.task, rng)
    begin = restore_checkpoint(*state) if job.stored else Summary()
    if job.stored:
        _check_unfinished(folder, options, begin)
    ranks().wait()  # all have read the folder, which rank 0 writes from here on
    for note in parts.notes:
        job.report(note)
    if job.stored:
        _report_the_schedule(job, options, parts, begin)
    else:
        folder.begin()
        for name, (file, _) in kind.vocabularies.items():
            folder.save_json(file, parts.vocabularies[name].to_dict())
        save_checkpoint(*state, begin)
    config = {
        "kind": kind.name,
        "model": asdict(parts.model.config),
        "training": values_of(settings, data=False),
        "data": job.data,
        "unit": parts.unit,
    }
    folder.save_json("config.json", config)
    counted = (lambda: parts.task.rows) if parts.item else None  # type: ignore[attr-defined]
    item = parts.item or parts.unit
    summary = train(
        *(params, trained.optimiser, parts.task, options, rng, folder, begin, job.quiet),
        unit=item,
        items=counted,
        trained=trained.trained,
    )
    ranks().wait()  # the run is on the disk
    if not job.quiet:
        _report(kind, job, summary, parts, options)
    return not summary.interrupted


def _options(settings: Any) -> "Options":
    from minillm.training import Options

    names = [entry.name for entry in fields(Options) if hasattr(settings, entry.name)]
    return Options(**{name: getattr(settings, name) for name in names})


def _optimiser(settings: Any, params: Any) -> Any:
    from minillm.training import new_optimiser

    return new_optimiser(settings.optimiser, params, settings)


def _check_unfinished(folder: RunFolder, options: "Options", begin: "Summary") -> None:
    """Complete if there is nothing left to do."""
    from minillm.training.progress import minutes_and_seconds

    how_far = f"after {begin.step:,} steps, {minutes_and_seconds(begin.seconds)}"
    if options.progress(begin.step, begin.seconds) >= 1:
        raise Complete(
            f"{folder.path}: the run is complete {how_far}: "
            "raise --epochs, --steps or --minutes to go on"
        )
    if options.gives_up(begin):
        raise Complete(
            f"{folder.path}: the run stopped early {how_far}: {_no_better(begin)}: "
            "raise --patience to go on"
        )


def _report_the_schedule(job: Job, options: "Options", parts: Parts, begin: "Summary") -> None:
    """Says so where the learning rate goes back up: a longer run has a longer schedule."""
    assert job.stored is not None
    before, now = (
        o.rate(min(1.0, o.progress(begin.step, begin.seconds)))
        for o in (_options(job.stored["training"]).of(parts.task), options)
    )
    if now > 1.01 * before:
        job.report(
            f"the schedule has changed: the learning rate goes from {before:.2g} up to {now:.2g}"
        )


def _no_better(summary: "Summary") -> str:
    count = f"{summary.waited} validation{'s' * (summary.waited != 1)}"
    return f"{count} in a row without a better loss"


def _report(kind: Kind, job: Job, summary: "Summary", parts: Parts, options: "Options") -> None:
    from minillm.training.progress import minutes_and_seconds

    unit, early = parts.unit, options.gives_up(summary)
    how_far = f"{summary.step:,} steps, {summary.tokens:,} {unit}s"
    best = f"step {summary.best_step:,}"
    if options.in_epochs:
        how_far = f"{options.epoch(summary.step):,.3g} epochs, {how_far}"
        best = f"epoch {options.epoch(summary.best_step):,.3g}"
    word = "stopped" if summary.interrupted else "stopped early" if early else "trained"
    job.report(f"{word} after {how_far}, {minutes_and_seconds(summary.seconds)}")
    if early:
        job.report(f"{_no_better(summary)}: the best was that of {best}")
    if math.isfinite(summary.best_loss):
        job.report(f"validation loss {summary.best_loss:.4f} nats per {unit} ({best})")
        if summary.best_loss > HARDLY * parts.baseline:
            job.report(
                f"the model has hardly learnt yet: guessing by frequency alone has a loss of "
                f"{parts.baseline:.4f}; train it longer"
            )
    for line in kind.closing(parts, summary):
        job.report(line)
    if job.data.get("init") and hasattr(kind, "nats_on"):
        for line in gained_and_forgotten(job.folder, job.data["init"]):
            job.report(line)
    job.report(f"loss curve: {_draw_loss_curve(job, unit, parts.model.config)}")
    if summary.interrupted:
        job.report(f"to go on: minillm train {kind.name} --out {job.folder.path} --resume")


def _draw_loss_curve(job: Job, unit: str, config: Any) -> str:
    """The path of the picture, or why there is none."""
    from minillm.plots import loss_curve

    try:
        png = loss_curve(job.folder.read_metrics(), unit, extra_of(job.settings, config))
    except InputError as error:
        return f"not drawn: {error}"
    return str(job.folder.save_picture("loss.png", png))


def extra_of(settings: Any, config: Any) -> str:
    """What the training loss has and the validation loss has not, for the legend of a plot."""
    names = ("dropout", "label_smoothing", "scheduled_sampling")
    used = [
        name.replace("_", " ")
        for name in names
        if getattr(settings, name, None) or getattr(config, name, None)
    ]
    return " and ".join([", ".join(used[:-1]), used[-1]] if len(used) > 1 else used)


def merge(
    path: str | Path, out: str | Path, overwrite: bool = False, allow_nan: bool = False
) -> str:
    """Makes a run of the additions in ``path`` and their baseline; returns a line about it."""
    run, folder = load(path, allow_nan), RunFolder(out)
    if not getattr(run.settings, "lora_rank", None):
        raise InputError(f"{path}: expected a run with --lora-rank, found one with all its weights")
    config = run.folder.load_json("config.json")
    config["training"] |= {"lora_rank": None, "lora_alpha": None, "lora_targets": []}
    del config["data"]["init_sha256"]
    with _held(folder):
        check_free(folder, overwrite)
        folder.begin()
        for file, _ in run.kind.vocabularies.values():
            folder.save_json(file, run.folder.load_json(file))
        folder.save_model(run.model.params, {})
        folder.save_json("config.json", config)
    weights = sum(array.size for array in run.model.params.values())
    return f"{weights:,} weights, those of {run.data['init']} with the additions of {path}"


def import_file(
    file: str, out: str | Path, overwrite: bool = False, init: str | None = None
) -> str:
    """Makes a run of what another program wrote, a file or a folder; returns a line about it.

    ``init`` is the folder of the run that it has additions to.
    """
    from minillm.formats.peft import is_adapter

    folder = RunFolder(out)
    if is_adapter(file) != (init is not None):
        if init:
            raise InputError(f"{file}: --init goes with a folder that has adapter_config.json")
        raise InputError(f"{file}: expected --init DIR, the run that its additions are for")
    if init is not None:
        with _held(folder):
            check_free(folder, overwrite)
            return import_additions(file, init, folder)
    if file == STANDARD_INPUT:
        raise InputError("standard input: expected the name of a file: it is read twice")
    if Path(file).is_dir():
        return _import_with(_kind_of_folder(Path(file)), file, folder, overwrite)
    with reading(file) as opened:
        head = opened.read(64).lstrip()
    for kind in kinds().values():
        if hasattr(kind, "imports") and kind.imports(file, head):
            return _import_with(kind, file, folder, overwrite)
    raise InputError(
        f"{file}: expected an ARPA file, which begins with \\data\\, word vectors, which begin "
        "with their count and their width, or a folder with a GPT-2 or a BERT; "
        f"found {head[:40].decode('utf-8', 'replace')!r}"
    )


def _kind_of_folder(folder: Path) -> Any:
    """The kind whose models the folder's config.json describes."""
    from minillm.formats.huggingface import wrong
    from minillm.formats.sentences import read_modules

    path = read_modules(folder)["Transformer"] / "config.json"
    values = read_json(path)
    known = {kind.model_type: kind for kind in kinds().values() if kind.model_type}
    if values.get("model_type") not in list(known):
        raise wrong(path, values, "model_type", " or ".join(map(repr, known)))
    return known[values["model_type"]]


def _import_with(kind: Any, file: str, folder: RunFolder, overwrite: bool) -> str:
    with _held(folder):
        check_free(folder, overwrite)
        return kind.import_file(file, folder)
