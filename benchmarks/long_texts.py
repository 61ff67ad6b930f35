"""Speed and memory by the length of a text: an LSTM, a Llama and a Mamba of 0.8 million weights.

    python -m benchmarks.long_texts [--lengths 256 1024 4096 16384 65536] [--models Llama Mamba]
                                    [--threads 1 2]

For one text of each length: the milliseconds of a training step (loss and backward pass) for 1,000
tokens, its peak of memory, the microseconds to write one more token after the text, and the bytes
that are kept for it.  The backward of the LSTM and of Mamba goes through the whole text, without
windows.  With the package mambapy, which is written in PyTorch, its Mamba of the same sizes is
timed in turns with ours.

Each cell runs in a process of its own, so that its peak of memory is its own.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import pytorch
from minillm.decoding import Reader
from minillm.models.language_model import LanguageModel, LanguageModelConfig
from minillm.models.llama import Llama, LlamaConfig
from minillm.models.mamba import Mamba, MambaConfig
from minillm.timing.contest import threads, turns

V = 65
MODELS: dict[str, Callable[[int], tuple[type, Any]]] = {
    "LSTM": lambda T: (LanguageModel, LanguageModelConfig(V, 128, 256, layers=2, dropout=0.0)),
    "Llama": lambda T: (Llama, LlamaConfig(V, T + 1, layers=4, heads=4, width=128)),
    "Mamba": lambda T: (Mamba, MambaConfig(V, layers=7, width=128)),
}
MAMBAPY = "mambapy"
MOST_IN_PYTORCH = 4096  # tokens: it keeps some twenty arrays (T, E, N) for each layer


def measured(name: str, T: int, count: int) -> dict[str, float]:
    """The figures of a cell, in this process."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, V, (1, T + 1))
    before = pytorch.peak()
    with threads(count):
        if name == MAMBAPY:
            return compared_with_mambapy(ids)
        Model, config = MODELS[name](T)
        model = Model(config, rng)

        def step() -> None:
            _, backward = model.loss((ids[:, :-1], ids[:, 1:]))
            backward()

        result = {"weights": sum(p.size for p in model.params.values())}
        result["ms"] = 1e6 * median_seconds(step) / T
        result["mb"] = (pytorch.peak() - before) / 1e6
        reader = Reader(model)
        _, state = reader.read(ids[:, :T], reader.zero_state(1))
        result["us"] = 1e6 * median_seconds(lambda: reader.read(ids[:, T:], state), 20)
        result["kept"] = bytes_of(state)
    return result


def compared_with_mambapy(ids: np.ndarray) -> dict[str, float]:
    """The times of mambapy's stack and of ours, from embeddings to a gradient of each weight."""
    import torch
    from mambapy.mamba import Mamba as Theirs
    from mambapy.mamba import MambaConfig as TheirConfig

    config = MODELS["Mamba"](0)[1]
    torch.manual_seed(0)
    stack = Theirs(TheirConfig(d_model=config.width, n_layers=config.layers))
    table = torch.nn.Embedding(V, config.width)
    inputs, targets = torch.from_numpy(ids[:, :-1]), torch.from_numpy(ids[0, 1:])
    ours = Mamba(config, np.random.default_rng(0))

    def theirs_step() -> None:
        logits = stack(table(inputs)) @ table.weight.T
        torch.nn.functional.cross_entropy(logits[0], targets).backward()
        stack.zero_grad()
        table.zero_grad()

    def our_step() -> None:
        _, backward = ours.loss((ids[:, :-1], ids[:, 1:]))
        backward()

    taken = turns({"theirs": theirs_step, "ours": our_step}, 0.0, 5)
    theirs, own = (float(np.median(seconds)) for seconds in taken.values())
    return {"ms": 1e6 * theirs / (ids.shape[1] - 1), "ratio": theirs / own}


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
    names = (*MODELS, MAMBAPY)
    parser.add_argument("--models", nargs="+", choices=names, default=names)
    parser.add_argument("--cell", help="what a process of its own measures: name, length, threads")
    args = parser.parse_args()
    if args.cell:
        name, T, count = args.cell.split(",")
        print(json.dumps(measured(name, int(T), int(count))))
        return
    head = "| model | tokens | ms per 1,000 tokens | MB | us per token written | kB kept |"
    for count in pytorch.on_threads(args.threads):
        print(f"{head}\n|---|--:|--:|--:|--:|--:|")
        for name in args.models:
            for T in args.lengths:
                if name == MAMBAPY and T > MOST_IN_PYTORCH:
                    continue
                found = in_own_process(name, T, count)
                if found is None:
                    print(f"| {name} | {T:,} | does not run here | | | |")
                    break
                if name == MAMBAPY:
                    ratio = found["ratio"]
                    print(f"| {name} | {T:,} | {found['ms']:,.1f} ({ratio:.1f} times ours) | | | |")
                    continue
                print(
                    f"| {name} | {T:,} | {found['ms']:,.1f} | {found['mb']:,.0f} "
                    f"| {found['us']:,.0f} | {found['kept'] / 1e3:,.0f} |",
                    flush=True,
                )


def in_own_process(name: str, T: int, count: int) -> dict[str, float] | None:
    """The figures of a cell from a process of its own; None if it failed."""
    command = [sys.executable, "-m", "benchmarks.long_texts", "--cell", f"{name},{T},{count}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


if __name__ == "__main__":
    main()
