"""The gain of pre-training by denoising, by the number of pairs.

    minillm train transformer TEXT --denoise --out runs/pre --minutes 60
    python -m benchmarks.studies.denoising runs/pre PAIRS --out gains [--test PAIRS]
        [--sizes 100,300,1000,3000] [--seeds 5] [--steps 300] [--batch 32] [--beam 5]

For each number n and each seed, two Transformers are trained on the same n pairs, drawn by the
seed, for the same number of steps: one begins with the weights of the pre-trained run, the other
with random ones.  Both have the vocabulary and the sizes of that run, read as many tokens of a
source as its passages have, and have the default learning rate of such a training.  A fifth of the
n pairs is held out, to keep the best weights.  All are measured on the same test pairs, by default
the last tenth of PAIRS, at most 300 of them.

Every training is a line of DIR/results.jsonl: the same command, or one with more sizes or seeds,
trains only what is missing.  The tables have the mean and the standard deviation over the seeds.
"""

import argparse
import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minillm.data import registry
from minillm.data.files import bounded_lines, json_object, reading, write_file
from minillm.data.pairs import Pair
from minillm.errors import InputError, naming_options
from minillm.runs.folder import held
from minillm.runs.kind import find_kind
from minillm.runs.load import load
from minillm.runs.run import Run
from minillm.runs.train import train_run

from .curve import VALIDATION, sizes_of

# The measures in a table, if there are such, and the factors by which they are shown.
MEASURES = {"nats_per_token": 1, "bleu": 1, "rouge1": 100, "rouge2": 100, "rougeL": 100}
MOST = 300  # pairs to measure on
STREAM = 3  # of random numbers, for the order of the pairs
RESULTS = "results.jsonl"

Record = dict[str, Any]


def main() -> None:
    """Train what is missing, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", metavar="RUN", help="a run of train transformer --denoise")
    parser.add_argument("pairs", metavar="PAIRS", help="a file of pairs, or a built-in set")
    parser.add_argument("--out", metavar="DIR", required=True, help="the folder of the results")
    parser.add_argument("--test", metavar="PAIRS", help="pairs to measure on")
    parser.add_argument("--sizes", metavar="N,N,...", default="100,300,1000,3000")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=300, help="of each training on pairs")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--beam", type=int, default=5)
    args = parser.parse_args()
    lengths = {"steps": args.steps, "batch": args.batch}
    with naming_options():
        try:
            sizes = sizes_of(args.sizes)
            records = measure(
                args.out, args.run, args.pairs, args.test, sizes, args.seeds, lengths, args.beam
            )
        except InputError as error:
            parser.exit(2, f"{parser.prog}: {error}\n")
    for name, factor in MEASURES.items():
        if all(name in record for record in records):
            print(f"\n{name}{' in percent' * (factor == 100)}:\n\n{table(records, name)}")


def measure(
    out: str | Path,
    run: str,
    pairs: str,
    test: str | None,
    sizes: Sequence[int],
    seeds: int,
    settings: Mapping[str, Any],
    beam: int,
) -> list[Record]:
    """Train all that is missing in the folder ``out``; return the results of all trainings.

    InputError, before anything is trained, for a run of another kind and for too few pairs.
    """
    initial = load(run)
    if initial.kind.name != "denoiser":
        raise InputError(f"RUN: expected a run of denoiser, found one of {initial.kind.name}")
    opened = registry.open_pairs(pairs, test)
    training = list(opened.pairs("training"))
    held_out = list(opened.pairs("validation"))[:MOST]
    if max(sizes) > len(training):
        raise InputError(f"--sizes: expected at most {len(training):,} pairs, found {max(sizes)}")
    cut = {**settings, "max_source": initial.settings.max_source}
    weights = initial.folder.fingerprint()
    data = hashlib.sha256(json.dumps([training, held_out]).encode()).hexdigest()[:16]
    folder, wanted = Path(out), list[Record]()
    with held(folder):
        records = list(read_results(folder))
        for seed in range(seeds):
            order = np.random.default_rng([seed, STREAM]).permutation(len(training))
            for size in sizes:
                part = [training[row] for row in order[:size]]
                for line, own in lines_of(initial).items():
                    key = {"line": line, "pairs": size, "seed": seed, "beam": beam, **cut}
                    key |= {"weights": weights, "data": data}
                    done = [record for record in records if key.items() <= record.items()]
                    if not done:
                        given = {**cut, **own, "seed": seed}
                        done = [key | by_training(folder, part, held_out, given, beam)]
                        records += done
                        lines = "".join(json.dumps(record) + "\n" for record in records)
                        write_file(folder / RESULTS, lines.encode())
                        nats = done[0]["nats_per_token"]
                        print(f"{size:,} pairs, seed {seed}, {line}: {nats:.3f} nats per token")
                    wanted += done[:1]
    return wanted


def lines_of(initial: Run) -> dict[str, dict[str, Any]]:
    """The settings of each line of the tables: where the training begins."""
    config = initial.model.config
    sizes = {name: getattr(config, name) for name in ("layers", "heads", "width", "feed_forward")}
    vocabulary = {"tokenizer": str(initial.path), "unit": "bpe", "joint": True}
    return {
        "random weights": sizes | vocabulary | {"post_norm": config.post_norm},
        "pre-trained": {"init": str(initial.path)},
    }


def by_training(
    folder: Path,
    part: Sequence[Pair],
    held_out: Sequence[Pair],
    settings: Mapping[str, Any],
    beam: int,
) -> Record:
    """The measures of a Transformer trained on ``part``."""
    with tempfile.TemporaryDirectory(prefix=".training.", dir=folder) as name:
        place = Path(name)
        validation = len(part) // VALIDATION
        files = {"data": part[validation:], "validation": part[:validation]}
        for name, chosen in files.items():
            rows = ({"source": source, "target": target} for source, target in chosen)
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            write_file(place / f"{name}.jsonl", lines.encode())
        given = {**settings, **{name: str(place / f"{name}.jsonl") for name in files}}
        kind = find_kind("transformer")
        if not train_run(kind, place / "run", given, report=lambda line: None, quiet=True):
            raise KeyboardInterrupt
        results = load(place / "run").evaluate(pairs=held_out, beam=beam, report=lambda line: None)
    return {name: results[name] for name in MEASURES if name in results}


def read_results(folder: Path) -> Iterator[Record]:
    """The lines of results.jsonl."""
    path = folder / RESULTS
    if path.exists():
        with reading(path, regular=True) as file:
            for number, line in enumerate(bounded_lines(file, str(path)), start=1):
                yield json_object(line, f"{path}, line {number}")


def table(records: Sequence[Record], measure: str) -> str:
    """Mean and standard deviation of a measure, and the gain, as a table in Markdown."""
    sizes = sorted({record["pairs"] for record in records})
    values: dict[str, dict[int, list[float]]] = {}
    for record in records:
        values.setdefault(record["line"], {}).setdefault(record["pairs"], [])
        values[record["line"]][record["pairs"]].append(MEASURES[measure] * record[measure])
    rows = [["pairs", *(f"{size:,}" for size in sizes)], ["---"] + ["---:"] * len(sizes)]
    rows += [[line, *(spread(of[size]) for size in sizes)] for line, of in values.items()]
    without, pre_trained = values.values()
    gains = (np.subtract(pre_trained[size], without[size]) for size in sizes)  # seed by seed
    rows.append(["gain", *map(spread, gains)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def spread(values: Sequence[float]) -> str:
    """The mean, and the standard deviation of several values."""
    deviation = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{deviation}"


if __name__ == "__main__":
    main()
