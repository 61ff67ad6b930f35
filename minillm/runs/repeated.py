"""Several trainings for one run: from other seeds, and for cross-validation.

The run itself is trained first, then the others, one after the other, each in a folder of its own
inside the run's.  When one has ended, its figures become a line of ``seeds.jsonl`` or
``folds.jsonl``, and its folder goes; so each is trained once, and an interrupted one goes on from
its own checkpoint, bit for bit.

- **Seeds**: the same training from N seeds.  Of all, the one with the best validation loss is the
  run that remains.  The spread tells how much of a figure is luck.
- **Folds**: the labelled texts in K parts, in each of which the labels have the shares that they
  have in the whole.  Each part is the test of a training on all others, which hold out texts of
  their own for validation: no text is measured that a training has seen, or was stopped by.

Source: Stone (1974), "Cross-validatory choice and assessment of statistical predictions"; Kohavi
(1995), "A study of cross-validation and bootstrap for accuracy estimation and model selection",
for equal shares of the labels.
"""

import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from minillm.errors import InputError
from minillm.mpi import ranks
from minillm.runs.folder import RunFolder
from minillm.runs.kind import Complete, Evaluation, Job, Kind
from minillm.runs.run import load, stored_config
from minillm.runs.settings import option_of, types_of

if TYPE_CHECKING:
    from minillm.data.labelled import Labelled

STREAM = 3  # the shuffling of the folds has random numbers of its own
SEEDS, FOLDS, METRICS = "seeds.jsonl", "folds.jsonl", "metrics.jsonl"

Record = dict[str, Any]


def train(kind: Kind, job: Job) -> bool:
    """Trains the run, then whatever it is to be repeated with; False if it was interrupted."""
    seeds, folds = (getattr(job.settings, name, None) or 1 for name in ("seeds", "folds"))
    if seeds > 1 and folds > 1:
        raise InputError("expected one of --seeds and --folds, found both")
    parts = split(job, folds) if folds > 1 else []
    try:
        if not kind.train(job):
            return False
    except Complete:
        if not _is_left(job, seeds, folds):
            raise
        _store(job, seeds=seeds, folds=folds)
    if seeds > 1:
        return _over_seeds(kind, job, seeds)
    return _cross_validate(kind, job, parts) if folds > 1 else True


def _is_left(job: Job, seeds: int, folds: int) -> bool:
    """Whether a run that is complete has anything to be repeated."""
    if seeds > 1:
        return len(_lines(job.folder, SEEDS)) < seeds
    return folds > 1 and len(_of_folds(job.folder, folds)) < folds


def _store(job: Job, **settings: int) -> None:
    """Writes how often a run is repeated, which is all that may change of a complete one."""
    config = job.folder.load_json("config.json")
    known = {name: n for name, n in settings.items() if hasattr(job.settings, name)}
    config["training"] |= {name: n if n > 1 else None for name, n in known.items()}
    job.folder.save_json("config.json", config)


# --- seeds -----------------------------------------------------------------------------------


def _over_seeds(kind: Kind, job: Job, count: int) -> bool:
    records = _lines(job.folder, SEEDS)
    if not records:
        records.append({"seed": job.settings.seed, **_best(job.folder)})
        job.folder.append_line(SEEDS, records[0])
    first = records[0]["seed"]
    for seed in range(first, first + count):
        if seed not in [record["seed"] for record in records]:
            place = RunFolder(job.folder.path / f"seed-{seed}")
            given = replace(job.settings, seed=seed)
            if not _train_one(kind, job, place, given, dict(job.data)):
                return False
            records.append({"seed": seed, **_best(place)})
            job.folder.append_line(SEEDS, records[-1])
            job.report(f"seed {seed}: {_shown(records[-1:], 'seed')}")
        _keep_the_best(job.folder, records, seed)
    job.report(f"{count} seeds: {_shown(records[:count], 'seed')}")
    best = min(records, key=lambda record: record["validation_loss"])
    job.report(f"the run with the best validation loss remains: seed {best['seed']}")
    return True


def _best(folder: RunFolder) -> Record:
    """The figures of a run's best validation."""
    found = [record for record in _lines(folder, METRICS) if "validation_loss" in record]
    best = min(found, key=lambda record: record["validation_loss"])
    return {name: value for name, value in best.items() if name not in ("seconds", "step")}


def _keep_the_best(folder: RunFolder, records: Sequence[Record], seed: int) -> None:
    """A seed's run, if it is there, takes the place of the run, or goes."""
    place = RunFolder(folder.path / f"seed-{seed}")
    if ranks().rank > 0 or not place.path.is_dir():
        return
    if min(records, key=lambda record: record["validation_loss"])["seed"] == seed:
        folder.take(place, keep=(SEEDS,))
    shutil.rmtree(place.path, ignore_errors=True)


# --- folds -----------------------------------------------------------------------------------


def split(job: Job, count: int) -> "list[list[Labelled]]":
    """The labelled texts in ``count`` parts, in the order of a generator of the run's seed.

    InputError for more parts than texts, and for a label with a single text: in the fold that
    tests it, no training text would have it.
    """
    import numpy as np

    from minillm.data.labelled import read_labelled

    name = job.data["data"]
    texts = list(read_labelled(name))
    if count > len(texts):
        raise InputError(
            f"--folds: expected at most {len(texts)}, the texts of {name}, found {count}"
        )
    rows: dict[str, list[int]] = {}
    for row, (label, _) in enumerate(texts):
        rows.setdefault(label, []).append(row)
    for label, own in sorted(rows.items()):
        if len(own) < 2:
            raise InputError(f"--folds: expected two texts or more of each label, one of {label!r}")
    rng = np.random.default_rng([job.settings.seed, STREAM])
    order = np.concatenate([rng.permutation(own) for _, own in sorted(rows.items())])
    return [[texts[row] for row in np.sort(order[k::count])] for k in range(count)]


def _cross_validate(kind: Kind, job: Job, parts: "Sequence[Sequence[Labelled]]") -> bool:
    records = _of_folds(job.folder, len(parts))
    done = {record["fold"] for record in records}
    for fold, test in enumerate(parts, start=1):
        place = RunFolder(job.folder.path / f"fold-{fold}")
        if fold not in done:
            others = [text for part in parts if part is not test for text in part]
            record = _measure_fold(kind, job, place, others, test)
            if record is None:
                return False
            records.append({"fold": fold, "folds": len(parts), **record})
            job.folder.append_line(FOLDS, records[-1])
            job.report(f"fold {fold} of {len(parts)}: {_shown(records[-1:], 'fold')}")
        if ranks().rank == 0:
            shutil.rmtree(place.path, ignore_errors=True)
    job.report(f"{len(parts)} folds: {_shown(records, 'fold')}")
    return True


def _of_folds(folder: RunFolder, count: int) -> list[Record]:
    """The lines of a cross-validation of so many folds."""
    return [record for record in _lines(folder, FOLDS) if record.get("folds") == count]


def _measure_fold(
    kind: Kind,
    job: Job,
    place: RunFolder,
    training: "Sequence[Labelled]",
    test: "Sequence[Labelled]",
) -> Record | None:
    """The figures of a training on one part of the texts, on the other; None if interrupted."""
    from minillm.data.files import write_file

    if ranks().rank == 0:
        place.path.mkdir(exist_ok=True)
        for name, texts in (("training.tsv", training), ("test.tsv", test)):
            lines = "".join(f"{label}\t{text}\n" for label, text in texts)
            write_file(place.path / name, lines.encode())
    data = {"data": str(place.path / "training.tsv")}
    if not _train_one(kind, job, place, job.settings, job.data | data):
        return None
    return ranks().broadcast(_figures(place, training, test) if ranks().rank == 0 else None)


def _figures(
    place: RunFolder, training: "Sequence[Labelled]", test: "Sequence[Labelled]"
) -> Record:
    """Those of a trained fold, beside what TF-IDF reaches on the same texts."""
    from minillm.runs.tfidf import by_tfidf, has_sklearn

    found = load(place.path).evaluate(Evaluation(files=(str(place.path / "test.tsv"),)))
    record = {name: found[name] for name in ("items", "nats_per_item", "accuracy", "macro_f1")}
    if has_sklearn():
        record["tfidf_accuracy"] = by_tfidf(training, test)["accuracy"]
    return record


# --- both ------------------------------------------------------------------------------------


def _lines(folder: RunFolder, name: str) -> list[Record]:
    """The lines of a file as rank 0, which writes it, reads them: they say what is left to do."""
    return ranks().broadcast(folder.read_lines(name))


def _train_one(kind: Kind, job: Job, place: RunFolder, settings: Any, data: dict[str, Any]) -> bool:
    """Trains one of several, from its own checkpoint if there is one."""
    with place.held_for_all():
        stored = stored_config(place, kind) if (place.path / "config.json").exists() else None
        if stored:
            data = stored["data"]
        else:  # where the data are and what --augment needs, and nothing that is known of them
            own = {n for n in types_of(kind.settings) if option_of(kind.settings, n).data}
            own.add("augment")
            data = {name: value for name, value in data.items() if name in own}
        one = Job(place, settings, data, stored, lambda line: None, quiet=True)
        try:
            finished = kind.train(one)
        except Complete:  # a kill came between its end and the line about it
            finished = True
    if not finished:
        job.report(f"to go on: minillm train {kind.name} --out {job.folder.path} --resume")
    return finished


def _shown(records: Sequence[Record], number: str) -> str:
    """The means of the figures and, of several, their spread: the standard deviation."""
    shown = []
    for name in records[0]:
        values = [record[name] for record in records if name in record]
        if name in (number, "folds", "items") or len(values) < len(records):
            continue
        spread = f" ± {stdev(values):.4f}" if len(values) > 1 else ""
        figure = f"{mean(values):.4f}" if all(map(math.isfinite, values)) else "not finite"
        shown.append(f"{name.replace('_', ' ')} {figure}{spread}")
    return ", ".join(shown)
