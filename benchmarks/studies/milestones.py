"""Train the history of language models on one text, each for the same time.

The n-grams of orders 1 to 10, the neural n-gram, three recurrent networks (rnn, lstm, gru), a GPT,
a Transformer of today (qwen3) and two recurrences of today (min-gru, mamba) learn from the same
text, character by character.  They are measured in bits per character on its last tenth, which none
of them has seen.  Each of the nine networks is trained for M minutes, with the defaults of its
kind; counting takes a second.  Only qwen3-ngrams has vectors for n-grams of characters, as `train
decoder` has by default.

DIR gets the table (milestones.md), the losses by time (milestones.svg), all figures
(milestones.json), and a run for each model.  Ctrl-C saves and stops.  The same command again
continues: what is finished is kept.

examples:
  python -m benchmarks.studies.milestones --minutes 0.5
        on the Python language reference, which ships with every CPython; 5 minutes in all
  python -m benchmarks.studies.milestones shakespeare.txt --minutes 5 --out runs/shakespeare
        on a text of your own; 50 minutes in all
  minillm generate runs/milestones/gpt
        each model is a run
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

import minillm
from benchmarks.machine import processor
from minillm.cli import main
from minillm.cli.arguments import argument
from minillm.data import read_text, split_text
from minillm.data.files import STANDARD_INPUT, read_json, write_file
from minillm.data.registry import absolute
from minillm.errors import InputError, short
from minillm.metrics import bits
from minillm.option import option
from minillm.runs.folder import RunFolder, held
from minillm.runs.kind import find_kind
from minillm.runs.load import load
from minillm.runs.train import train_run
from minillm.training.checkpoints import Summary, reading_checkpoint

from . import pictures

# Each model is a run of its own, with the defaults of its kind, in the folder of its name.  When it
# is finished, it becomes a record of milestones.json.  So each is trained only once.  A run that
# was interrupted goes on where it stopped.

RESULTS, TABLE, PICTURE = "milestones.json", "milestones.md", "milestones.svg"
SAMPLE = 60  # characters
VALIDATIONS = 20  # points of a curve

Settings = dict[str, Any]
Results = dict[str, Any]  # the contents of milestones.json
Report = Callable[[str], None]

# The name of each model -> its kind, and the settings that are not defaults.
MODELS: dict[str, tuple[str, Settings]] = {
    f"{n}-gram": ("ngram", {"unit": "character", "order": n}) for n in range(1, 11)
} | {
    "neural-n-gram": ("neural-ngram", {}),
    "rnn": ("lm", {"cell": "rnn"}),
    "lstm": ("lm", {"cell": "lstm"}),
    "gru": ("lm", {"cell": "gru"}),
    "gpt": ("gpt", {}),
    "qwen3": ("decoder", {"ngrams": 1}),
    "qwen3-ngrams": ("decoder", {}),
    "min-gru": ("lm", {"cell": "min_gru", "layers": 2}),
    "mamba": ("mamba", {}),
}


def measure(
    out: str | Path,
    files: Sequence[str],
    length: Mapping[str, float],
    seed: int = 0,
    report: Report = print,
) -> Results | None:
    """Train and measure all that is missing in the folder ``out``; return the results.

    None if interrupted.  ``length`` limits each network's training: its ``minutes``, or its
    ``steps``.  InputError if the folder has milestones of another text, length or seed.
    """
    if STANDARD_INPUT in files:
        raise InputError("standard input: expected FILEs, because each model reads the text again")
    text = read_text(files)
    task: Settings = {
        "text": ", ".join(Path(name).name for name in files) or "the built-in corpus",
        "sha256": hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
        "characters": len(text),
        "held_out": len(split_text(text)[1]),
        **length,
        "seed": seed,
    }
    given = {"files": tuple(map(absolute, files))}
    folder = Path(out)
    with held(folder):
        results = _begun(folder, task)
        done = {record["name"] for record in results["models"]}
        for name, (kind, own) in MODELS.items():
            if name in done:
                continue
            settings = {**given, **own}
            if find_kind(kind).resumable:
                settings |= {**length, "seed": seed, "validations": VALIDATIONS}
            begin = time.perf_counter()
            if not _train(kind, folder / name, settings):
                return None
            seconds, characters = time.perf_counter() - begin, len(text) - task["held_out"]
            record = record_of(folder / name, seconds, characters, seed)
            results["models"].append({"name": name, **record})
            _save(folder, results)
            report(f"{name}: {record['bits_per_character']:.4f} bits per character")
    return results


def _begun(folder: Path, task: Mapping[str, Any]) -> Results:
    """The results so far.  InputError if they belong to another task."""
    path = folder / RESULTS
    if not path.exists():
        results = {**task, "machine": machine(), "models": []}
        _save(folder, results)
        return results
    results = read_json(path)
    for name, value in task.items():
        found = results.get(name)
        if name != "text" and found != value:
            raise InputError(
                f"{path}: expected milestones with {name} {value}, found {found}: give another "
                "--out, or delete the folder"
            )
    models = results.get("models")
    if not isinstance(models, list) or not all(isinstance(record, dict) for record in models):
        raise InputError(f"{path}: expected a list of models, found {short(models)}")
    names = [record.get("name") for record in models]
    if names != list(MODELS)[: len(names)]:
        raise InputError(f"{path}: expected the models {', '.join(MODELS)}, found {short(names)}")
    return results


def _save(folder: Path, results: Results) -> None:
    """Write all results, a model a line."""
    head = json.dumps({**results, "models": []}, indent=1, ensure_ascii=False)
    models = ",\n".join(json.dumps(record) for record in results["models"])
    text = head.replace('"models": []', f'"models": [\n{models}\n]')
    write_file(folder / RESULTS, text.encode() + b"\n")


def _train(kind: str, folder: Path, settings: Settings) -> bool:
    """Train a run, or what is left of it; return False if it was interrupted."""
    declared = find_kind(kind)
    resume = declared.resumable and (folder / "config.json").exists()
    if resume and _ended(summary_of(folder), settings):
        return True
    return train_run(
        declared,
        folder,
        {} if resume else settings,
        resume=resume,
        overwrite=not resume,
        report=lambda line: None,
        quiet=not declared.resumable,  # counting is shown by nothing, a training by its progress
    )


def _ended(summary: Summary, settings: Settings) -> bool:
    if "steps" in settings:
        return summary.step >= settings["steps"]
    return summary.seconds >= 60 * settings["minutes"]


# --- one model ---------------------------------------------------------------------------------


def record_of(folder: Path, seconds: float, characters: int, seed: int) -> Results:
    """The figures of a finished run.

    ``seconds`` and ``characters`` belong to counting; a network has stored its own.
    """
    run = load(folder)
    results = run.evaluate()
    record: Results = {
        "bits_per_character": results["bits_per_character"],
        "weights": sum(a.size for a in run.model.params.values() if a.dtype.kind == "f"),
    }
    validating = 0.0
    if run.kind.resumable:
        summary = summary_of(folder)
        seconds, characters = summary.seconds, summary.tokens
        validating = summary.validation_seconds
        record["curve"] = [
            (round(entry["seconds"], 3), round(bits(entry["validation_loss"]), 4))
            for entry in run.folder.read_metrics()
            if "validation_loss" in entry
        ]
    sample = " ".join("".join(run.write(length=SAMPLE, seed=seed)).split())
    return record | {
        "seconds": float(f"{seconds:.3g}"),  # counting may take milliseconds
        "characters_per_second": round(characters / max(1e-9, seconds - validating)),
        "sample": sample,
    }


def summary_of(folder: Path) -> Summary:
    """How far the training of a run has come."""
    run = RunFolder(folder)
    run.settle()
    _, values = run.load_resume()
    with reading_checkpoint(str(run.resume_path)):
        return msgspec.convert(values["progress"], Summary)


# --- the machine -------------------------------------------------------------------------------


def machine() -> str:
    """A line about the machine and the kernels that run on it."""
    cores = os.cpu_count() or 1
    kernels = minillm.kernels_info()["kernels"]
    return f"{processor()}, {cores} core{'s' * (cores != 1)}, {kernels} kernels"


# --- what is shown -----------------------------------------------------------------------------


def page(results: Results) -> str:
    """The table in Markdown, with the text and the machine above it and a verdict below."""
    models = results["models"]
    return "\n\n".join([title(results), table(models), verdict(models)]) + "\n"


def title(results: Results) -> str:
    """A line that says what the table is of."""
    length = f"{results['minutes']:g} minutes" if "minutes" in results else ""
    length = length or f"{results['steps']:,} steps"
    return (
        f"On {results['text']}: bits per character on the last {results['held_out']:,} of its "
        f"{results['characters']:,} characters; each network was trained for {length} "
        f"({results['machine']})"
    )


def table(models: Iterable[Mapping[str, Any]]) -> str:
    """The records as a table in Markdown."""
    rows = [["model", "bits per character", "weights", "seconds", "characters a second", "sample"]]
    rows.append(["---", "---:", "---:", "---:", "---:", "---"])
    for record in models:
        seconds = record["seconds"]
        rows.append(
            [
                record["name"],
                f"{record['bits_per_character']:.4f}",
                f"{record['weights']:,}",
                f"{seconds:.1f}" if seconds < 100 else f"{seconds:,.0f}",
                f"{record['characters_per_second']:,}",
                _code(record["sample"]),
            ]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _code(text: str) -> str:
    """A text as code within a cell of a table."""
    fence = "``" if "`" in text else "`"
    space = " " if fence == "``" else ""
    return f"{fence}{space}{text}{space}{fence}".replace("|", "\\|")


def verdict(models: Sequence[Mapping[str, Any]]) -> str:
    """A line that sets the networks beside the best n-gram."""
    loss = {record["name"]: record["bits_per_character"] for record in models}
    counted = {name: loss[name] for name in loss if MODELS[name][0] == "ngram"}
    best = min(counted, key=lambda name: counted[name])
    better = sorted((x, name) for name, x in loss.items() if x < loss[best])
    names = ", ".join(name for _, name in better) or "no network"
    return f"the best n-gram is the {best}, with {loss[best]:.4f}; better than it: {names}"


# --- the program -----------------------------------------------------------------------------


def run(
    files: list[str] = argument(
        "UTF-8 text, any number of files (default: the built-in corpus)", "FILE", ()
    ),
    minutes: float = option(1.0, "train each network for M minutes", "M", above=0, most=1e6),
    steps: int | None = option(
        None, "train for N steps instead", "N", least=1, most=10**12, rare=True
    ),
    out: str = option("runs/milestones", "the folder of the results", "DIR"),
    seed: int = option(
        0, "seed of the first weights, and of the samples", "N", least=0, most=2**63 - 1
    ),
) -> int:
    """Train what is missing, print the table, and draw the losses."""
    length = {"steps": steps} if steps else {"minutes": minutes}
    results = measure(out, files, length, seed)
    if results is None:
        print("to continue: the same command again")
        return 130
    text, folder = page(results), Path(out)
    print(f"\n{text}")
    write_file(folder / TABLE, text.encode("utf-8", "surrogatepass"))
    try:
        write_file(folder / PICTURE, pictures.milestones(results["models"]))
    except InputError as error:
        print(f"losses by time: not drawn: {error}")
    else:
        print(f"losses by time: {folder / PICTURE}")
    return 0


if __name__ == "__main__":
    sys.exit(main(program=sys.modules[__name__]))
