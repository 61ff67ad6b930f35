"""The learning curve: how accurate classifiers are that have learnt from ever more labels.

For each seed the labelled texts are put in order, and the first n of them are all that a training
of n labels is given: one of each label at least, in the shares that they have in the whole, and
those of a smaller n among those of a larger.  A fifth of the n are held out of it, to tell when to
stop.  Then it is measured on test texts that no training sees.  TF-IDF with logistic regression
learns from all n, for it needs nothing to stop it.

Each training is a line of ``results.jsonl``, with all that it follows from: its settings, its seed
and a digest of the data.  So each is done once: after an interruption, or with more sizes, seeds
or ways to begin, only what is missing is trained.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minillm.errors import InputError
from minillm.runs.lock import held
from minillm.runs.tfidf import by_tfidf, has_sklearn

if TYPE_CHECKING:
    from minillm.data.labelled import Labelled

VALIDATION = 5  # every fifth text of a label is held out of a training
TEST = 10  # every tenth is the test, where there is no other
STREAM = 2  # the order of the texts has random numbers of its own
TFIDF = "TF-IDF"
RESULTS, PICTURE = "results.jsonl", "curve.png"

Settings = dict[str, Any]
Report = Callable[[str], None]


def measure(
    out: str | Path,
    data: str,
    test: str | None,
    sizes: Sequence[int],
    seeds: int,
    lines: Mapping[str, Settings],
    report: Report = print,
) -> bool:
    """Trains and measures all that is missing in the folder ``out``; False if interrupted.

    ``lines`` are the names of the curve's lines, and the settings of ``train classifier`` that
    each has.  InputError, before anything is trained, for sizes that the data cannot have, and for
    runs or vectors that cannot be opened.
    """
    labelled, held_out = split(data, test)
    check_sizes(sizes, labelled, data)
    for settings in lines.values():
        check_line(settings)
    digest = digest_of(labelled, held_out)
    wanted = {TFIDF: {"model": TFIDF}, **lines} if has_sklearn() else dict(lines)
    if TFIDF not in wanted:
        report("TF-IDF is left out: it needs the package scikit-learn")
    folder = Path(out)
    with held(folder):
        done = read_results(folder)
        for seed in range(seeds):
            for size in sizes:
                part = subset(labelled, size, seed)
                for name, settings in wanted.items():
                    key = {"labels": size, "seed": seed, "settings": settings, "data": digest}
                    if any(key.items() <= record.items() for record in done):  # they have all of it
                        continue
                    start = time.perf_counter()
                    if name == TFIDF:
                        found: Any = by_tfidf(part, held_out)
                    else:
                        found = by_training(folder, part, held_out, {**settings, "seed": seed})
                    if found is None:
                        return False
                    seconds = round(time.perf_counter() - start, 2)
                    done.append({"line": name, **found, "seconds": seconds, **key})
                    save_results(folder, done)
                    report(f"{size:,} labels, seed {seed}, {name}: {found['accuracy']:.1%}")
    return True


# --- data ------------------------------------------------------------------------------------


def split(data: str, test: str | None) -> "tuple[list[Labelled], list[Labelled]]":
    """The texts to learn from and those to measure on.  InputError for a label of these alone."""
    from minillm.data.labelled import read_labelled
    from minillm.data.subsets import hold_out

    labelled = list(read_labelled(data))
    if test is None:
        return hold_out(labelled, TEST)
    held_out = list(read_labelled(test))
    known = {label for label, _ in labelled}
    for number, (label, _) in enumerate(held_out, start=1):
        if label not in known:
            raise InputError(
                f"{test}, text {number}: expected a label that {data} has, found {label!r}"
            )
    return labelled, held_out


def check_sizes(sizes: Sequence[int], labelled: "Sequence[Labelled]", data: str) -> None:
    """InputError for a size at which a label is missing or nothing is held out, or beyond all."""
    from minillm.data.subsets import hold_out

    for size in sizes:
        if size > len(labelled):
            raise InputError(
                f"--sizes: expected at most the {len(labelled):,} texts of {data}, found {size}"
            )
        labels = len({label for label, _ in labelled})
        if size < labels or not hold_out(subset(labelled, size, 0), VALIDATION)[1]:
            raise InputError(
                f"--sizes: expected at least one text of each of the {labels} labels, and "
                f"{VALIDATION} of some label; found {size}"
            )


def check_line(settings: Settings) -> None:
    """InputError where what a line's trainings need cannot be opened."""
    from minillm.runs.augmentation import open_methods
    from minillm.runs.initial import begun, forgotten
    from minillm.runs.kind import find_kind
    from minillm.runs.kinds.classifier import read_vectors
    from minillm.runs.settings import make

    kind = find_kind("classifier")
    with forgotten():
        chosen: Any = make(kind.settings, begun(kind, settings))
    if chosen.vectors:
        read_vectors(chosen.vectors)
    if chosen.augment:
        open_methods(chosen)


def subset(labelled: "Sequence[Labelled]", size: int, seed: int) -> "list[Labelled]":
    """The first texts of the seed's order."""
    import numpy as np

    from minillm.data.subsets import nested_order

    rng = np.random.default_rng([seed, STREAM])
    return [labelled[row] for row in nested_order([label for label, _ in labelled], rng)[:size]]


def digest_of(*parts: "Sequence[Labelled]") -> str:
    """A digest of labelled texts."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


# --- one training ------------------------------------------------------------------------------


def by_training(
    folder: Path, part: "Sequence[Labelled]", held_out: "Sequence[Labelled]", settings: Settings
) -> dict[str, float] | None:
    """The measures of a classifier that has learnt from ``part``; None if it was interrupted."""
    from minillm.data.files import temporary_folder, write_file
    from minillm.data.subsets import hold_out
    from minillm.runs.kind import Evaluation, find_kind
    from minillm.runs.run import load
    from minillm.runs.start import start

    training, validation = hold_out(part, VALIDATION)
    with temporary_folder(folder, ".training.") as place:
        files = {"data": training, "validation": validation, "test": held_out}
        for name, texts in files.items():
            lines = "".join(f"{label}\t{text}\n" for label, text in texts)
            write_file(place / f"{name}.tsv", lines.encode())
        given = settings | {n: str(place / f"{n}.tsv") for n in ("data", "validation")}
        kind = find_kind("classifier")
        if not start(kind, place / "run", given, report=lambda line: None, quiet=True):
            return None
        run = load(place / "run")
        found = run.evaluate(Evaluation(files=(str(place / "test.tsv"),)))
    return {name: found[name] for name in ("accuracy", "macro_f1", "nats_per_item")}


# --- results -----------------------------------------------------------------------------------


def read_results(folder: Path) -> list[dict[str, Any]]:
    """The lines of results.jsonl.  InputError, with the line's number, for one that is damaged."""
    from minillm.data.files import bounded_lines, json_object, reading

    path = folder / RESULTS
    if not path.exists():
        return []
    records = []
    with reading(path) as file:
        for number, line in enumerate(bounded_lines(file, str(path)), start=1):
            place = f"{path}, line {number}"
            record = json_object(line, place)
            for name in ("labels", "seed", "accuracy"):
                if not isinstance(record.get(name), int | float):
                    raise InputError(f"{place}: expected a number {name!r}")
            records.append(record)
    return records


def save_results(folder: Path, records: Sequence[dict[str, Any]]) -> None:
    """Writes all lines anew, for they are few: whatever happens, the file is whole."""
    from minillm.data.files import write_file

    write_file(folder / RESULTS, "".join(json.dumps(r) + "\n" for r in records).encode())


def points(
    folder: str | Path,
    data: str,
    test: str | None,
    sizes: Sequence[int],
    seeds: int,
    lines: Mapping[str, Settings],
) -> dict[str, dict[int, list[float]]]:
    """For each line, and each of the sizes, the accuracies of the seeds that are done, in order."""
    digest, records = digest_of(*split(data, test)), read_results(Path(folder))
    found: dict[str, dict[int, list[float]]] = {}
    for name, settings in {TFIDF: {"model": TFIDF}, **lines}.items():
        for size in sizes:
            accuracies = [
                record["accuracy"]
                for record in sorted(records, key=lambda record: record["seed"])
                if record.get("data") == digest and record.get("settings") == settings
                if record["labels"] == size and record["seed"] < seeds
            ]
            if accuracies:
                found.setdefault(name, {})[size] = accuracies
    return found


def table(found: Mapping[str, Mapping[int, Sequence[float]]]) -> str:
    """Mean and standard deviation of the accuracies, in percent, as a table in Markdown."""
    import numpy as np

    sizes = sorted({size for line in found.values() for size in line})
    rows = [["labels", *(f"{size:,}" for size in sizes)], ["---"] + ["---:"] * len(sizes)]
    for name, line in found.items():
        cells = []
        for size in sizes:
            values = 100 * np.array(line.get(size, []))
            spread = f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else ""
            cells.append(f"{values.mean():.1f}{spread}" if len(values) else "")
        rows.append([name, *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
