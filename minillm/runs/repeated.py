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
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import mean, stdev
from typing import Any

from minillm.mpi import ranks
from minillm.runs.folder import RunFolder
from minillm.runs.kind import Complete, Job, Kind
from minillm.runs.settings import option_of, types_of
from minillm.runs.stored import read_config

SEEDS, METRICS = "seeds.jsonl", "metrics.jsonl"

Record = dict[str, Any]
TrainOnce = Callable[[Kind, Job], bool]  # trains one run; False if it was interrupted


def train(kind: Kind, job: Job, train_once: TrainOnce) -> bool:
    """Trains the run, then whatever it is to be repeated with; False if it was interrupted."""
    seeds = getattr(job.settings, "seeds", None) or 1
    try:
        if not train_once(kind, job):
            return False
    except Complete:
        if len(_lines(job.folder, SEEDS)) >= seeds or seeds == 1:
            raise
        _store(job, seeds=seeds)
    return _over_seeds(kind, job, seeds, train_once) if seeds > 1 else True


def _store(job: Job, **settings: int) -> None:
    """Writes how often a run is repeated, which is all that may change of a complete one."""
    config = job.folder.load_json("config.json")
    known = {name: n for name, n in settings.items() if hasattr(job.settings, name)}
    config["training"] |= {name: n if n > 1 else None for name, n in known.items()}
    job.folder.save_json("config.json", config)


# --- seeds -----------------------------------------------------------------------------------


def _over_seeds(kind: Kind, job: Job, count: int, train_once: TrainOnce) -> bool:
    records = _lines(job.folder, SEEDS)
    if not records:
        records.append({"seed": job.settings.seed, **_best(job.folder)})
        job.folder.append_line(SEEDS, records[0])
    first = records[0]["seed"]
    for seed in range(first, first + count):
        if seed not in [record["seed"] for record in records]:
            place = RunFolder(job.folder.path / f"seed-{seed}")
            given = replace(job.settings, seed=seed)
            if not _train_one(kind, job, place, given, dict(job.data), train_once):
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


# --- both ------------------------------------------------------------------------------------


def _lines(folder: RunFolder, name: str) -> list[Record]:
    """The lines of a file as rank 0, which writes it, reads them: they say what is left to do."""
    return ranks().broadcast(folder.read_lines(name))


def _train_one(
    kind: Kind,
    job: Job,
    place: RunFolder,
    settings: Any,
    data: dict[str, Any],
    train_once: TrainOnce,
) -> bool:
    """Trains one of several, from its own checkpoint if there is one."""
    place.attached = job.folder.data_files()
    with place.held_for_all():
        stored = read_config(place, kind) if (place.path / "config.json").exists() else None
        if stored:
            data = stored.data
        else:  # where the data are and what --augment needs, and nothing that is known of them
            own = {n for n in types_of(kind.settings) if option_of(kind.settings, n).data}
            own.add("augment")
            data = {name: value for name, value in data.items() if name in own}
        one = Job(place, settings, data, stored, lambda line: None, quiet=True)
        try:
            finished = train_once(kind, one)
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
