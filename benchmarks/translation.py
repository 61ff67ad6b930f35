"""The recurrent encoder-decoder and the Transformer, after equal minutes on the same sentences.

    python -m benchmarks.translation train.tsv --validation val.tsv --out runs/translation
    python -m benchmarks.translation train.en train.fr --validation val.en val.fr --minutes 30 \\
        --out runs/translation

A file of pairs has lines source<TAB>target; two parallel files have a sentence in each line.  Words
and punctuation are separated by spaces: BLEU counts them as they stand.  The models are trained one
after the other, then each translates the sources of the validation sentences, which also chose its
best weights.

It can be stopped and started again: finished runs are not trained again, and a run that was stopped
goes on.  The table is also written to OUT/results.md, the figures to OUT/results.json.
"""

import argparse
import json
import shlex
import time
from pathlib import Path

from minillm import metrics
from minillm.data.lines import read_lines
from minillm.data.pairs import read_pairs
from minillm.errors import InputError
from minillm.runs.folder import RunFolder
from minillm.runs.run import load

from . import report
from .cmudict import trained

KINDS = {
    "seq2seq": "--unit bpe --vocabulary 8000 --batch 64 --learning-rate 1e-3 --dropout 0.3",
    "transformer": "--unit bpe --vocabulary 6000 --joint --feed-forward 256 --dropout 0.3",
}
NAMES = {"seq2seq": "LSTM, additive attention", "transformer": "Transformer"}
BEAMS = (1, 5)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="pairs, or sources and targets")
    parser.add_argument("--validation", nargs="+", metavar="FILE", required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs and the table")
    parser.add_argument("--minutes", type=float, default=60, help="of training, for each model")
    for kind, options in KINDS.items():
        parser.add_argument(f"--{kind}", default=options, metavar="OPTIONS", help="of its training")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    try:
        training = file_of_pairs(args.files, args.out / "training.tsv")
        validation = file_of_pairs(args.validation, args.out / "validation.tsv")
        held_out = list(read_pairs(validation))
    except InputError as error:
        parser.error(str(error))
    data = [training, "--validation", validation, "--pretokenised", "--minutes", str(args.minutes)]
    results = {}
    for kind in KINDS:
        folder = args.out / kind
        trained(folder, kind, [*data, *shlex.split(getattr(args, kind))])
        results[kind] = measured(folder, held_out)
        (args.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    text = table(results, args.minutes, len(held_out))
    (args.out / "results.md").write_text(text)
    print("\n" + text)


def file_of_pairs(files: list[str], joined: Path) -> str:
    """The one file; or two parallel ones, joined line by line."""
    if len(files) == 1:
        return files[0]
    if len(files) != 2:
        raise InputError(f"expected a file of pairs, or two parallel files, found {len(files)}")
    sides = [[line.replace("\t", " ") for line, _ in read_lines(file)] for file in files]
    counts = [len(side) for side in sides]
    if counts[0] != counts[1]:
        raise InputError(f"{files[1]}: expected {counts[0]} lines, as in {files[0]}: {counts[1]}")
    joined.write_text("".join(f"{a}\t{b}\n" for a, b in zip(*sides, strict=True)), "utf-8")
    return str(joined)


def measured(folder: Path, pairs: list[tuple[str, str]]) -> dict:
    """BLEU, chrF and the speed of translating, by beam."""
    run = load(folder)
    results = {
        "steps": RunFolder(folder).read_metrics()[-1]["step"],
        "parameters": sum(p.size for p in run.model.params.values()),
    }
    sources, references = [source for source, _ in pairs], [[target] for _, target in pairs]
    for beam in BEAMS:
        start = time.perf_counter()
        outputs = run.translate(sources, beam=beam)
        seconds = time.perf_counter() - start
        results[f"beam {beam}"] = {
            "bleu": metrics.bleu(outputs, references, tokenised=True),
            "chrf": metrics.chrf(outputs, references),
            "sentences_per_second": len(sources) / seconds,
        }
    return results


def table(results: dict[str, dict], minutes: float, sentences: int) -> str:
    """In Markdown."""
    machine = report.machine()
    lines = [
        f"{minutes:g} minutes of training each, {sentences:,} sentences for validation; "
        f"{machine['processor']}, {machine['cores']} cores, {machine['kernels']} kernels.",
        "",
        "| | parameters | steps | BLEU greedy | BLEU beam 5 | chrF beam 5 | sentences/s greedy "
        "| sentences/s beam 5 |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for kind, run in results.items():
        greedy, beam = (run[f"beam {beam}"] for beam in BEAMS)
        lines.append(
            f"| {NAMES[kind]} | {run['parameters']:,} | {run['steps']:,} | {greedy['bleu']:.1f} "
            f"| {beam['bleu']:.1f} | {beam['chrf']:.1f} | {greedy['sentences_per_second']:.0f} "
            f"| {beam['sentences_per_second']:.0f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
