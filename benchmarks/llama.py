"""A Llama with quantised weights, here and in programs like llama.cpp: speed, and what it costs.

    python -m benchmarks.llama FILE.gguf [--peer NAME=PATH/libllama.so ...] [--threads 1 2]

All programs read the same files, which our own export writes from the weights of FILE.gguf.  Types
with blocks of 256 weights need longer rows than a small model may have, so its width is padded with
zeros, which change no logit.  The weights of a larger model are random, because speed does not
depend on their values.

In turn, each program reads a prompt of 256 tokens, and then 64 more, one by one, as if it had
written them.  The table has the medians, in tokens per second, for each number of threads; how many
times as fast as another program ours is; the gain of the last number of threads over the first; and
how much of the memory's bandwidth reading the weights takes while writing.

"KL" is the mean Kullback-Leibler divergence, in nats, from the model that is not quantised, on 512
tokens of a text.  "rounding" is the divergence from the same quantised weights in float32: the cost
of rounding activations, which a program does for its speed.
"""

import contextlib
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minillm.decoding import Reader
from minillm.errors import InputError, short
from minillm.formats import gguf
from minillm.formats.gguf import export_gguf, read_weights
from minillm.models.llama import Llama, LlamaConfig
from minillm.ops.linear import matmul
from minillm.ops.softmax import log_softmax
from minillm.quantised.matrix import dequantised
from minillm.text import Characters
from minillm.timing.contest import best_time, threads

from .pytorch import on_threads, parser

PROMPT, WRITTEN, TOKENS = 256, 64, 512
TYPES = ("Q4_0", "Q4_1", "Q5_0", "Q8_0")
LONG_ROWS = ("Q4_K", "Q6_K")
LARGE = LlamaConfig(32000, 2048, 22, 32, 4, 2048, 5632, tied=False)
TEXT = Path(__file__).resolve().parents[1] / "README.md"

Speed = tuple[float, float]  # of the prompt, and of writing


class Ours:
    """minillm, which is asked like another program."""

    def load(self, file: str, config: LlamaConfig) -> None:
        """Read a model's weights."""
        self.model = Llama(config, params=read_weights(file, config))

    def ask(self, method: str, *arguments: Any) -> Any:
        """What a method returns."""
        return getattr(self, method)(*arguments)

    def seconds(self, file: str, count: int, ids: list[int], more: list[int]) -> list[float]:
        """The seconds for the ids, and for each one more."""
        reader, prompt, others = Reader(self.model), np.array([ids]), np.array(more)[:, None, None]
        with threads(count):
            times, (_, state) = [time.perf_counter()], reader.read(prompt, reader.zero_state(1))
            times.append(time.perf_counter())
            for token in others:
                _, state = reader.read(token, state)
                times.append(time.perf_counter())
        return np.diff(times).tolist()

    def logits(self, file: str, ids: list[int], vocabulary: int, path: str) -> None:
        """Save the logits after each of the ids as a file of NumPy."""
        np.save(path, self.model.forward(np.array([ids]))[0][0])

    def bytes(self) -> int:
        """The bytes of the weights that each token needs whole."""
        looked_up = () if self.model.config.tied else ("embedding.E",)
        return sum(w.nbytes for name, w in self.model.params.items() if name not in looked_up)


class Peer:
    """Another program, in a process of its own (benchmarks.llama_peers)."""

    def __init__(self, library: str) -> None:
        if not Path(library).is_file():
            raise InputError(f"peer: expected NAME=LIBRARY, found no file {short(library)}")
        self.library = library
        code = "from benchmarks.llama_peers import main; main()"
        command = [sys.executable, "-c", code, library]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def ask(self, method: str, *arguments: Any) -> Any:
        """What a method returns."""
        answer = ""
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps([method, *arguments]), file=self.process.stdin, flush=True)
            answer = self.process.stdout.readline()
        if not answer:
            raise InputError(f"peer: {self.library} gave no answer to {method!r}")
        return json.loads(answer)


def main() -> int:
    try:
        compare()
    except InputError as error:
        print(f"benchmarks.llama: {error}", file=sys.stderr)
        return 2
    return 0


def compare() -> None:
    """Measure and print, as the command line says."""
    options = parser(__doc__, rounds=5)
    options.add_argument("file", type=Path)
    options.add_argument("--peer", action="append", default=[], metavar="NAME=LIBRARY")
    options.add_argument("--only", nargs="+", metavar="WEIGHTS", help="lines of the table")
    args = options.parse_args()
    peers = [(name, Peer(library)) for name, _, library in (p.rpartition("=") for p in args.peer)]
    given = gguf.read(args.file)
    ours, bandwidth = Ours(), []
    programs: dict[str, Ours | Peer] = {"minillm": ours}
    for _ in on_threads(args.threads):
        bandwidth.append(read_bandwidth())
        print(f"the memory gives {bandwidth[-1] / 1e9:.1f} GB/s")
    for name, peer in peers:
        programs[name] = peer
        print(f"\n{name}: {peer.ask('about')}")
    model, text = dequantised(given.model), TEXT.read_text(encoding="utf-8")
    ids = given.tokenizer.encode(text)[:TOKENS].tolist()
    exact = log_probabilities(model.forward(np.array([ids]))[0][0])
    show(heads(args.threads))
    with tempfile.TemporaryDirectory() as folder:
        logits = f"{folder}/logits.npy"
        for name, make, block_type in cases(model):
            if args.only and name not in args.only:
                continue
            source = make()
            file = f"{folder}/{name}.gguf"
            export_gguf(source, Characters(["a"]), file, block_type)
            ours.load(file, source.config)
            V, memory = source.config.vocabulary, [ours.bytes() / each for each in bandwidth]
            speeds = measured(programs, file, [id % V for id in ids], args.threads, args.rounds)
            costs = {program: ["", ""] for program in programs}
            if source.config != LARGE:
                own = log_probabilities(dequantised(ours.model).forward(np.array([ids]))[0][0])
                for program, one in programs.items():
                    one.ask("logits", file, ids, V, logits)
                    rounded = log_probabilities(np.load(logits))
                    costs[program] = [f"{divergence(p, rounded):.2e}" for p in (exact, own)]
            for program, speed in speeds.items():
                found = line(speed, speeds["minillm"], memory)
                show([name, program, *costs[program], *found])


def cases(model: Llama) -> Iterator[tuple[str, Callable[[], Llama], str]]:
    """Yield a name, a maker of a model, and the type of its weights, for each of the files."""
    large = cache(lambda: drawn(LARGE))
    for block_type in TYPES:
        yield block_type, lambda: model, block_type
    for block_type in LONG_ROWS:
        yield f"{block_type}, padded", lambda: padded(model), block_type
    for block_type in (*TYPES[::3], *LONG_ROWS):
        yield f"{block_type}, 1.1 billion", large, block_type


def padded(model: Llama) -> Llama:
    """The same model with sizes that are multiples of 256, filled up with zeros."""
    c, w = model.config, model.config.head_width
    D, F = -(-c.width // 256) * 256, -(-c.feed_forward // 256) * 256
    group = c.heads // c.key_heads
    M = next(m for m in range(c.key_heads, c.key_heads + 256) if m * group * w % 256 == 0)
    sizes = {"width": D, "feed_forward": F, "heads": M * group, "key_heads": M, "head_width": w}
    # The mean of a norm is taken over the zeros, too.
    wide = replace(c, **sizes, eps=c.eps * c.width / D)
    params = {}
    for name, shape in Llama.shapes(wide).items():
        old, new = model.params[name], np.zeros(shape, np.float32)
        if old.ndim == 1:
            new[: len(old)] = old * (c.width / D) ** 0.5
        else:
            for before, after in zip(columns(name, old, c), columns(name, new, wide), strict=True):
                after[: len(before), : before.shape[1]] = before
        params[name] = new
    return Llama(wide, params=params)


def columns(name: str, W: NDArray, config: LlamaConfig) -> list[NDArray]:
    """The matrices that lie side by side in a matrix."""
    heads = (config.heads, config.key_heads, config.key_heads)
    ends = {
        "W_qkv": np.cumsum(heads) * config.head_width,
        "W_gate_up": [config.feed_forward, 2 * config.feed_forward],
    }.get(name.rsplit(".", 1)[-1], [W.shape[1]])
    return np.split(W, ends[:-1], axis=1)


def drawn(config: LlamaConfig) -> Llama:
    """A model with random weights; all of its blocks have the same ones."""
    rng, of_kind, params = np.random.default_rng(0), {}, {}
    for name, shape in Llama.shapes(config).items():
        kind = re.sub(r"\d+", "", name)
        if kind not in of_kind:
            of_kind[kind] = np.float32(0.02) * rng.standard_normal(shape, np.float32)
        params[name] = of_kind[kind]
    return Llama(config, params=params)


# --- measuring -----------------------------------------------------------------------------------


def measured(
    programs: Mapping[str, "Ours | Peer"], file: str, ids: list[int], counts: list[int], rounds: int
) -> dict[str, list[Speed]]:
    """The speeds of each program on each number of threads."""
    speeds: dict[str, list[Speed]] = {program: [] for program in programs}
    for n in counts:
        turns: dict[str, list[list[float]]] = {program: [] for program in programs}
        for _ in range(rounds):
            for program, one in programs.items():
                question = file, n, ids[:PROMPT], ids[PROMPT : PROMPT + WRITTEN]
                turns[program].append(one.ask("seconds", *question))
        for program, times in turns.items():
            prompt = median(each[0] for each in times)
            written = median(seconds for each in times for seconds in each[1:])
            speeds[program].append((PROMPT / prompt, 1 / written))
    return speeds


def read_bandwidth() -> float:
    """Measure the bytes per second of an array that is read, beyond all caches."""
    row, array = (np.ones((rows, 1 << 13), np.float32) for rows in (1, 1 << 13))
    return array.nbytes / best_time(lambda: matmul(row, array), 0.5)


def log_probabilities(logits: NDArray) -> NDArray[np.float64]:
    """Log P of every token: (T, V)."""
    return log_softmax(logits.astype(np.float64))


def divergence(log_p: NDArray, log_q: NDArray) -> float:
    """The mean over tokens of the Kullback-Leibler divergence from P to Q, in nats."""
    return float((np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean())


# --- the table -----------------------------------------------------------------------------------


def show(cells: list[str]) -> None:
    """Print a line of the table."""
    print(
        f"{cells[0]:18}  {cells[1]:24}" + "".join(f"{cell:>10}" for cell in cells[2:]), flush=True
    )


def heads(counts: list[int]) -> list[str]:
    """The names of the columns."""
    names = ["weights", "program", "KL", "rounding"]
    for work in ("prompt", "writing"):
        names += [f"{work} {n}" for n in counts] + ["ours"] * len(counts) + ["gain"]
    return [*names, "bandwidth", *[""] * (len(counts) - 1)]


def line(speeds: list[Speed], ours: list[Speed], seconds_of_memory: list[float]) -> list[str]:
    """The cells of one program's speeds."""
    cells = []
    for found, own in zip(zip(*speeds, strict=True), zip(*ours, strict=True), strict=True):
        cells += [f"{each:.4g}" for each in found]
        cells += [f"{a / b:.2f}" if speeds != ours else "" for a, b in zip(own, found, strict=True)]
        cells.append(f"{found[-1] / found[0]:.2f}")
    pairs = zip(speeds, seconds_of_memory, strict=True)
    return cells + [f"{writing * seconds:.0%}" for (_, writing), seconds in pairs]


if __name__ == "__main__":
    sys.exit(main())
