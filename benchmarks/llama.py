"""A Llama with quantised weights, here and in llama.cpp: prompts, writing, and what rounding costs.

    python -m benchmarks.llama FILE.gguf [--llama-bench PROGRAM] [--threads 1 2]
                               [--only speed|error]

speed: the tokens per second of reading a prompt of 256 tokens, and of writing 64 tokens after the
first, with the weights as they are in the file, and as Q4_0 and Q8_0 (files in a temporary folder).
llama.cpp is timed by its own `llama-bench -p 256 -n 64` on the same files, in turn with ours; the
figures are medians.  Writing is also given as the part of the measured bandwidth of the memory at
which the weights are read.

error: each format against the file's weights in float32, on a text: the largest and the root mean
square difference of logits, the mean Kullback-Leibler divergence to it in nats, that to the
format's own weights in float32 (the cost of rounding activations alone), and the perplexity.
"""

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from minillm.decoding import Reader
from minillm.formats.gguf import GGUF, export_gguf
from minillm.models.llama import Llama
from minillm.ops.softmax import log_softmax
from minillm.quantised.matrix import dequantised
from minillm.training.optimisers import sum_of_squares

from .pytorch import on_threads, parser

PROMPT, WRITTEN = 256, 64
FORMATS = ("Q4_0", "Q4_1", "Q8_0")
TEXT = Path(__file__).resolve().parents[1] / "README.md"


def main() -> None:
    options = parser(__doc__, rounds=5)
    options.add_argument("file", type=Path)
    options.add_argument("--llama-bench", metavar="PROGRAM", help="of llama.cpp")
    options.add_argument("--only", choices=("speed", "error"))
    options.add_argument("--text", type=Path, default=TEXT, help="for the errors")
    options.add_argument("--tokens", type=int, default=512, help="of the text")
    args = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.only != "error":
            files = {"as it is": args.file}
            found = GGUF().read(args.file)
            model, tokenizer = found.model, found.tokenizer
            for format in ("Q4_0", "Q8_0"):
                files[format] = Path(folder, f"{format}.gguf")
                export_gguf(model, tokenizer, files[format], format)
            speed(files, args.llama_bench, args.threads, args.rounds)
        if args.only != "speed":
            error(args.file, args.text, args.tokens, Path(folder))


# --- speed ---------------------------------------------------------------------------------------


def speed(files: dict[str, Path], llama_bench: str | None, threads: list[int], rounds: int) -> None:
    """Print a line for each file and number of threads."""
    models = {}
    for name, file in files.items():
        start = time.perf_counter()
        models[name] = GGUF().read(file).model
        loading, size = time.perf_counter() - start, file.stat().st_size
        memory = sum(array.nbytes for array in models[name].params.values())
        print(f"{name:9} loaded in {loading:.2f} s; {memory / size:.2f} of the file in memory")
    for count in on_threads(threads):
        bandwidth = read_bandwidth()
        print(f"  the memory gives {bandwidth / 1e9:.1f} GB/s")
        for name, file in files.items():
            figures: dict[str, list[tuple[float, float]]] = {"minillm": [], "llama.cpp": []}
            for _ in range(rounds):
                figures["minillm"].append(ours(models[name]))
                if llama_bench:
                    figures["llama.cpp"].append(theirs(llama_bench, file, count))
            (prompt, written), *others = (
                tuple(median(column) for column in zip(*each, strict=True))
                for each in figures.values()
                if each
            )
            memory = sum(array.nbytes for array in models[name].params.values())
            print(
                f"  {name:9} prompt {prompt:6.0f} tokens/s, writing {written:5.1f}, "
                f"{written * memory / bandwidth:.0%} of the bandwidth"
            )
            for their_prompt, their_written in others:
                print(
                    f"  {'llama.cpp':>9}        {their_prompt:6.0f}                   "
                    f"{their_written:5.1f}   ours is {prompt / their_prompt:.2f} and "
                    f"{written / their_written:.2f} times as fast",
                    flush=True,
                )


def read_bandwidth() -> float:
    """Measure the bytes per second of an array that is read, beyond all caches."""
    array = np.ones(1 << 26, np.float32)
    return array.nbytes / min(seconds(lambda: sum_of_squares([array])) for _ in range(7))


def seconds(run: Callable[[], object]) -> float:
    """The time of a call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def ours(model: Llama) -> tuple[float, float]:
    """The tokens per second of a prompt, and of writing from a first token on."""
    reader = Reader(model)
    ids = np.random.default_rng(0).integers(0, model.config.vocabulary, (1, PROMPT))
    prompt = seconds(lambda: reader.read(ids, reader.zero_state(1)))
    logits, state = reader.read(ids[:, :1], reader.zero_state(1))

    def write() -> None:
        nonlocal logits, state
        for _ in range(WRITTEN):
            logits, state = reader.read(logits.argmax(axis=1)[:, None], state)

    return PROMPT / prompt, WRITTEN / seconds(write)


def theirs(program: str, file: Path, count: int) -> tuple[float, float]:
    """The same of llama.cpp."""
    sizes = ["-p", str(PROMPT), "-n", str(WRITTEN), "-t", str(count), "-r", "1"]
    command = [program, "-m", str(file), *sizes, "-o", "json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    prompt, written = (test["avg_ts"] for test in json.loads(done.stdout))
    return prompt, written


# --- error ---------------------------------------------------------------------------------------


def error(file: Path, text: Path, tokens: int, folder: Path) -> None:
    """Print a line for each format."""
    found = GGUF().read(file)
    model, tokenizer = found.model, found.tokenizer
    ids = np.asarray(tokenizer.encode(text.read_text(encoding="utf-8")))[: tokens + 1]
    exact = log_probabilities(dequantised(model), ids)
    print(
        f"\n{len(ids) - 1} tokens of {text.name}; "
        f"in float32 the perplexity is {perplexity(exact, ids):.3f}"
    )
    print(
        "  format     logits: largest, root mean square   KL divergence   to its own   perplexity"
    )
    for name, found in formats(model, tokenizer, file, folder):
        rounded = log_probabilities(found, ids)
        # Logits mean the same when a number is added to all of a row: their means are made equal.
        difference = rounded - exact
        difference -= difference.mean(axis=1, keepdims=True)
        own = log_probabilities(dequantised(found), ids)
        print(
            f"  {name:9} {np.abs(difference).max():9.3f} {np.sqrt((difference**2).mean()):9.4f}"
            f"        {divergence(exact, rounded):16.2e} {divergence(own, rounded):12.2e}"
            f" {perplexity(rounded, ids):12.3f}",
            flush=True,
        )


def formats(
    model: Llama, tokenizer: object, file: Path, folder: Path
) -> Iterator[tuple[str, Llama]]:
    """Yield the model as it is in the file, and then in each format."""
    yield "as it is", model
    for name in FORMATS:
        export_gguf(model, tokenizer, folder / f"{name}.gguf", name)
        yield name, GGUF().read(folder / f"{name}.gguf").model


def log_probabilities(model: Llama, ids: NDArray) -> NDArray[np.float64]:
    """Log P of every token after each of the ids but the last: (T - 1, V)."""
    logits = model.forward(ids[None, :-1])[0][0]
    return log_softmax(logits.astype(np.float64))


def divergence(log_p: NDArray, log_q: NDArray) -> float:
    """The mean over tokens of the Kullback-Leibler divergence from P to Q, in nats."""
    return float((np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean())


def perplexity(log_p: NDArray, ids: NDArray) -> float:
    """Exp of the mean of -log P of each next token."""
    return float(np.exp(-log_p[np.arange(len(log_p)), ids[1:]].mean()))


if __name__ == "__main__":
    main()
