"""How well ``train qa`` answers questions about modules that it has not seen.

    python -m benchmarks.question_answering [--readers whole bert] [--seeds 0 1 2] [--steps N]

Readers are

    whole      the recurrent reader, with the defaults
    no-flow    the same, but that question and context do not look at each other
    no-match   the same, but that no token knows whether it stands in the question
    bert       a Transformer of ``--encoder bert``, from scratch
    words      no reader: the clause behind the one that shares the most words with the question

Each is trained for --steps or --minutes (by default the 5 of ``train qa``) and measured on the
test part of the built-in set: exact match and F1, of all questions and of each kind.  ``answer``
is timed with one question after the other, each about its own page.  What has been measured is
kept in --out, a line for each run, and not measured again.
"""

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

import minillm
from minillm.cli import main as command
from minillm.metrics import answer_exact, answer_f1, answer_of_shared_words
from minillm.models import reader
from minillm.runs.kinds.qa import answers_to, open_data

from . import report

READERS = ("whole", "no-flow", "no-match", "bert", "words")
KINDS = ("all", "default", "type", "purpose", "returns", "Python", "NumPy")
TIMED = 100  # questions


@contextmanager
def changed(name: str) -> Iterator[None]:
    """The recurrent reader without a part of it."""

    def without_flow(h, u, *weights_and_lengths):
        g = np.concatenate([h, np.zeros((*h.shape[:2], 3 * h.shape[2]), h.dtype)], axis=2)
        weights = weights_and_lengths[:3]

        def backward(dg):
            return dg[..., : h.shape[2]], np.zeros_like(u), *map(np.zeros_like, weights)

        return g, backward

    def no_match(context, *question):
        return np.zeros(context.shape, bool)

    parts = {
        "no-flow": (reader.ops, "attention_flow", without_flow),
        "no-match": (reader, "stands_in", no_match),
    }
    if name in parts:
        with patch.object(*parts[name]):
            yield
    else:
        yield


def kinds_of(id: str) -> tuple[str, str, str]:
    """Of a question: everything, its kind, and where its page is from."""
    kind = id.partition(": ")[2].split()[0]
    return "all", kind, "NumPy" if id.startswith("numpy.") else "Python"


def scores(questions: list[Any], answers: list[str]) -> dict[str, tuple[int, float, float]]:
    """For each kind of question: their number, exact match and F1 in percent."""
    rows: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for question, answer in zip(questions, answers, strict=True):
        references = [known.text for known in question.answers]
        score = answer_exact(answer, references), answer_f1(answer, references)
        for kind in kinds_of(question.id):
            rows[kind].append(score)
    return {kind: (len(rows[kind]), *(100 * np.mean(rows[kind], axis=0))) for kind in KINDS}


def measured(name: str, seed: int, length: list[str], out: Path) -> dict[str, Any]:
    """Trains a reader and measures it."""
    if name == "words":
        questions = open_data({}).questions("test")
        found = [answer_of_shared_words(q.question, q.context) for q in questions]
        return {"scores": scores(questions, found)}
    with changed(name):
        folder = str(out / f"{name}-{seed}")
        encoder = ["--encoder", "bert"] if name == "bert" else []
        train = ["train", "qa", "--out", folder, "--overwrite", "--seed", str(seed)]
        if command([*train, *encoder, *length]):
            sys.exit(130)
        run = minillm.load(folder)
        questions = open_data(run.data).questions("test")
        found = [best.text for [best] in answers_to(run, questions, 1)]
        seconds = []
        for question in questions[:: max(1, len(questions) // TIMED)]:
            start = time.perf_counter()
            run.answer(question.question, question.context)
            seconds.append(time.perf_counter() - start)
    records = run.folder.read_metrics()
    return {
        "steps": max(record["step"] for record in records),
        "milliseconds": 1000 * float(np.median(seconds)),
        "scores": scores(questions, found),
    }


def table(records: list[dict[str, Any]]) -> str:
    """A row for each reader: the mean over seeds, and the smallest and the largest F1 of all."""
    lines = [
        "| reader | seeds | steps | exact match | F1 | " + " | ".join(KINDS[1:]) + " | ms |",
        "|---|--:|--:|--:|--:|" + "--:|" * len(KINDS),
    ]
    for name in READERS:
        mine = [record for record in records if record["reader"] == name]
        if not mine:
            continue
        f1 = {kind: [record["scores"][kind][2] for record in mine] for kind in KINDS}
        exact = np.mean([record["scores"]["all"][1] for record in mine])
        spread = f" ({min(f1['all']):.1f}-{max(f1['all']):.1f})" if len(mine) > 1 else ""
        by_kind = " | ".join(f"{np.mean(f1[kind]):.1f}" for kind in KINDS[1:])
        timed = [record["milliseconds"] for record in mine if "milliseconds" in record]
        shown = f"{np.mean(timed):.1f}" if timed else ""
        steps = f"{np.mean([record['steps'] for record in mine]):,.0f}" if timed else ""
        lines.append(
            f"| {name} | {len(mine)} | {steps} | {exact:.1f} | {np.mean(f1['all']):.1f}{spread} "
            f"| {by_kind} | {shown} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Measures what has not been measured, and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--readers", nargs="+", choices=READERS, default=["whole", "words"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps")
    length.add_argument("--minutes", default="5")
    parser.add_argument("--out", type=Path, default=Path("runs/question-answering"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    file, given = args.out / "results.jsonl", ["--minutes", args.minutes]
    if args.steps:
        given = ["--steps", args.steps]
    records = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    for name in args.readers:
        for seed in args.seeds if name != "words" else [0]:
            key = {"reader": name, "seed": seed, "length": " ".join(given)}
            if name == "words":
                key["length"] = ""
            if not any(record.items() >= key.items() for record in records):
                records.append(key | measured(name, seed, given, args.out))
                with file.open("a") as opened:
                    opened.write(json.dumps(records[-1]) + "\n")
    chosen = [record for record in records if record["length"] in ("", " ".join(given))]
    print()
    for entry, value in report.machine().items():
        print(f"{entry}: {value}")
    questions = {kind: chosen[0]["scores"][kind][0] for kind in KINDS}
    print(f"questions: {', '.join(f'{number} {kind}' for kind, number in questions.items())}")
    print(f"\n{table(chosen)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
