"""Several trainings for one run, with different seeds, which show how much of a figure is luck.

The run itself is trained first, then the others, one after the other, each in a folder inside the
run's.  At the end of each, its figures become a line of ``seeds.jsonl``.  The run with the best
validation loss is kept, and the other folder is deleted.  So each is trained once, and an
interrupted one is resumed from its own checkpoint, bit for bit.
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
from minillm.runs.stored import read_config, save_config

SEEDS, METRICS = "seeds.jsonl", "metrics.jsonl"

Record = dict[str, Any]
TrainOnce = Callable[[Kind, Job], bool]  # trains one run; False if it was interrupted


def train(kind: Kind, job: Job, train_once: TrainOnce) -> bool:
    """Train the run, then with other seeds; return False if interrupted."""
    seeds = getattr(job.settings, "seeds", None) or 1
    try:
        if not train_once(kind, job):
            return False
    except Complete:
        if len(_lines(job.folder, SEEDS)) >= seeds or seeds == 1:
            raise
        stored = read_config(job.folder, kind)  # only the seeds of a complete run may change
        save_config(job.folder, replace(stored, settings=replace(stored.settings, seeds=seeds)))
    return _over_seeds(kind, job, seeds, train_once) if seeds > 1 else True


def _over_seeds(kind: Kind, job: Job, count: int, train_once: TrainOnce) -> bool:
    records = _lines(job.folder, SEEDS)
    if not records:
        records.append({"seed": job.settings.seed, **_best(job.folder)})
        job.folder.append_line(SEEDS, records[0])
    first = records[0]["seed"]
    for seed in range(first, first + count):
        if seed not in [record["seed"] for record in records]:
            place = RunFolder(job.folder.path / f"seed-{seed}")
            if not _train_one(kind, job, place, seed, train_once):
                return False
            records.append({"seed": seed, **_best(place)})
            job.folder.append_line(SEEDS, records[-1])
            job.report(f"seed {seed}: {_means(records[-1:])}")
        _keep_the_best(job.folder, records, seed)
    job.report(f"{count} seeds: {_means(records[:count])}")
    best = min(records, key=lambda record: record["validation_loss"])
    job.report(f"the run with the best validation loss remains: seed {best['seed']}")
    return True


def _lines(folder: RunFolder, name: str) -> list[Record]:
    """Return the lines of a file, which only rank 0 reads and writes, on all ranks."""
    return ranks().broadcast(folder.read_lines(name))


def _best(folder: RunFolder) -> Record:
    """Return the figures of a run's best validation."""
    records = [record for record in _lines(folder, METRICS) if "validation_loss" in record]
    best = min(records, key=lambda record: record["validation_loss"])
    return {name: value for name, value in best.items() if name not in ("seconds", "step")}


def _keep_the_best(folder: RunFolder, records: Sequence[Record], seed: int) -> None:
    """Replace the run by that of the seed, if that is better; else delete that of the seed."""
    place = RunFolder(folder.path / f"seed-{seed}")
    if ranks().rank > 0 or not place.path.is_dir():
        return
    if min(records, key=lambda record: record["validation_loss"])["seed"] == seed:
        folder.take(place, keep=(SEEDS,))
    shutil.rmtree(place.path, ignore_errors=True)


def _train_one(kind: Kind, job: Job, place: RunFolder, seed: int, train_once: TrainOnce) -> bool:
    """Train with one seed, from its checkpoint if there is one."""
    place.attached = job.folder.data_files()
    with place.held_for_all():
        stored = read_config(place, kind) if (place.path / "config.json").exists() else None
        if stored:
            data = stored.data
        else:  # the paths of the data, without the facts about them
            own = {n for n in types_of(kind.settings) if option_of(kind.settings, n).data}
            data = {name: value for name, value in job.data.items() if name in own}
        settings = replace(job.settings, seed=seed)
        one = Job(place, settings, data, stored, lambda line: None, quiet=True)
        try:
            finished = train_once(kind, one)
        except Complete:  # a kill came after its end, before the line about it
            finished = True
    if not finished:
        job.report(f"to continue: {job.resume_command}")
    return finished


def _means(records: Sequence[Record]) -> str:
    """Return the means of the figures and, for several, their standard deviations."""
    shown = []
    for name in records[0]:
        values = [record[name] for record in records if name in record]
        if name == "seed" or len(values) < len(records):
            continue
        spread = f" ± {stdev(values):.4f}" if len(values) > 1 else ""
        figure = f"{mean(values):.4f}" if all(map(math.isfinite, values)) else "not finite"
        shown.append(f"{name.replace('_', ' ')} {figure}{spread}")
    return ", ".join(shown)
