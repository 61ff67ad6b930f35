"""Records of two cores: how short an archive of a held-out text can be after five minutes.

    python -m benchmarks.records [TEXT] [--rows ROW ...] [--entry FOLDER ...] [--out DIR]

TEXT is the built-in text by default.  Tiny Shakespeare and the first megabyte of enwik8 are other
fixed texts.  A row learns from the first nine tenths for five minutes on two cores, without a GPU,
and encodes the last tenth within ten: a network in float32 reads it a character at a time, as its
decoder does.  The score is the number of bytes of the archive.
Another process must decode it, on one thread, from the model, the archive and the training text,
which is public.  So probabilities that do not sum to one fail by themselves.  Both encoding and
decoding are held to AVX2.  A second score adds the model, packed by xz.

All limits are for a machine of 200 GFLOP/s.  They are scaled by the speed of matrix products on two
threads, so a faster machine gets less time.

FOLDER is an entry of another author, an executable file named "entry" with three commands:

    entry train TEXT MODEL SECONDS SEED     learns from TEXT and writes the folder MODEL
    entry encode MODEL FILE ARCHIVE
    entry decode MODEL ARCHIVE FILE

DIR receives the table, which is printed too, and the figures (records.jsonl), one line per seed.
"""

import json
import lzma
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.command import parser
from benchmarks.machine import HELD_TO_AVX2, described, machine
from minillm.data import read_text, split_text
from minillm.data.files import write_file
from minillm.errors import InputError
from minillm.timing.contest import limits

REFERENCE = 200e9  # floating-point operations a second of the machine that the limits are for
TRAINING, ENCODING, DECODING = 300, 600, 600  # seconds there
LATE = 1.1  # times the limit of training: a row also reads its text and writes its model

MINILLM = [sys.executable, "-m", "minillm"]
# The kind of model of a row, its options, and those of the archive.
ROWS: dict[str, tuple[str, list[str], list[str]]] = {
    "n-gram": ("ngram", ["--unit", "character", "--order", "6"], []),
    "lstm": ("lm", [], []),
    "gpt": ("gpt", [], []),
    "llama": ("llama", [], []),
    "decoder": ("decoder", [], []),
    "decoder, adapted and mixed": ("decoder", [], ["--adapt", "--mix"]),
}
SAVE = "import sys, minillm; minillm.load(sys.argv[1]).save(sys.argv[2])"
ELSEWHERE = {**HELD_TO_AVX2, "MINILLM_KERNELS": "avx2"}


class Failed(Exception):
    """A row broke a rule."""


def run(command: Sequence[object], seconds: float, **environment: str) -> float:
    """The seconds that a command takes.  Failed if it takes longer, or ends with an error."""
    begin = time.perf_counter()
    try:
        done = subprocess.run(
            [*map(str, command)],
            env={**os.environ, **environment},
            timeout=seconds,
            capture_output=True,
            text=True,
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"{command[0]}: expected an end within {seconds:.0f} s") from None
    except OSError as error:
        raise Failed(f"{command[0]}: {error.strerror}") from None
    if done.returncode:
        raise Failed(f"{command[0]}: {done.stderr.strip() or done.stdout.strip()}")
    return time.perf_counter() - begin


class Own:
    """A row of ROWS, by minillm's commands.  A model that two rows share is trained once.

    ``train`` keeps the last tenth of its file for validation.  So its file is the text with a copy
    of its end, and the model learns from all of the text.
    """

    def __init__(self, row: str, trained: dict[tuple[str, int], tuple[Path, float]]):
        self.kind, self.options, self.archive = ROWS[row]
        self.trained = trained

    def train(self, text: Path, model: Path, seconds: float, seed: int) -> float:
        key = self.kind, seed
        if key not in self.trained:
            counts = self.kind == "ngram"
            timing = [] if counts else ["--minutes", str(seconds / 60), "--seed", str(seed)]
            made, file = model.with_name(f"{model.name}-run"), text.with_name("training-twice.txt")
            file.write_text(with_its_end(text.read_text("utf-8")), "utf-8")
            command = [*MINILLM, "train", self.kind, file, *self.options, *timing, "--out", made]
            self.trained[key] = made, run(command, LATE * seconds)
        made, taken = self.trained[key]
        run([sys.executable, "-c", SAVE, made, model], 60)
        return taken

    def encode(self, model: Path, file: Path, archive: Path) -> list[object]:
        return [*MINILLM, "compress", file, "--model", model, "--out", archive, *self.archive]

    def decode(self, model: Path, archive: Path, file: Path) -> list[object]:
        return [*MINILLM, "decompress", archive, "--model", model, "--out", file]


def with_its_end(text: str) -> str:
    """The text and a copy of its end: the text itself is the first nine tenths."""
    return text + text[-math.ceil(len(text) / 9) :]


class Entry:
    """A folder of another author."""

    def __init__(self, folder: str):
        self.program = Path(folder).resolve() / "entry"

    def train(self, text: Path, model: Path, seconds: float, seed: int) -> float:
        return run([self.program, "train", text, model, str(seconds), str(seed)], LATE * seconds)

    def encode(self, model: Path, file: Path, archive: Path) -> list[object]:
        return [self.program, "encode", model, file, archive]

    def decode(self, model: Path, archive: Path, file: Path) -> list[object]:
        return [self.program, "decode", model, archive, file]


def record(entry: Own | Entry, text: Path, held: Path, seed: int, scale: float) -> dict[str, Any]:
    """Train, encode and decode in a new folder: the figures of one row and one seed."""
    folder = Path(tempfile.mkdtemp(dir=text.parent))
    model, archive, decoded = folder / "model", folder / "archive", folder / "decoded"
    training = entry.train(text, model, scale * TRAINING, seed)
    encoding = run(entry.encode(model, held, archive), scale * ENCODING, **ELSEWHERE)
    elsewhere = model.rename(folder / "elsewhere")
    command = entry.decode(elsewhere, archive, decoded)
    decoding = run(command, scale * DECODING, **ELSEWHERE, OMP_NUM_THREADS="1")
    if decoded.read_bytes() != held.read_bytes():
        raise Failed("decode: expected the text that was encoded, found another one")
    return {
        "seed": seed,
        "bytes": archive.stat().st_size,
        "model": packed(file for file in sorted(elsewhere.rglob("*")) if file.is_file()),
        "seconds": [round(taken, 1) for taken in (training, encoding, decoding)],
    }


def packed(files: Iterable[Path]) -> int:
    """The bytes of files packed by xz."""
    return len(lzma.compress(b"".join(file.read_bytes() for file in files), preset=9))


def table(results: dict[str, list[dict[str, Any]]], characters: int) -> str:
    """The rows in Markdown: means over the seeds, and the lowest and highest score."""
    head = ["row", "bytes", "of seeds", "bits a character", "with the model"]
    lines = [[*head, "trained", "encoded", "decoded"], ["---"] + 7 * ["--:"]]
    for row, seeds in sorted(results.items(), key=lambda item: mean(s["bytes"] for s in item[1])):
        every = [s["bytes"] for s in seeds]
        score, model = mean(every), mean(s["model"] for s in seeds)
        spread = f"{min(every):,} to {max(every):,}" if len(every) > 1 else ""
        figures = [row, f"{score:,.0f}", spread, f"{8 * score / characters:.4f}"]
        times = zip(*(s["seconds"] for s in seeds), strict=True)
        lines.append([*figures, f"{score + model:,.0f}", *(f"{mean(t):,.0f} s" for t in times)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("text", nargs="?")
    options.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="ROW")
    options.add_argument("--entry", nargs="+", default=[], metavar="FOLDER")
    options.add_argument("--seeds", type=int, default=3, metavar="N")
    options.add_argument("--out", type=Path, default=Path("runs/records"), metavar="DIR")
    args = options.parse_args()
    try:
        training, held = split_text(read_text([args.text] if args.text else []))
    except InputError as error:
        options.error(str(error))
    args.out.mkdir(parents=True, exist_ok=True)
    text, last = args.out / "training.txt", args.out / "held-out.txt"
    write_file(text, training.encode())
    write_file(last, held.encode())
    scale = REFERENCE / limits(2).flops
    name = args.text or "the built-in text"
    head = f"{described(machine())}\n{name}: {len(held):,} characters; times x {scale:.2f}"
    results = {"xz": [{"seed": 0, "bytes": packed([last]), "model": 0, "seconds": [0, 0, 0]}]}
    trained: dict[tuple[str, int], tuple[Path, float]] = {}
    entries: dict[str, Own | Entry] = {row: Own(row, trained) for row in args.rows}
    entries |= {name: Entry(name) for name in args.entry}
    for seed in range(args.seeds):
        for row, entry in entries.items():
            if seed and isinstance(entry, Own) and entry.kind == "ngram":
                continue  # nothing is drawn
            try:
                figures = record(entry, text.resolve(), last.resolve(), seed, scale)
            except Failed as error:
                print(f"{row}: seed {seed}: {error}", file=sys.stderr)
                continue
            results.setdefault(row, []).append(figures)
            print(f"{row}: {json.dumps(figures)}", file=sys.stderr, flush=True)
    shown = f"{head}\n\n{table(results, len(held))}\n"
    lines = [json.dumps({"row": row, **s}) for row, seeds in results.items() for s in seeds]
    write_file(args.out / "records.md", shown.encode())
    write_file(args.out / "records.jsonl", "".join(f"{line}\n" for line in lines).encode())
    print(shown)


if __name__ == "__main__":
    main()
