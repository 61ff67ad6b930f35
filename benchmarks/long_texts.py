"""Speed and memory by the length of a text: an LSTM, a Llama and a Mamba of 0.8 million weights.

    python -m benchmarks.long_texts [--lengths 256 1024 4096 16384 65536] [--models Llama Mamba]
                                    [--threads 1 2]

For one text of each length: the milliseconds of a training step (loss and backward pass) for 1,000
tokens, its peak of memory, the microseconds to write one more token after the text, and the bytes
that are kept for it.  The backward of the LSTM and of Mamba goes through the whole text, without
windows.  Each cell runs in a process of its own, so that its peak of memory is its own.
"""

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

from minillm.decoding import Reader
from minillm.models.language_model import LanguageModel, LanguageModelConfig
from minillm.models.llama import Llama, LlamaConfig
from minillm.models.mamba import Mamba, MambaConfig
from minillm.timing.contest import threads

from . import pytorch

V = 65
MODELS: dict[str, Callable[[int], tuple[type, Any]]] = {
    "LSTM": lambda T: (LanguageModel, LanguageModelConfig(V, 128, 256, layers=2, dropout=0.0)),
    "Llama": lambda T: (Llama, LlamaConfig(V, T + 1, layers=4, heads=4, width=128)),
    "Mamba": lambda T: (Mamba, MambaConfig(V, layers=7, width=128)),
}


def measured(name: str, T: int, count: int) -> list[float]:
    """Milliseconds for 1,000 tokens, MB, microseconds per token written, and kB kept."""
    ids = np.random.default_rng(0).integers(0, V, (1, T + 1))
    before = pytorch.peak()
    with threads(count):
        Model, config = MODELS[name](T)
        model = Model(config, np.random.default_rng(0))
        step = median_seconds(lambda: model.loss((ids[:, :-1], ids[:, 1:]))[1]())
        memory = pytorch.peak() - before
        reader = Reader(model)
        _, state = reader.read(ids[:, :T], reader.zero_state(1))
        written = median_seconds(lambda: reader.read(ids[:, T:], state), 20)
    return [1e6 * step / T, memory / 1e6, 1e6 * written, bytes_of(state) / 1e3]


def median_seconds(step: Callable[[], Any], most: int = 5) -> float:
    """The median time of a call after the first; fewer calls where one takes seconds."""
    step()
    taken: list[float] = []
    while len(taken) < most and sum(taken) < 20:
        begin = time.perf_counter()
        step()
        taken.append(time.perf_counter() - begin)
    return float(np.median(taken))


def bytes_of(state: Any) -> float:
    """The bytes of the arrays of a state: a dictionary, or the cache of a Transformer."""
    if isinstance(state, np.ndarray):
        return float(state.nbytes)
    if isinstance(state, dict):
        return sum(map(bytes_of, state.values()))
    if isinstance(state, list | tuple):
        return sum(map(bytes_of, state))
    return sum(map(bytes_of, vars(state).values())) if hasattr(state, "__dict__") else 0.0


def main() -> None:
    parser = pytorch.parser(__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=[4**n for n in range(4, 9)])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    args = parser.parse_args()
    for count in pytorch.on_threads(args.threads):
        print("| model | tokens | ms per 1,000 tokens | MB | us per token written | kB kept |")
        print("|---|--:|--:|--:|--:|--:|")
        for name in args.models:
            for T in args.lengths:
                with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                    ms, *others = process.submit(measured, name, T, count).result()
                figures = [f"{ms:,.1f}", *(f"{figure:,.0f}" for figure in others)]
                print(f"| {name} | {T:,} | {' | '.join(figures)} |", flush=True)


if __name__ == "__main__":
    main()
