"""Plot the accuracy of classifiers by the number of labels.

Train classifiers with more and more of the labelled texts in DATA, measure them on texts that none
of them sees, and compare their accuracies with TF-IDF and logistic regression (if scikit-learn is
installed).  One line shows train classifier; --vectors adds a line for train recurrent-classifier,
and --init a line for finetune of each run.  All are trained with several seeds, each of which also
draws its own texts.  Every result is a line of
DIR/results.jsonl: the same command, or one with more sizes, seeds or lines, trains only missing
results.

examples:
  python -m benchmarks.studies.curve questions.tsv --test questions.test.tsv --out curves/questions
  python -m benchmarks.studies.curve reviews.tsv --out curves/reviews --sizes 50,100,200,400 \\
      --seeds 3 --init runs/bert
  python -m benchmarks.studies.curve questions.tsv --test questions.test.tsv \\
      --out curves/questions --vectors vectors.bin
"""

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from minillm.cli import main
from minillm.cli.arguments import Given, argument, given
from minillm.data.files import bounded_lines, json_object, reading, write_file
from minillm.data.labelled import Labelled, read_labelled, with_held_out
from minillm.data.registry import absolute
from minillm.errors import InputError
from minillm.option import option, types_of
from minillm.runs.folder import held
from minillm.runs.kind import find_kind
from minillm.runs.kinds.labels import TextClassifierSettings, by_tfidf, open_vectors
from minillm.runs.load import load
from minillm.runs.settings import LoRASettings
from minillm.runs.train import new_settings, train_run

from . import pictures

# For each seed, the labelled texts are put in order, and a training with n labels gets the first n
# of them.  These have the same shares of labels as the whole, and at least one text of each.  A
# fifth of the n is held out, to decide when to stop.  The accuracy is measured on test texts that
# no training sees.  TF-IDF with logistic regression learns from all n, because it does not need
# early stopping.  Each training is a line of results.jsonl, with everything that determines it: its
# settings, its seed and a digest of the data.

VALIDATION = 5  # every fifth text of a label is held out of a training
TEST = 10  # every tenth text of a label is for the test, if there is no test set
STREAM = 2  # of random numbers, for the order of the texts
TFIDF = "TF-IDF"
RESULTS, PICTURE = "results.jsonl", "curve.png"
OWN = ("data", "validation", "seed", "init")  # the curve sets these itself
LABELS = "50,100,300,1000"

Settings = dict[str, Any]
Accuracies = dict[str, dict[int, list[float]]]  # of each line, by the number of labels
Report = Callable[[str], None]


def has_sklearn() -> bool:
    """Whether scikit-learn is installed."""
    return find_spec("sklearn") is not None


@dataclass(frozen=True)
class CurveSettings(TextClassifierSettings, LoRASettings):
    """Settings of the classifiers of a curve: each has its own defaults."""

    vectors: str | None = option(
        None,
        "a line for recurrent classifiers that begin with these word vectors",
        "FILE",
        default_help="",
    )


def lines_of(given: Mapping[str, Any], runs: Sequence[str]) -> dict[str, Settings]:
    """The lines of a curve by name: the kind, and the settings that differ from defaults.

    There is one line for n-grams, one for ``vectors``, and one for each run to fine-tune.
    """
    of_tuning = types_of(LoRASettings)
    common = {n: v for n, v in given.items() if n not in ("vectors", *of_tuning)}
    lines = {"n-grams": common | {"kind": "classifier"}}
    vectors = absolute(given["vectors"]) if given.get("vectors") else None
    if vectors:
        lines["word vectors"] = common | {"kind": "recurrent-classifier", "vectors": vectors}
    tuning = {n: v for n, v in given.items() if n in of_tuning}
    for path in runs:
        name = f"from {Path(path).resolve().name}"
        if name in lines:
            raise InputError(f"--init: expected folders of different names, found {name[5:]} again")
        lines[name] = common | tuning | {"kind": "finetuned", "init": absolute(path)}
    return lines


def measure(
    out: str | Path,
    data: str,
    test: str | None,
    sizes: Sequence[int],
    seeds: int,
    lines: Mapping[str, Settings],
    report: Report = print,
) -> Accuracies | None:
    """Train all that is missing in the folder ``out``; return the accuracies by line and size.

    None if interrupted.  ``lines`` are the settings of each line, with their ``kind``, by default
    "classifier".
    InputError, before anything is trained, for sizes that the data cannot have, and for runs or
    vectors that cannot be opened.
    """
    labelled, held_out = split(data, test)
    check_sizes(sizes, labelled, data)
    for settings in lines.values():
        check_line(settings)
    digest = digest_of(labelled, held_out)
    trainings = {TFIDF: {"kind": TFIDF}, **lines} if has_sklearn() else dict(lines)
    if TFIDF not in trainings:
        report("TF-IDF is left out: it needs the package scikit-learn")
    folder, accuracies = Path(out), Accuracies()
    with held(folder):
        records = read_results(folder)
        for seed in range(seeds):
            for size in sizes:
                part = subset(labelled, size, seed)
                for name, settings in trainings.items():
                    key = {"labels": size, "seed": seed, "settings": settings, "data": digest}
                    done = [record for record in records if key.items() <= record.items()]
                    if not done:
                        begin = time.perf_counter()
                        results = (
                            {"accuracy": by_tfidf(part, held_out)}
                            if name == TFIDF
                            else by_training(folder, part, held_out, {**settings, "seed": seed})
                        )
                        if results is None:
                            return None
                        seconds = round(time.perf_counter() - begin, 2)
                        done = [{"line": name, **results, "seconds": seconds, **key}]
                        records += done
                        save_results(folder, records)
                        report(f"{size:,} labels, seed {seed}, {name}: {results['accuracy']:.1%}")
                    of_line = accuracies.setdefault(name, {})
                    of_line.setdefault(size, []).append(done[0]["accuracy"])
    return accuracies


# --- data ------------------------------------------------------------------------------------


def split(data: str, test: str | None) -> tuple[list[Labelled], list[Labelled]]:
    """Training and test texts.  InputError for a label that only test texts have."""
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


def check_sizes(sizes: Sequence[int], labelled: Sequence[Labelled], data: str) -> None:
    """InputError for a size that is too large, lacks a label, or leaves nothing to hold out."""
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
    """InputError if the settings of a line are wrong, or their runs or vectors cannot be opened."""
    kind = find_kind(settings.get("kind", "classifier"))
    given = {name: value for name, value in settings.items() if name != "kind"}
    new_settings(kind, given, load(given["init"]) if given.get("init") else None)
    if given.get("vectors"):
        open_vectors(given["vectors"])


def subset(labelled: Sequence[Labelled], size: int, seed: int) -> list[Labelled]:
    """The first ``size`` texts in the order of the seed."""
    rng = np.random.default_rng([seed, STREAM])
    return [labelled[row] for row in nested_order([label for label, _ in labelled], rng)[:size]]


def nested_order(labels: Sequence[str], rng: np.random.Generator) -> list[int]:
    """An order of the rows in which the first n, for any n, have the same shares of labels.

    The rows of each label are shuffled and spread evenly over the order; rows at the same place are
    in random order.  One row of each label comes first: no label is missing if n is at least the
    number of labels.

    >>> order = nested_order(list("aabaabaab"), np.random.default_rng(0))
    >>> "".join("aabaabaab"[row] for row in order[:6])
    'baaaba'
    """
    place = np.empty(len(labels))
    kinds = np.asarray(labels)
    for label in sorted(set(labels)):
        rows = rng.permutation(np.flatnonzero(kinds == label))
        place[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
        place[rows[0]] = 0
    return np.lexsort([rng.random(len(labels)), place]).tolist()


def hold_out(labelled: Sequence[Labelled], every: int) -> tuple[list[Labelled], list[Labelled]]:
    """Split off validation texts: every second, third, ... text of each label."""
    rows = list(with_held_out(labelled, every))
    training = [row for held_out, row in rows if not held_out]
    return training, [row for held_out, row in rows if held_out]


def digest_of(*parts: Sequence[Labelled]) -> str:
    """A digest of labelled texts."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


# --- one training ------------------------------------------------------------------------------


def by_training(
    folder: Path, part: Sequence[Labelled], held_out: Sequence[Labelled], settings: Settings
) -> dict[str, float] | None:
    """The measures of a classifier trained on ``part``; None if interrupted."""
    training, validation = hold_out(part, VALIDATION)
    given = dict(settings)
    with tempfile.TemporaryDirectory(prefix=".training.", dir=folder) as name:
        place = Path(name)
        files = {"data": training, "validation": validation, "test": held_out}
        for name, texts in files.items():
            lines = "".join(f"{label}\t{text}\n" for label, text in texts)
            write_file(place / f"{name}.tsv", lines.encode())
        given |= {n: str(place / f"{n}.tsv") for n in ("data", "validation")}
        kind = find_kind(given.pop("kind", "classifier"))
        if not train_run(kind, place / "run", given, report=lambda line: None, quiet=True):
            return None
        results = load(place / "run").evaluate(files=[place / "test.tsv"])
    return {name: results[name] for name in ("accuracy", "macro_f1", "nats_per_item")}


# --- results -----------------------------------------------------------------------------------


def read_results(folder: Path) -> list[dict[str, Any]]:
    """The lines of results.jsonl.  InputError names one that is damaged."""
    path = folder / RESULTS
    if not path.exists():
        return []
    records = []
    with reading(path, regular=True) as file:
        for number, line in enumerate(bounded_lines(file, str(path)), start=1):
            place = f"{path}, line {number}"
            record = json_object(line, place)
            for name in ("labels", "seed", "accuracy"):
                if not isinstance(record.get(name), int | float):
                    raise InputError(f"{place}: expected a number {name!r}")
            records.append(record)
    return records


def save_results(folder: Path, records: Sequence[dict[str, Any]]) -> None:
    """Write all lines again: whatever happens, the file is complete."""
    write_file(folder / RESULTS, "".join(json.dumps(r) + "\n" for r in records).encode())


def table(results: Mapping[str, Mapping[int, Sequence[float]]]) -> str:
    """Mean and standard deviation of the accuracies, in percent, as a table in Markdown."""
    sizes = sorted({size for line in results.values() for size in line})
    rows = [["labels", *(f"{size:,}" for size in sizes)], ["---"] + ["---:"] * len(sizes)]
    for name, line in results.items():
        cells = []
        for size in sizes:
            values = 100 * np.array(line.get(size, []))
            spread = f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else ""
            cells.append(f"{values.mean():.1f}{spread}" if len(values) else "")
        rows.append([name, *cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


# --- the program -----------------------------------------------------------------------------


def run(
    data: str = argument("a file of lines label<TAB>text, or a folder", "DATA"),
    out: str = option(MISSING, "the folder of the results and the plot", "DIR"),
    test: str | None = option(
        None,
        "test texts (default: every tenth of each label, which is not used for training)",
        "DATA",
    ),
    sizes: str = option(LABELS, "numbers of labels", "N,N,..."),
    seeds: int = option(5, "trainings for each point", "N", least=1, most=1000),
    init: list[str] = option((), "fine-tune these runs, with a line for each", "DIR"),
    chosen: Given = given(CurveSettings, without=OWN),
) -> int:
    """Train missing results, print the table, and draw the plot."""
    lines = lines_of(chosen, init)
    results = measure(out, data, test, sizes_of(sizes), seeds, lines)
    if results is None:
        print("to continue: the same command again")
        return 130
    print(f"accuracy in percent, mean and standard deviation of {seeds} seeds:\n")
    print(table(results))
    path = Path(out) / PICTURE
    try:
        write_file(path, pictures.learning_curve(results))
    except InputError as error:
        print(f"\nlearning curve: not drawn: {error}")
    else:
        print(f"\nlearning curve: {path}")
    return 0


def sizes_of(text: str) -> list[int]:
    """The numbers of labels, in order.  InputError for anything else."""
    numbers = text.split(",")
    if not all(n.strip().isdecimal() and len(n) < 10 and int(n) > 0 for n in numbers):
        raise InputError(f"--sizes: expected whole numbers with commas between, found {text!r}")
    return sorted({int(n) for n in numbers})


if __name__ == "__main__":
    sys.exit(main(program=sys.modules[__name__]))
