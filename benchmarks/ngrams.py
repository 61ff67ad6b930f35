"""n-gram models: smoothings compared, parity with KenLM, and time and memory beyond memory.

    python -m benchmarks.ngrams [FILE]
    python -m benchmarks.ngrams --tokens 100000000 --memory 1024

Without FILE it reads the built-in corpus.  The first command prints the perplexities of all
smoothings, and compares scores with KenLM's Python package, if it is installed.

The second one trains on a text of that many tokens: the corpus over and over, a quarter of its
words drawn anew with Zipf's frequencies, so that every copy has new n-grams.  KenLM's estimator
lmplz runs beside it if it is on the PATH.  Memory
is the largest resident set of the process, minus the set of an interpreter with the same imports;
for lmplz, all of it.  `export` has the whole model in memory.  Disk is the largest size of the
temporary files.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minillm import kernels_info, load
from minillm.data.streams import Spill, TextStream
from minillm.formats.arpa import write_arpa
from minillm.models.ngram import SMOOTHINGS
from minillm.runs.kinds.ngram import NGramSettings, text_results
from minillm.text.words import split_words
from minillm.training.ngram import token_ids, train_ngram

from . import report

IDLE = "import minillm.formats.arpa, minillm.runs.door, minillm.training.ngram"


# --- on a text in memory ------------------------------------------------------------------------


def smoothings(text: TextStream, cut: int) -> None:
    """Print the perplexity of the held-out tenth, by order and smoothing."""
    print("\nPerplexity on the held-out tenth (words; seen once: one unknown word)\n")
    print("| order | " + " | ".join(SMOOTHINGS) + " |")
    print("|---|" + "---|" * len(SMOOTHINGS))
    for order in range(1, 6):
        row = []
        for smoothing in SMOOTHINGS:
            settings = NGramSettings(order=order, smoothing=smoothing)
            with Spill() as spill:
                model, words, _ = train_ngram(text, text.characters - cut, settings, spill)
                assert model is not None
                results = text_results(model, words, text.blocks(cut), "held-out text")
            row.append(f"{results['perplexity']:.1f}")
        print(f"| {order} | " + " | ".join(row) + " |", flush=True)


def scoring(text: TextStream, cut: int) -> None:
    """Compare the scores of the held-out sentences with KenLM's, and the speed."""
    try:
        import kenlm
    except ImportError:
        print("\nKenLM is not installed: no comparison")
        return
    with Spill() as spill:  # a text that is small enough to be estimated in memory
        model, vocabulary, _ = train_ngram(text, text.characters - cut, NGramSettings(), spill)
    assert model is not None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.arpa"
        write_arpa(path, vocabulary, model.params)
        theirs = kenlm.Model(str(path))
    ids = np.concatenate(list(token_ids(text.blocks(cut), vocabulary, model.config)))
    start_id, end = model.config.start, model.config.line_end
    sentences = [
        s for s in np.split(ids, np.flatnonzero(ids == start_id)) if len(s) and s[-1] == end
    ]
    texts = [" ".join(vocabulary.decode([id]) for id in s[1:-1]) for s in sentences]
    worst = max(
        abs(theirs.score(text) - model.probabilities(sentence).sum())
        for text, sentence in zip(texts, sentences, strict=True)
    )
    print(f"\n{len(sentences):,} held-out sentences, order 5: the largest difference between")
    print(f"KenLM's score and ours is {worst:.1e} (log10)")
    many = np.tile(ids, max(1, 2_000_000 // len(ids)))
    speed = max(_speed(lambda: model.probabilities(many), len(many)) for _ in range(3))
    tokens = sum(len(s) - 1 for s in sentences)
    loop = max(_speed(lambda: [theirs.score(t) for t in texts], tokens) for _ in range(3))
    print(f"scoring in bulk: {speed / 1e6:.1f} million tokens/s here; ", end="")
    print(f"KenLM, a sentence a call, {loop / 1e6:.1f} million")


def _speed(function, tokens: int) -> float:
    start = time.perf_counter()
    function()
    return tokens / (time.perf_counter() - start)


# --- on a text beyond memory ---------------------------------------------------------------------


def varied_copies(text: TextStream, tokens: int) -> Iterator[str]:
    """Repeat the text to ``tokens`` tokens, with a quarter of its words drawn anew.

    A drawn word is the more frequent the smaller its rank (Zipf), so that most n-grams are new:
    there are more of them than in written language.
    """
    rng = np.random.default_rng(0)
    words = np.array(split_words("".join(text.blocks())), object)
    drawn = np.array([f"w{rank}" for rank in range(50_000)], object)
    while tokens > 0:
        copy = words[:tokens].copy()
        place = np.flatnonzero((rng.random(len(copy)) < 0.25) & (copy != "\n"))
        copy[place] = drawn[(50_000 ** rng.random(len(place))).astype(int)]
        yield " ".join(copy).replace(" \n ", "\n") + "\n"
        tokens -= len(copy)


class Cost(NamedTuple):
    """The cost of a command: seconds by the clock and of all cores, the bytes of its largest
    process, and the largest size of its temporary files.
    """

    seconds: float
    cores: float
    resident: int
    disk: int


def measure(command: list[str], temporary: Path) -> Cost:
    """Run a command whose temporary files go to a folder."""
    temporary.mkdir(exist_ok=True)
    most, done = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.2):
            most = max(most, _size(temporary))

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    environment = os.environ | {"TMPDIR": str(temporary)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    cores = used.ru_utime + used.ru_stime
    return Cost(seconds, cores, used.ru_maxrss * 1024, most)


def _size(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(parent, name)).st_size
            except FileNotFoundError:  # deleted just now
                continue
    return total


def row(name: str, tokens: int, cost: Cost, idle: int, memory: int) -> str:
    """Format a line of the table."""
    above = cost.resident - idle
    disk = f"{cost.disk / 2**30:.2f} GB" if cost.disk else "-"  # files without names are not seen
    return (
        f"| {name} | {cost.seconds:,.1f} | {cost.cores:,.1f} | {tokens / cost.seconds:,.0f} | "
        f"{above / 2**20:,.0f} MB ({above / memory:.0%}) | {disk} |"
    )


def large(corpus: TextStream, args: argparse.Namespace) -> None:
    """Print the table of the commands on a text of many tokens."""
    memory, size = args.memory << 20, f"{args.memory}M"
    with tempfile.TemporaryDirectory(prefix="ngram-memory-") as name:
        folder = Path(name)
        text, temporary = folder / "text.txt", folder / "temporary"
        with open(text, "w") as file:
            file.writelines(varied_copies(corpus, args.tokens))
        idle = measure([sys.executable, "-c", IDLE], temporary).resident
        options = ["--pretokenised", "--order", str(args.order), "--memory", size]
        run = folder / "run"
        command = ["-m", "minillm", "train", "ngram", str(text), "--out", str(run), *options]
        cost = measure(report.python(*command), temporary)
        lines = [row("train", args.tokens, cost, idle, memory)]
        if not args.no_export:
            arpa = folder / "model.arpa"
            command = ["-m", "minillm", "export", str(run), str(arpa)]
            cost = measure(report.python(*command), temporary)
            lines.append(row("export", args.tokens, cost, idle, memory))
            arpa.unlink()
        if estimator := shutil.which("lmplz"):
            counted = folder / "counted.txt"  # as `train`, without the last tenth
            stream = TextStream([str(text)])
            with open(counted, "w") as file:
                file.writelines(stream.blocks(stop=stream.characters * 9 // 10))
            command = [estimator, "-o", str(args.order), "-S", size, "-T", str(temporary)]
            command += ["--discount_fallback", "--text", str(counted)]
            cost = measure([*command, "--arpa", str(folder / "theirs.arpa")], temporary)
            lines.append(row("lmplz, to its ARPA file", args.tokens, cost, 0, memory))
        sizes = load(run).model.config.sizes
        model = (run / "model.safetensors").stat().st_size
        several = ", ".join(f"{size:,} {n}-grams" for n, size in enumerate(sizes, 1))
        print(f"{args.tokens:,} tokens, {text.stat().st_size / 2**20:,.0f} MB of text;")
        print(f"nine tenths of it are counted; --memory {size}.  {several}.")
        print(f"The model has {model / 2**30:.2f} GB.\n")
        print("| | seconds | seconds of cores | tokens/s | memory (of --memory) | disk |")
        print("|---|---|---|---|---|---|")
        print("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", metavar="FILE")
    parser.add_argument("--tokens", type=int, help="of a text beyond memory")
    parser.add_argument("--memory", type=int, default=1024, help="in megabytes")
    parser.add_argument("--order", type=int, default=5)
    parser.add_argument("--no-export", action="store_true")
    args = parser.parse_args()
    text = TextStream(args.files)
    info = kernels_info()
    print(f"kernels: {info['kernels']}, {info['threads']} threads\n")
    if args.tokens:
        large(text, args)
        return
    cut = text.characters * 9 // 10
    smoothings(text, cut)
    scoring(text, cut)


if __name__ == "__main__":
    main()
