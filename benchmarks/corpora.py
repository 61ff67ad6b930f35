"""Corpora larger than memory: how fast they are tokenised, and what a training from them takes.

    python -m benchmarks.corpora [--out docs/corpora-results.md] [--picture docs/corpora-memory.png]
        [--text 2G] [--ids 4G] [--steps 10000] [--rounds 3] [--folder DIR]

Two tables in Markdown, on standard output and, with --out, in a file:

- **Tokenising** --text bytes of text with 8,000 byte pairs, by one rank and by two, which run in
  turn, --rounds times: medians, with the range; and the largest memory of a rank.  The text is made
  of the paragraphs of Python's documentation and of its library's source, drawn with a seed.  Nine
  of ten documents are 1 to 9 paragraphs and a number that no other has; the tenth is one paragraph,
  so that there are duplicates.  The text is one document; JSON lines; JSON lines in eight files
  that are compressed with zstandard; and JSON lines of which duplicates are dropped and the others
  shuffled.
- **Training** a small GPT for --steps steps from --ids bytes of shards, and from shards of a
  hundredth of that, in turn: the memory over the steps, and the steps per second.  Then the same
  with a bit that has flipped: how long it takes to find it.

All of it is made in --folder, or in a temporary one, which needs three times the disk of --text and
once that of --ids.  --tiny does all of it at sizes that mean nothing, to try the script.
"""

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from minillm.cli import main as minillm
from minillm.data import RandomWindows, Shards, builtin_corpus, write_shards
from minillm.data.python_texts import standard_library
from minillm.data.shards import write_json, write_shard
from minillm.errors import InputError
from minillm.mpi import ranks
from minillm.text import bpe, load_tokenizer

VOCABULARY = 8000
SHARD = 1 << 26  # bytes
POINTS = 20  # at which memory is measured
GPT = ["--layers", "2", "--heads", "2", "--width", "64", "--context", "64", "--batch", "16"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", metavar="FILE", help="write the tables there, too")
    parser.add_argument("--picture", metavar="FILE", help="draw the memory over the steps")
    parser.add_argument("--text", type=size, default="2G", metavar="BYTES")
    parser.add_argument("--ids", type=size, default="4G", metavar="BYTES")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", metavar="DIR")
    parser.add_argument("--only", nargs="+", default=["tokenising", "training"])
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--job", help=argparse.SUPPRESS)  # what a process of a job does, as JSON
    args = parser.parse_args()
    if args.job:
        job(**json.loads(args.job))
        return
    if args.tiny:
        args.text, args.ids, args.steps, args.rounds = size("8M"), size("20M"), 40, 1
    from . import report  # here: it imports PyTorch, whose memory is not that of the jobs

    tables = ["\n".join(f"{key}: {value}  " for key, value in report.machine().items()) + "\n"]
    folder = nullcontext(args.folder) if args.folder else tempfile.TemporaryDirectory()
    with folder as name:
        work = Path(name)
        work.mkdir(exist_ok=True)
        train_tokenizer(work)
        if "tokenising" in args.only:
            tables.append("\n".join(tokenising(work, args.text, args.rounds)) + "\n")
        if "training" in args.only:
            lines = training(work, args.ids, args.steps, args.rounds, args.picture)
            tables.append("\n".join(lines) + "\n")
    print("\n".join(tables))
    if args.out:
        Path(args.out).write_text("\n".join(tables))


def size(text: str) -> int:
    """Bytes, as 500M or 2G."""
    match = re.fullmatch(r"(\d+)([MG]?)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected bytes, as 500M or 2G, found {text!r}")
    return int(match[1]) * {"": 1, "M": 10**6, "G": 10**9}[match[2]]


# --- the text ------------------------------------------------------------------------------------


def paragraphs() -> list[str]:
    """Those of the documentation and of the source that come with Python."""
    text = builtin_corpus() + "\n\n" + standard_library()
    return [part + "\n" for part in re.split(r"\n\n+", text) if part.strip()]


def varied(seed: int, most: int) -> Iterator[str]:
    """Documents of ``most`` bytes together, or a little more; nine of ten are like no other."""
    rng, parts = random.Random(seed), paragraphs()
    made = number = 0
    while made < most:
        number += 1
        if rng.random() < 0.1:
            text = rng.choice(parts)
        else:
            text = "\n".join(rng.choices(parts, k=rng.randint(1, 9)))
            text += f"{number} {rng.getrandbits(40)}\n"
        made += len(text.encode())
        yield text


def make_texts(work: Path, most: int) -> dict[str, list[str]]:
    """The files of each form of the text."""
    import zstandard

    forms = {
        name: [str(work / f"text{end}")] for name, end in (("text", ".txt"), ("json", ".jsonl"))
    }
    with open(forms["text"][0], "w") as whole, open(forms["json"][0], "w") as lines:
        for text in varied(0, most):
            whole.write(text)
            lines.write(json.dumps({"text": text}) + "\n")
    forms["zstandard"] = [str(work / f"text{k}.jsonl.zst") for k in range(8)]
    each = os.path.getsize(forms["json"][0]) // 8
    with open(forms["json"][0], "rb") as lines:
        for name in forms["zstandard"]:
            with open(name, "wb") as file, zstandard.ZstdCompressor().stream_writer(file) as out:
                written = 0
                while (written < each or name == forms["zstandard"][-1]) and (
                    line := lines.readline()
                ):
                    written += out.write(line)
    return forms


def train_tokenizer(work: Path) -> None:
    """Learns byte pairs; those that a folder has already stay."""
    if not (work / "tokenizer").exists():
        text = "".join(varied(1, 4_000_000))
        values = {"format_version": 1, **bpe.train([text], VOCABULARY).to_dict()}
        (work / "tokenizer").mkdir()
        write_json(work / "tokenizer" / "vocabulary.json", values)


# --- tokenising ----------------------------------------------------------------------------------

ROWS = {  # the form of the text, and options
    "one document": ("text", {}),
    "JSON lines": ("json", {}),
    "JSON lines, zstandard, 8 files": ("zstandard", {}),
    "JSON lines, duplicates dropped, shuffled": ("json", {"deduplicate": True, "shuffle": 0}),
}


def tokenising(work: Path, most: int, rounds: int) -> Iterator[str]:
    """The table, a line at a time."""
    forms = make_texts(work, most)
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for _ in range(rounds):
        for name, (form, options) in ROWS.items():
            for count in (1, 2):
                values = tokenised(work, forms[form], options, count)
                found.setdefault((name, count), []).append(values)
    source = found["JSON lines", 1][0]
    yield (
        f"{most / 1e9:.3g} GB of text, {source['documents']:,} documents as JSON lines, "
        f"{source['duplicates'] / source['documents']:.1%} equal to an earlier one"
    )
    yield ""
    yield "| text | ranks | million tokens/s | MB/s of text | of twice one rank | memory a rank |"
    yield "|---|---|---|---|---|---|"
    for (name, count), values in found.items():
        seconds = [each["seconds"] for each in values]
        rates = [each["tokens"] / each["seconds"] / 1e6 for each in values]
        alone = median(each["seconds"] for each in found[name, 1])
        share = f"{alone / median(seconds) / 2:.0%}" if count == 2 else ""
        peak = max(each["peak"] for each in values)
        megabytes = values[0]["bytes"] / median(seconds) / 1e6
        yield (
            f"| {name} | {count} | {spread(rates)} | {megabytes:.3g} "
            f"| {share} | {peak / 1e6:.0f} MB |"
        )


def spread(values: list[float]) -> str:
    """The median, and the range."""
    return f"{median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def tokenised(work: Path, files: list[str], options: dict, count: int) -> dict[str, Any]:
    """What a job of so many ranks tells of itself."""
    shutil.rmtree(work / "out", ignore_errors=True)
    values = {"work": str(work), "files": files, "options": options}
    launcher = Path(sys.executable).with_name("mpiexec")
    mpiexec = str(launcher) if launcher.exists() else "mpiexec"
    command = [mpiexec, "-n", str(count)] if count > 1 else []
    done = subprocess.run(
        [*command, sys.executable, "-m", "benchmarks.corpora", "--job", json.dumps(values)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout)


# --- training ------------------------------------------------------------------------------------


def training(work: Path, most: int, steps: int, rounds: int, picture: str | None) -> Iterator[str]:
    """The table, a line at a time."""
    make_shards(work, work / "large", most)
    make_shards(work, work / "small", most // 100)
    found: dict[str, list[dict[str, Any]]] = {"large": [], "small": []}
    for _ in range(rounds):
        for name, values in found.items():
            values.append(trained(work, name, steps))
    sizes = {name: Shards(work / name) for name in found}
    rates = {name: [each["rate"] for each in values] for name, values in found.items()}
    yield (
        f"A GPT of 2 layers of 64, {steps:,} steps of 16 windows of 64 tokens from "
        f"{most / 1e9:.3g} GB of shards ({len(sizes['large']):,} tokens)"
    )
    yield ""
    yield "| steps | resident memory | of it not of files |"
    yield "|---|---|---|"
    for step, *memory in found["large"][0]["memory"]:
        yield f"| {step:,} | {' | '.join(f'{bytes / 1e6:.1f} MB' for bytes in memory)} |"
    yield ""
    yield (
        f"{spread(rates['large'])} steps per second; from shards of a hundredth of that size "
        f"{spread(rates['small'])}: {median(rates['large']) / median(rates['small']):.1%}"
    )
    yield ""
    yield flipped(work / "large")
    if picture:
        draw(found, sizes, picture)


def make_shards(work: Path, out: Path, most: int) -> None:
    """Shards of so many bytes: tokens of a text, over and over, from other places on."""
    if out.exists():
        return
    text = work / "base.txt"
    text.write_text("".join(varied(2, min(most, 30_000_000))))
    shards = write_shards(out, [str(text)], load_tokenizer(work / "tokenizer"))
    index, ids = json.loads((out / "index.json").read_text()), shards[:]
    each = min(most, SHARD) // ids.itemsize
    index["shards"] = []
    for number in range(-(-most // (each * ids.itemsize))):
        piece = np.resize(np.roll(ids, -7919 * number), each)
        index["shards"].append(write_shard(out / f"{number:05}-00000.bin", [piece], ids.dtype))
    write_json(out / "index.json", index)


def trained(work: Path, name: str, steps: int) -> dict[str, Any]:
    """What a training tells of itself."""
    values = {"work": str(work), "name": name, "steps": steps}
    with tempfile.TemporaryFile() as told:
        subprocess.run(
            [sys.executable, "-m", "benchmarks.corpora", "--job", json.dumps(values)],
            stdout=told,
            check=True,
        )
        told.seek(0)
        return json.loads(told.read().splitlines()[-1])


def flipped(folder: Path) -> str:
    """What is told of a bit that has flipped in the last shard, and after what time."""
    shards = Shards(folder)
    started = time.perf_counter()
    shards.verify()
    whole = time.perf_counter() - started
    file = max(folder.glob("*.bin"))
    ids = np.memmap(file, shards.dtype, "r+")
    ids[len(ids) // 2] ^= 1
    ids.flush()
    try:
        shards.verify()
        found = "nothing: **it was not found**"
    except InputError as error:
        found = str(error).removeprefix(f"{folder}/")
    ids[len(ids) // 2] ^= 1
    ids.flush()
    size = len(shards) * shards.dtype.itemsize
    return (
        f"To check all shards before the first step took {whole:.1f} s "
        f"({size / whole / 1e9:.2f} GB/s).  With a bit that has flipped: `{found}`"
    )


def draw(found: dict[str, list[dict[str, Any]]], sizes: dict[str, Shards], path: str) -> None:
    """Memory over the steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    for name, values in found.items():
        steps, resident, _ = np.array(values[0]["memory"]).T
        bytes = len(sizes[name]) * sizes[name].dtype.itemsize
        axes.plot(steps, resident / 1e6, label=f"{bytes / 1e9:.2g} GB of shards")
    axes.set(xlabel="steps", ylabel="resident memory, MB", ylim=(0, None))
    axes.legend()
    figure.savefig(path, dpi=120)


# --- what a process of a job does ----------------------------------------------------------------


def job(**values: Any) -> None:
    """Does it, and rank 0 writes what came of it to standard output."""
    found = tokenise(**values) if "files" in values else train(**values)
    if ranks().rank == 0:
        print("\n" + json.dumps(found))


def tokenise(work: str, files: list[str], options: dict[str, Any]) -> dict[str, Any]:
    """The time of it, and the largest memory of a rank."""
    tokenizer = load_tokenizer(Path(work) / "tokenizer")
    ranks().wait()
    started = time.perf_counter()
    shards = write_shards(Path(work) / "out", files, tokenizer, **options)
    ranks().wait()
    seconds = time.perf_counter() - started
    peak = max(ranks().gather(memory("VmHWM")))
    names = ("bytes", "documents", "duplicates")
    counts = {name: shards.source[name] for name in names}
    return {"seconds": seconds, "tokens": len(shards), "peak": peak, **counts}


def train(work: str, name: str, steps: int) -> dict[str, Any]:
    """The memory after some of the steps, and the steps per second between them."""
    found, times, drawn = [], [], RandomWindows.next

    def drawing(self: RandomWindows) -> Any:
        if self.position and self.position % (steps // POINTS) == 0:
            found.append((self.position, memory("VmRSS"), memory("RssAnon")))
            times.append(time.perf_counter())
        return drawn(self)

    RandomWindows.next = drawing  # type: ignore[method-assign]
    out = Path(work) / "run"
    shutil.rmtree(out, ignore_errors=True)
    options = ["--steps", str(steps), "--validations", "2", "--checkpoint-seconds", "20", *GPT]
    assert minillm(["train", "gpt", str(Path(work) / name), "--out", str(out), *options]) == 0
    rate = (found[-1][0] - found[0][0]) / (times[-1] - times[0])
    return {"memory": found, "rate": rate}


def memory(name: str) -> int:
    """A figure of this process, in bytes, as Linux tells it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"the system does not tell {name}: this needs Linux")


if __name__ == "__main__":
    main()
