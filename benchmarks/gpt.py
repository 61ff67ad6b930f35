"""GPT here and in PyTorch: writing token by token with a cache, and the memory of a training step.

    python -m benchmarks.gpt [--threads 1 2] [--only write|large|memory]

The same weights; what is written must agree before anything is timed.  PyTorch runs eagerly, with
its fused attention.  All are timed in turn in one process, after a warm-up; the figures are
medians, with the range.  (`python -m benchmarks --full` times the training step.)

`large` writes with a model of GPT-2's smallest size (124 million random weights), and compares the
time of a token with the time to read all weights once at the measured bandwidth of the memory.

`memory` runs three steps of each contestant in a process of its own: the peak of the resident
memory beyond that before the first step.
"""

import multiprocessing
import time
from pathlib import Path

import numpy as np

from minillm.decoding import Reader
from minillm.models.gpt import GPT, GPTConfig
from minillm.ops.linear import matmul
from minillm.timing.contest import limits, turns

from .pytorch import on_threads, our_step, parser, show, tensors, their_step

SIZES = {
    "small": {"layers": 4, "heads": 4, "width": 128, "context": 64, "batch": 12},
    "big": {"layers": 6, "heads": 6, "width": 384, "context": 256, "batch": 8},
}
LARGE = {"layers": 12, "heads": 12, "width": 768, "context": 1024, "vocabulary": 50257}


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--only", choices=("write", "large", "memory"))
    args = options.parse_args()
    if args.only != "memory":
        for count in on_threads(args.threads):
            if args.only in (None, "write"):
                write(args.rounds, count)
            if args.only in (None, "large"):
                large(limits(count).flops)
    if args.only in (None, "memory"):
        memory()


def model_and_batch(name: str):
    """Make a model of one of SIZES, and inputs and targets (B, T)."""
    sizes = dict(SIZES[name])
    batch = sizes.pop("batch")
    config = GPTConfig(vocabulary=65, **sizes)
    rng = np.random.default_rng(0)
    ids = rng.integers(0, config.vocabulary, (batch, config.context + 1))
    return GPT(config, rng), (ids[:, :-1].copy(), ids[:, 1:].copy())


def memory() -> None:
    """Print the memory of a training step, each contestant in a process of its own."""
    print("\nmemory of a training step: the peak beyond that before the first, MB")
    for name in SIZES:
        peaks = {}
        for kind in ("minillm", "PyTorch eager"):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                peaks[kind] = pool.apply(memory_of_steps, (kind, name))
        ours, theirs = peaks["minillm"], peaks["PyTorch eager"]
        print(f"  {name:6} minillm {ours:.0f}, PyTorch eager {theirs:.0f}: {ours / theirs:.2f}")


def memory_of_steps(kind: str, name: str, steps: int = 3) -> float:
    """The peak in MB (of a million bytes), with the optimiser's moments."""
    model, batch = model_and_batch(name)
    if kind == "minillm":
        run = our_step(model, batch)
    else:
        import torch

        p = tensors(model.params)
        theirs = tuple(map(torch.from_numpy, batch))
        run = their_step(p.values(), lambda: pytorch_loss(p, model.config, *theirs))
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = peak_resident()
    for _ in range(steps):
        run()
    return (peak_resident() - before) / 1e6


def peak_resident() -> int:
    """The most bytes of this process that were in memory at once (Linux)."""
    status = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


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
            logits, cache = pytorch_read(p, config, torch.from_numpy(prompt))
            written = []
            for _ in range(tokens):
                written.append(int(logits[0].argmax()))
                logits, cache = pytorch_read(p, config, torch.tensor([[written[-1]]]), cache)
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


# --- PyTorch ---------------------------------------------------------------------------------


def pytorch_loss(p, config, inputs, targets):
    """The mean cross-entropy; ids (B, T) each."""
    from torch.nn import functional as F

    x, _ = pytorch_stack(p, config, inputs)
    return F.cross_entropy(F.linear(x, p["embedding.E"]).flatten(0, 1), targets.flatten())


def pytorch_read(p, config, ids, cache=None):
    """The logits behind the last token, and the keys and values of all so far."""
    from torch.nn import functional as F

    x, cache = pytorch_stack(p, config, ids, cache)
    return F.linear(x[:, -1], p["embedding.E"]), cache


def pytorch_stack(p, config, ids, cache=None):
    """The normalised output of the last block, and keys and values of each."""
    import torch
    from torch.nn import functional as F

    def norm(name, x):
        return F.layer_norm(x, x.shape[-1:], p[f"{name}.gain"], p[f"{name}.bias"])

    start = 0 if cache is None else cache[0][0].shape[2]
    x = F.embedding(ids, p["embedding.E"]) + p["positions.E"][start : start + ids.shape[1]]
    new = []
    for layer in range(config.layers):
        block, attention, wide = (f"blocks.{layer}{s}" for s in ("", ".attention", ".feed_forward"))
        qkv = F.linear(norm(f"{block}.norm_1", x), p[f"{attention}.W_qkv"], p[f"{attention}.b_qkv"])
        q, k, v = qkv.unflatten(-1, (3, config.heads, -1)).permute(2, 0, 3, 1, 4)
        if cache is not None:
            k, v = (torch.cat(parts, 2) for parts in zip(cache[layer], (k, v), strict=True))
        new.append((k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=cache is None)
        y = y.transpose(1, 2).flatten(2)
        x = x + F.linear(y, p[f"{attention}.W_o"], p[f"{attention}.b_o"])
        h = F.linear(norm(f"{block}.norm_2", x), p[f"{wide}.W_1"], p[f"{wide}.b_1"])
        h = F.gelu(h, approximate="tanh")
        x = x + F.linear(h, p[f"{wide}.W_2"], p[f"{wide}.b_2"])
    return norm("norm", x), new


if __name__ == "__main__":
    main()
