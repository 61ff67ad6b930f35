"""GPT here and in PyTorch: writing token by token with a cache.

    python -m benchmarks.gpt [--threads 1 2] [--only write|large]

The same weights; what is written must agree before anything is timed.  PyTorch runs eagerly, with
its fused attention.  All are timed in turn in one process, after a warm-up; the figures are
medians, with the range.  (`python -m benchmarks --full` times the training step.)

`large` writes with a model of GPT-2's smallest size (124 million random weights), and compares the
time of a token with the time to read all weights once at the measured bandwidth of the memory.
"""

import time

import numpy as np

from minillm.decoding import Reader
from minillm.models.gpt import GPT, GPTConfig
from minillm.ops.linear import matmul
from minillm.timing.contest import limits, turns

from .pytorch import on_threads, parser, show, tensors
from .torch_models import gpt_read

SIZES = {
    "small": {"layers": 4, "heads": 4, "width": 128, "context": 64, "batch": 12},
    "big": {"layers": 6, "heads": 6, "width": 384, "context": 256, "batch": 8},
}
LARGE = {"layers": 12, "heads": 12, "width": 768, "context": 1024, "vocabulary": 50257}


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--only", choices=("write", "large"))
    args = options.parse_args()
    for count in on_threads(args.threads):
        if args.only != "large":
            write(args.rounds, count)
        if args.only != "write":
            large(limits(count).flops)


def model_and_batch(name: str):
    """Make a model of one of SIZES, and inputs and targets (B, T)."""
    sizes = dict(SIZES[name])
    batch = sizes.pop("batch")
    config = GPTConfig(vocabulary=65, **sizes)
    rng = np.random.default_rng(0)
    ids = rng.integers(0, config.vocabulary, (batch, config.context + 1))
    return GPT(config, rng), (ids[:, :-1].copy(), ids[:, 1:].copy())


def write(rounds: int, count: int, tokens: int = 200) -> None:
    """Time greedy writing at batch 1 with a cache."""
    import torch

    config = GPTConfig(vocabulary=65, context=256, layers=4, heads=4, width=128)
    model = GPT(config, np.random.default_rng(0))
    p = tensors(model.params)
    prompt, reader = np.arange(20)[None] % 65, Reader(model)

    def ours() -> list[int]:
        logits, state = reader.read(prompt, reader.zero_state(1))
        written = []
        for _ in range(tokens):
            written.append(int(logits[0].argmax()))
            logits, state = reader.read(np.array([[written[-1]]]), state)
        return written

    def theirs() -> list[int]:
        with torch.inference_mode():
            logits, cache = gpt_read(p, config, torch.from_numpy(prompt))
            written = []
            for _ in range(tokens):
                written.append(int(logits[0].argmax()))
                logits, cache = gpt_read(p, config, torch.tensor([[written[-1]]]), cache)
        return written

    assert ours() == theirs()
    print(f"writing {tokens} tokens at batch 1, 4 layers, width 128; a token:")
    show(turns({"minillm": ours, "PyTorch eager": theirs}, 0.0, rounds, count), each=tokens)


def large(peak: float, tokens: int = 12, prompt: int = 512) -> None:
    """Time writing with GPT-2's smallest size, and reading a prompt."""
    config = GPTConfig(**LARGE)
    model = GPT(config, np.random.default_rng(0))
    reader = Reader(model)
    weights = sum(p.nbytes for n, p in model.params.items() if n != "positions.E")
    ids = np.random.default_rng(1).integers(0, config.vocabulary, (1, prompt))
    read, steps = [], []
    for _ in range(3):
        state = reader.zero_state(1)
        start = time.perf_counter()
        _, state = reader.read(ids, state)
        read.append(time.perf_counter() - start)
        for t in range(tokens):
            start = time.perf_counter()
            _, state = reader.read(ids[:, t : t + 1], state)
            steps.append(time.perf_counter() - start)
    bandwidth = reading_bandwidth()
    matrices = sum(p.size for n, p in model.params.items() if p.ndim == 2 and "E" not in n)
    work = 2 * prompt * (matrices + config.layers * config.width * prompt)
    print(
        f"124M: a token in {np.median(steps) * 1e3:.1f} ms, "
        f"{weights / np.median(steps) / bandwidth:.0%} of the bandwidth of {bandwidth / 1e9:.1f} "
        f"GB/s; a prompt of {prompt} in {np.median(read) * 1e3:.0f} ms, "
        f"{work / np.median(read) / peak:.0%} of the peak",
        flush=True,
    )


def reading_bandwidth() -> float:
    """The bytes per second of the fastest reading of 400 MB: a product with one row."""
    W = np.ones((10_000, 10_000), np.float32)
    x, best = np.ones((1, 10_000), np.float32), 0.0
    for run in (lambda: matmul(x, W), lambda: x @ W, lambda: W.sum()):
        for _ in range(5):
            start = time.perf_counter()
            run()
            best = max(best, W.nbytes / (time.perf_counter() - start))
    return best


if __name__ == "__main__":
    main()
