"""GPT here and in PyTorch: a training step, and writing token by token with a cache.

    python -m benchmarks.gpt [--threads 1 2] [--only step|write|large|memory] [--compiled]

The same weights and batches; losses and gradients must agree before anything is timed.  A step
is forward, backward, clipping at 1 and AdamW (PyTorch's fused one).  PyTorch runs as it is
("eager") and, with --compiled, through torch.compile; its attention is its fused one.  All are
timed in turn in one process, after a warm-up; the figures are medians, with the range.

`large` writes with a model of GPT-2's smallest size (124 million random weights), and sets the
time against what reading all weights once takes at the measured bandwidth of the memory.

`memory` runs three steps of each in a process of its own, and sets the most that these took beside
each other: the peak of the resident memory beyond what there was before the first step.
"""

import argparse
import multiprocessing
import os
import time
from pathlib import Path

import numpy as np

from minillm import kernels_info

from . import report
from .race import measured_peak, threads

STEPS = {
    "small": {"layers": 4, "heads": 4, "width": 128, "context": 64, "batch": 12},
    "big": {"layers": 6, "heads": 6, "width": 384, "context": 256, "batch": 8},
}
LARGE = {"layers": 12, "heads": 12, "width": 768, "context": 1024, "vocabulary": 50257}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, os.cpu_count() or 1])
    parser.add_argument("--only", choices=("step", "write", "large", "memory"))
    parser.add_argument("--compiled", action="store_true", help="torch.compile too: a minute each")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    for key, value in report.machine().items():
        print(f"{key}: {value}")
    print(f"kernels: {kernels_info()['kernels']}")
    for count in args.threads:
        with threads(count):
            peak = measured_peak()
            print(f"\n{count} thread(s), peak {peak / 1e9:.0f} GFLOP/s", flush=True)
            if args.only in (None, "step"):
                for name in STEPS:
                    step(name, args.rounds, peak, args.compiled, count)
            if args.only in (None, "write"):
                write(args.rounds, count)
            if args.only in (None, "large"):
                large(peak, count)
    if args.only in (None, "memory"):
        memory()


def step(name: str, rounds: int, peak: float, compiled: bool, count: int) -> None:
    """A training step."""
    import torch

    from minillm.training.plan import of_gpt

    model, inputs, targets = model_and_batch(name)
    theirs = torch.from_numpy(inputs), torch.from_numpy(targets)
    contestants = {}
    for kind in ("PyTorch eager", "PyTorch compiled")[: 1 + compiled]:
        other = pytorch_gpt(model.config, model.params)
        loss_of = torch.compile(other.loss) if "compiled" in kind else other.loss
        check(model, other, loss_of, (inputs, targets), theirs)
        contestants[kind] = pytorch_step(other, loss_of, theirs)
    contestants = {"minillm": our_step(model, inputs, targets), **contestants}
    times = in_turns(contestants, rounds, count)
    work = of_gpt(model.config).operations * targets.size
    print(f"step {name} {STEPS[name]}: {work / 1e9:.2f} GFLOP")
    show(times)
    print(f"  minillm at {work / np.median(times['minillm']) / peak:.0%} of the peak", flush=True)


def model_and_batch(name: str):
    """A fresh model of one of STEPS, and inputs and targets (B, T)."""
    from minillm.models.gpt import GPT, GPTConfig

    sizes = dict(STEPS[name])
    batch = sizes.pop("batch")
    config = GPTConfig(vocabulary=65, **sizes)
    rng = np.random.default_rng(0)
    model = GPT(config, rng)
    ids = rng.integers(0, config.vocabulary, (batch, config.context + 1))
    return model, ids[:, :-1].copy(), ids[:, 1:].copy()


def our_step(model, inputs, targets):
    from minillm.training import AdamW, clip_global_norm

    optimiser = AdamW(model.params, weight_decay=0.1)

    def run() -> float:
        loss, backward = model.loss((inputs, targets))
        gradients = backward()
        clip_global_norm(gradients, 1.0)
        optimiser.step(gradients, 1e-4)
        return float(loss)

    return run


def memory() -> None:
    """What a training step takes, each contestant in a process of its own."""
    print("\nmemory of a training step: the peak beyond what there was before the first, MB")
    for name in STEPS:
        taken = {}
        for kind in ("minillm", "PyTorch eager"):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                taken[kind] = pool.apply(memory_of_steps, (kind, name))
        ours, theirs = taken["minillm"], taken["PyTorch eager"]
        print(f"  {name:6} minillm {ours:.0f}, PyTorch eager {theirs:.0f}: {ours / theirs:.2f}")


def memory_of_steps(kind: str, name: str, steps: int = 3) -> float:
    """In MB (of a million bytes), with the optimiser's moments."""
    model, inputs, targets = model_and_batch(name)
    if kind == "minillm":
        run = our_step(model, inputs, targets)
    else:
        import torch

        other = pytorch_gpt(model.config, model.params)
        run = pytorch_step(other, other.loss, (torch.tensor(inputs), torch.tensor(targets)))
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


def check(model, other, loss_of, batch, theirs) -> None:
    """AssertionError if losses or gradients differ."""
    loss, backward = model.loss(batch)
    their_loss = loss_of(*theirs)
    assert abs(float(loss) - their_loss.item()) < 1e-4, (loss, their_loss)
    their_loss.backward()
    gradients = backward()
    for ours, parameter in other.named().items():
        gradient = parameter.grad.numpy()
        gap = np.abs(gradients[ours] - (gradient.T if is_transposed(ours) else gradient)).max()
        assert gap < 1e-4, (ours, gap)
        parameter.grad = None


def pytorch_step(other, loss_of, batch):
    import torch

    parameters = list(other.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.1, fused=True)

    def run() -> float:
        optimiser.zero_grad(set_to_none=True)
        loss = loss_of(*batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        return loss.item()

    return run


def write(rounds: int, count: int, tokens: int = 200) -> None:
    """Greedy writing at batch 1 with a cache."""
    import torch

    from minillm.models.gpt import GPT, GPTConfig

    config = GPTConfig(vocabulary=65, context=256, layers=4, heads=4, width=128)
    model = GPT(config, np.random.default_rng(0))
    other = pytorch_gpt(config, model.params).eval()
    prompt = np.arange(20)[None] % 65

    def ours() -> list[int]:
        logits, state = model.read(prompt, model.zero_state(1))
        written = []
        for _ in range(tokens):
            written.append(int(logits[0].argmax()))
            logits, state = model.read(np.array([[written[-1]]]), state)
        return written

    def theirs() -> list[int]:
        with torch.inference_mode():
            logits, cache = other.read(torch.from_numpy(prompt), None)
            written = []
            for _ in range(tokens):
                written.append(int(logits[0].argmax()))
                logits, cache = other.read(torch.tensor([[written[-1]]]), cache)
        return written

    assert ours() == theirs()
    times = in_turns({"minillm": ours, "PyTorch eager": theirs}, rounds, count)
    print(f"writing {tokens} tokens at batch 1, 4 layers, width 128")
    show({name: [t / tokens for t in each] for name, each in times.items()})


def large(peak: float, count: int, tokens: int = 12, prompt: int = 512) -> None:
    """Writing with GPT-2's smallest size, and reading a prompt."""
    from minillm.models.gpt import GPT, GPTConfig

    config = GPTConfig(**LARGE)
    model = GPT(config, np.random.default_rng(0))
    weights = sum(p.nbytes for n, p in model.params.items() if n != "positions.E")
    ids = np.random.default_rng(1).integers(0, config.vocabulary, (1, prompt))
    read, steps = [], []
    for _ in range(3):
        state = model.zero_state(1)
        start = time.perf_counter()
        _, state = model.read(ids, state)
        read.append(time.perf_counter() - start)
        for t in range(tokens):
            start = time.perf_counter()
            _, state = model.read(ids[:, t : t + 1], state)
            steps.append(time.perf_counter() - start)
    bandwidth = memory_bandwidth()
    matrices = sum(p.size for n, p in model.params.items() if p.ndim == 2 and "E" not in n)
    work = 2 * prompt * (matrices + config.layers * config.width * prompt)
    print(
        f"124M: a token in {np.median(steps) * 1e3:.1f} ms, "
        f"{weights / np.median(steps) / bandwidth:.0%} of the bandwidth of {bandwidth / 1e9:.1f} "
        f"GB/s; a prompt of {prompt} in {np.median(read) * 1e3:.0f} ms, "
        f"{work / np.median(read) / peak:.0%} of the peak",
        flush=True,
    )


def memory_bandwidth() -> float:
    """Bytes a second of the fastest reading of 400 MB: a product with one row of each kernel."""
    from minillm.ops.linear import matmul

    W = np.ones((10_000, 10_000), np.float32)
    x, best = np.ones((1, 10_000), np.float32), 0.0
    for run in (lambda: matmul(x, W), lambda: x @ W, lambda: W.sum()):
        for _ in range(5):
            start = time.perf_counter()
            run()
            best = max(best, W.nbytes / (time.perf_counter() - start))
    return best


def in_turns(contestants: dict, rounds: int, count: int) -> dict[str, list[float]]:
    """The seconds of each contestant; each warms up before its turn (see race.py)."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for round in range(rounds + 1):
        for name, run in contestants.items():
            if count > 1:
                time.sleep(0.1)
            run()
            start = time.perf_counter()
            run()
            if round > 0:
                times[name].append(time.perf_counter() - start)
    return times


def show(times: dict[str, list[float]]) -> None:
    ours = np.median(times["minillm"])
    for name, seconds in times.items():
        low, middle, high = np.quantile(seconds, [0, 0.5, 1]) * 1e3
        print(f"  {name:17} {middle:9.3f} ms ({low:.3f} to {high:.3f})  {middle / 1e3 / ours:.2f}")


def pytorch_gpt(config, params):
    """The same model in PyTorch, as its users would write it, with the same weights."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    D, N = config.width, config.heads

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm_1, self.norm_2 = nn.LayerNorm(D), nn.LayerNorm(D)
            self.qkv, self.o = nn.Linear(D, 3 * D), nn.Linear(D, D)
            self.W_1, self.W_2 = nn.Linear(D, 4 * D), nn.Linear(4 * D, D)

        def forward(self, x, past=None):
            B, T, _ = x.shape
            q, k, v = self.qkv(self.norm_1(x)).view(B, T, 3, N, D // N).permute(2, 0, 3, 1, 4)
            if past is not None:
                k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=past is None)
            x = x + self.o(y.transpose(1, 2).reshape(B, T, D))
            h = F.gelu(self.W_1(self.norm_2(x)), approximate="tanh")
            return x + self.W_2(h), (k, v)

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(config.vocabulary, D)
            self.positions = nn.Embedding(config.context, D)
            self.blocks = nn.ModuleList(Block() for _ in range(config.layers))
            self.norm = nn.LayerNorm(D)

        def forward(self, ids):
            x = self.tokens(ids) + self.positions.weight[: ids.shape[1]]
            for block in self.blocks:
                x, _ = block(x)
            return self.norm(x) @ self.tokens.weight.T

        def loss(self, inputs, targets):
            return F.cross_entropy(self(inputs).flatten(0, 1), targets.flatten())

        def read(self, ids, cache):
            start = 0 if cache is None else cache[0][0].shape[2]
            x = self.tokens(ids) + self.positions.weight[start : start + ids.shape[1]]
            new = []
            for i, block in enumerate(self.blocks):
                x, kept = block(x, None if cache is None else cache[i])
                new.append(kept)
            return self.norm(x[:, -1]) @ self.tokens.weight.T, new

        def named(self):
            """The parameters under our names."""
            return {ours: self.get_parameter(theirs) for ours, theirs in names(config).items()}

    model = GPT()
    with torch.no_grad():
        for ours, parameter in model.named().items():
            array = params[ours].T if is_transposed(ours) else params[ours]
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(array)))
    return model


def is_transposed(name: str) -> bool:
    """Whether PyTorch keeps this matrix as (out, in)."""
    return name.rsplit(".", 1)[-1].startswith("W")


def names(config) -> dict[str, str]:
    """Our names of the parameters, and those in :func:`pytorch_gpt`."""
    pairs = {"embedding.E": "tokens.weight", "positions.E": "positions.weight"}
    of_block = {
        "norm_1.gain": "norm_1.weight",
        "norm_1.bias": "norm_1.bias",
        "norm_2.gain": "norm_2.weight",
        "norm_2.bias": "norm_2.bias",
        "attention.W_qkv": "qkv.weight",
        "attention.b_qkv": "qkv.bias",
        "attention.W_o": "o.weight",
        "attention.b_o": "o.bias",
        "feed_forward.W_1": "W_1.weight",
        "feed_forward.b_1": "W_1.bias",
        "feed_forward.W_2": "W_2.weight",
        "feed_forward.b_2": "W_2.bias",
    }
    for layer in range(config.layers):
        for ours, theirs in of_block.items():
            pairs[f"blocks.{layer}.{ours}"] = f"blocks.{layer}.{theirs}"
    return pairs | {"norm.gain": "norm.weight", "norm.bias": "norm.bias"}


if __name__ == "__main__":
    main()
