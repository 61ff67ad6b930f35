"""Tabulate the accuracy of classifiers by the number of labels.

    python -m benchmarks.studies.curve DATA --out DIR [--test DATA] [--sizes 50 100 ...] [--seeds 5]
                                       [--init RUN RUN ...]

DATA is a file of lines label<TAB>text, or a folder.  Classifiers are trained with more and more of
its texts, and measured on texts that none of them sees: those of --test or, by default, every tenth
text of each label.  One line shows TF-IDF with logistic regression, one `train classifier`, and one
`finetune` of each RUN.  All are trained with several seeds, each of which also draws its own texts.
Every result is a line of DIR/results.jsonl: the same command, or one with more sizes, seeds or
runs, trains only missing results.
"""

import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import command
from minillm.data.files import write_file
from minillm.data.labelled import Labelled, read_labelled, with_held_out
from minillm.errors import InputError
from minillm.runs.kind import find_kind
from minillm.runs.kinds.labels import by_tfidf
from minillm.runs.load import load
from minillm.runs.train import train_run

# For each seed, the labelled texts are put in order, and a training with n labels gets the first n
# of them.  These have the same shares of labels as the whole, and at least one text of each.  A
# fifth of the n is held out, to decide when to stop.  TF-IDF with logistic regression learns from
# all n, because it does not need early stopping.

VALIDATION = 5  # every fifth text of a label is held out of a training
TEST = 10  # every tenth text of a label is for the test, if there is no test set
STREAM = 2  # of random numbers, for the order of the texts
TFIDF = "TF-IDF"

Settings = dict[str, Any]
Accuracies = dict[str, dict[int, list[float]]]  # of each line, by the number of labels


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser(__doc__)
    parser.add_argument("data", metavar="DATA")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--test", metavar="DATA")
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 100, 300, 1000], metavar="N")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--init", nargs="+", default=[], metavar="RUN")
    parser.add_argument("--steps", type=int, help="of each training, to try the program")
    args = parser.parse_args(arguments)
    common = {} if args.steps is None else {"steps": args.steps}
    lines: dict[str, Settings] = {TFIDF: {"kind": TFIDF}, "n-grams": {"kind": "classifier"}}
    for path in map(Path, args.init):
        lines[f"from {path.resolve().name}"] = {"kind": "finetuned", "init": str(path.resolve())}
    lines |= {name: line | common for name, line in lines.items() if name != TFIDF}
    try:
        results = measure(args.out, args.data, args.test, sorted(args.sizes), args.seeds, lines)
        if results is None:
            print("to continue: the same command again")
            return 130
        print(f"accuracy in percent, mean and standard deviation of {args.seeds} seeds:\n")
        print(table(results))
    except InputError as error:
        print(f"benchmarks.studies.curve: {error}", file=sys.stderr)
        return 2
    return 0


def measure(
    out: Path,
    data: str,
    test: str | None,
    sizes: Sequence[int],
    seeds: int,
    lines: Mapping[str, Settings],
) -> Accuracies | None:
    """Train all that is missing in the folder ``out``; return the accuracies by line and size.

    None if interrupted.  ``lines`` are the settings of each line, with their ``kind``.  InputError
    for sizes that the data cannot have, before anything is trained.
    """
    labelled, held_out = split(data, test)
    check_sizes(sizes, labelled, data)
    digest = hashlib.sha256(json.dumps([labelled, held_out]).encode()).hexdigest()[:16]
    path, accuracies = out / "results.jsonl", Accuracies()
    out.mkdir(parents=True, exist_ok=True)
    records = [*map(json.loads, path.read_text().splitlines())] if path.exists() else []
    for seed in range(seeds):
        for size in sizes:
            part = subset(labelled, size, seed)
            for name, settings in lines.items():
                key = {"labels": size, "seed": seed, "settings": settings, "data": digest}
                done = [record for record in records if key.items() <= record.items()]
                if not done:
                    begin = time.perf_counter()
                    results = by_training(out, part, held_out, {**settings, "seed": seed})
                    if results is None:
                        return None
                    seconds = round(time.perf_counter() - begin, 2)
                    done = [{"line": name, **results, "seconds": seconds, **key}]
                    records += done
                    write_file(path, "".join(json.dumps(r) + "\n" for r in records).encode())
                    print(f"{size:,} labels, seed {seed}, {name}: {results['accuracy']:.1%}")
                of_line = accuracies.setdefault(name, {})
                of_line.setdefault(size, []).append(done[0]["accuracy"])
    return accuracies


def by_training(
    folder: Path, part: Sequence[Labelled], held_out: Sequence[Labelled], settings: Settings
) -> dict[str, float] | None:
    """The measures of a classifier trained on ``part``; None if interrupted."""
    given = dict(settings)
    kind = given.pop("kind")
    if kind == TFIDF:
        return {"accuracy": by_tfidf(part, held_out)}
    training, validation = hold_out(part, VALIDATION)
    with tempfile.TemporaryDirectory(prefix=".training.", dir=folder) as scratch:
        files = {}
        for name, texts in (("data", training), ("validation", validation), ("test", held_out)):
            files[name] = Path(scratch, f"{name}.tsv")
            files[name].write_text("".join(f"{label}\t{text}\n" for label, text in texts))
        given |= {name: str(files[name]) for name in ("data", "validation")}
        run, options = Path(scratch, "run"), {"report": lambda line: None, "quiet": True}
        if not train_run(find_kind(kind), run, given, **options):
            return None
        results = load(run).evaluate(files=[files["test"]])
    return {name: results[name] for name in ("accuracy", "macro_f1", "nats_per_item")}


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


# --- the table -------------------------------------------------------------------------------


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


if __name__ == "__main__":
    sys.exit(main())
