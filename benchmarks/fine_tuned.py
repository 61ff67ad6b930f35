"""What fine-tuning reaches on labelled texts: all weights, LoRA, and nothing but a new last layer.

    python -m benchmarks.fine_tuned DATA --init runs/sentences --out runs/fine-tuned [--seeds 3]

DATA is a folder with NAME.train.tsv and NAME.test.tsv, lines label<TAB>text, of each set.  Each
is trained with the defaults, a run for each seed, and measured on its test; every seed's figure is
kept in OUT/results.json, the table in OUT/results.md.  It can be stopped and started again.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from minillm import kernels_info
from minillm.cli import main as minillm
from minillm.runs.folder import RunFolder
from minillm.runs.kind import Evaluation
from minillm.runs.run import load

from . import report

METHODS = {
    "all weights": [],
    "LoRA": ["--lora-rank", "8"],
    "last layer alone": ["--freeze", "encoder", "--learning-rate", "3e-3"],
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--init", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    args = parser.parse_args()
    stored = args.out / "results.json"
    results = json.loads(stored.read_text()) if stored.exists() else {"machine": machine()}
    for train in sorted(args.data.glob("*.train.tsv")):
        name = train.name.removesuffix(".train.tsv")
        for method in args.methods:
            seeds = results.setdefault(name, {}).setdefault(method, {})
            for seed in range(args.seeds):
                if str(seed) not in seeds:
                    out = args.out / f"{name}-{method.replace(' ', '-')}-{seed}"
                    options = ["--init", args.init, "--seed", str(seed), *METHODS[method]]
                    seeds[str(seed)] = measured(train, options, out)
                    stored.write_text(json.dumps(results, indent=1) + "\n")
    table = tables(results)
    (args.out / "results.md").write_text(table)
    print(table)


def measured(train: Path, options: list[str], out: Path) -> dict:
    """Trains to the end, unless that is done, and measures on the test."""
    command = ["train", "classifier", "--out", str(out)]
    if RunFolder(out).holds_run():
        minillm([*command, "--resume"])  # it says so if there is nothing left to do
    elif status := minillm([*command, str(train), *options]):
        raise SystemExit(status)
    run = load(out)
    test = str(train).replace(".train.", ".test.")
    found = run.evaluate(Evaluation((test,)))
    metrics = run.folder.read_metrics()
    return {
        "accuracy": found["accuracy"],
        "nats": found["nats_per_item"],
        "seconds": metrics[-1]["seconds"],
        "steps": metrics[-1]["step"],
        "stored": run.folder.model_path.stat().st_size,
        "trained": sum(np.prod(shape) for shape in trained_shapes(run)).item(),
    }


def trained_shapes(run) -> list[tuple[int, ...]]:
    """Of the weights that have moments."""
    shapes = run.folder.resume_shapes()
    return [shape for name, shape in shapes.items() if name.startswith("optimiser/m.")]


def machine() -> dict:
    return {**report.machine(), "threads": kernels_info()["threads"]}


def tables(results: dict) -> str:
    """One line for each set and method, in Markdown."""
    lines = [
        "| set | trained | weights | stored | accuracy on the test | each seed | minutes |",
        "|---|---|---:|---:|---:|---|---:|",
    ]
    for name, methods in results.items():
        for method, seeds in methods.items() if name != "machine" else ():
            found = list(seeds.values())
            accuracies = np.array([seed["accuracy"] for seed in found])
            each = ", ".join(f"{100 * accuracy:.1f}" for accuracy in accuracies)
            spread = f" ± {100 * accuracies.std(ddof=1):.1f}" if len(found) > 1 else ""
            minutes = np.mean([seed["seconds"] for seed in found]) / 60
            lines.append(
                f"| {name} | {method} | {found[0]['trained']:,} "
                f"| {found[0]['stored'] / 1e6:.1f} MB | {100 * accuracies.mean():.1f}%{spread} "
                f"| {each} | {minutes:.1f} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
