"""What attention gains: pronunciation of English words, with and without it.

    python -m benchmarks.cmudict --out runs/cmudict                 20 minutes for each model
    python -m benchmarks.cmudict --out runs/cmudict --minutes 60 --attentions additive

Trains an encoder-decoder of the same sizes on CMUdict for each kind of attention, one after
the other, then prints phoneme and word error rates on the 12,000 words of the test part, greedy
and with a beam of 5, and by the length of the word.  A word counts as right if it equals any of
its listed pronunciations; its phoneme errors are those to the nearest one.

It can be stopped and started again: finished runs are not trained again, and a run that was
stopped goes on.  The tables are also written to OUT/results.md, the figures to
OUT/results.json, and a picture of the errors by length to OUT/results.png.
"""

import argparse
import json
import platform
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from minillm import kernels_info, metrics
from minillm.cli import main as minillm
from minillm.data.cmudict import CMUDict
from minillm.runs.folder import RunFolder
from minillm.runs.kind import Complete, find_kind
from minillm.runs.run import load
from minillm.runs.start import start

LENGTHS = ((1, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 99))
BEAMS = (1, 5)


def trained(folder: Path, kind: str, options: list[str]) -> None:
    """Trains a model to the end, unless that is done; a run that was stopped goes on."""
    if RunFolder(folder).holds_run():
        with suppress(Complete):
            if not start(find_kind(kind), folder, {}, resume=True):
                raise SystemExit(130)
    elif status := minillm(["train", kind, *options, "--out", str(folder)]):
        raise SystemExit(status)


def measured(folder: Path, words: dict[str, list[str]]) -> dict:
    """Error rates of one run, by beam, over all words and by length."""
    run = load(folder)
    results = {"steps": RunFolder(folder).read_metrics()[-1]["step"]}
    results["parameters"] = sum(p.size for p in run.model.params.values())
    names = list(words)
    for beam in BEAMS:
        start = time.perf_counter()
        outputs = run.translate(names, beam=beam)
        seconds = time.perf_counter() - start
        spoken = dict(zip(names, outputs, strict=True))
        rates = {"all": error_rates(names, spoken, words)}
        for low, high in LENGTHS:
            of_length = [name for name in names if low <= len(name) <= high]
            if of_length:
                rates[label(low, high)] = error_rates(of_length, spoken, words)
        results[f"beam {beam}"] = {"words_per_second": len(names) / seconds, **rates}
    return results


def error_rates(names: list[str], spoken: dict[str, str], words: dict[str, list[str]]) -> dict:
    outputs = [spoken[name] for name in names]
    known = [words[name] for name in names]
    phonemes = metrics.token_error_rate(
        [output.split() for output in outputs],
        [[reference.split() for reference in references] for references in known],
    )
    return {"PER": phonemes, "WER": 1 - metrics.exact_match(outputs, known), "words": len(names)}


def label(low: int, high: int) -> str:
    return f"{low} to {high}" if high < 99 else f"{low} and more"


def tables(results: dict[str, dict], minutes: float) -> str:
    """The two tables, in Markdown."""
    first = next(iter(results.values()))["beam 1"]
    info = kernels_info()
    lines = [
        f"CMUdict without stress, {minutes:g} minutes of training each, "
        f"{first['all']['words']:,} test words.",
        f"{platform.machine()}, {info['threads']} threads, {info['kernels']} kernels, "
        f"NumPy {np.__version__}.",
        "",
        "| attention | parameters | steps | PER greedy | WER greedy | PER beam 5 | WER beam 5 |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, run in results.items():
        rates = [run[f"beam {beam}"]["all"][rate] for beam in BEAMS for rate in ("PER", "WER")]
        shown = " | ".join(f"{100 * rate:.1f}%" for rate in rates)
        lines.append(f"| {name} | {run['parameters']:,} | {run['steps']:,} | {shown} |")
    groups = [group for group in first if group not in ("all", "words_per_second")]
    header = [f"{group} ({first[group]['words']:,})" for group in groups]
    lines += [
        "",
        "Word error rate, greedy, by letters of the word (how many words):",
        "",
        f"| attention | {' | '.join(header)} |",
        "|---|" + "---:|" * len(groups),
    ]
    for name, run in results.items():
        shown = " | ".join(f"{100 * run['beam 1'][group]['WER']:.1f}%" for group in groups)
        lines.append(f"| {name} | {shown} |")
    return "\n".join(lines) + "\n"


def picture(results: dict[str, dict], path: Path) -> None:
    """Word error rate, greedy, by the length of the word."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.5))
    for name, run in results.items():
        groups = [group for group in run["beam 1"] if group not in ("all", "words_per_second")]
        rates = [100 * run["beam 1"][group]["WER"] for group in groups]
        axes.plot(groups, rates, "o-", label=name)
    axes.set_xlabel("letters of the word")
    axes.set_ylabel("words wrong, %")
    axes.set_ylim(bottom=0)
    axes.legend(title="attention")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs and tables")
    parser.add_argument("--minutes", type=float, default=20, help="of training, for each model")
    parser.add_argument(
        "--attentions",
        nargs="+",
        default=["none", "dot", "general", "additive"],
        help="which kinds (default: all four)",
    )
    parser.add_argument(
        "options", nargs="*", metavar="-- OPTION", help="more options of `minillm train seq2seq`"
    )
    args = parser.parse_args()
    words: dict[str, list[str]] = {}
    for word, spoken in CMUDict().pairs("test"):
        words.setdefault(word, []).append(spoken)
    results = {}
    for attention in args.attentions:
        folder = args.out / attention
        length = ["--minutes", str(args.minutes)]
        trained(folder, "seq2seq", ["cmudict", "--attention", attention, *length, *args.options])
        results[attention] = measured(folder, words)
        (args.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
        (args.out / "results.md").write_text(tables(results, args.minutes))
        picture(results, args.out / "results.png")
    print(tables(results, args.minutes))


if __name__ == "__main__":
    main()
