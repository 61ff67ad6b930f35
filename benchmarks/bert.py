"""BERT here and in PyTorch: a training step.

    python -m benchmarks.bert [--threads 1 2] [--sizes small big] [--rounds 9]

The same weights and the same batch of masked passages; losses and gradients must agree before
anything is timed.  A step is forward, backward, clipping at 1 and AdamW (PyTorch's fused one).
PyTorch runs eagerly, with its fused attention, and its output layer, too, sees the masked places
alone.  Both are timed in turn in one process, after a warm-up; the figures are medians, with the
range.
"""

import argparse
import os

import numpy as np

from minillm import kernels_info

from . import report
from .gpt import in_turns, is_transposed, pytorch_step, show
from .race import threads

STEPS = {
    "small": {"layers": 4, "heads": 4, "width": 128, "context": 128, "batch": 8},
    "big": {"layers": 6, "heads": 6, "width": 384, "context": 128, "batch": 16},
}
VOCABULARY = 4000
CLS, SEP, MASK = 0, 1, 2


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, os.cpu_count() or 1])
    parser.add_argument("--sizes", choices=STEPS, nargs="+", default=list(STEPS))
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    for key, value in report.machine().items():
        print(f"{key}: {value}")
    print(f"kernels: {kernels_info()['kernels']}")
    for count in args.threads:
        with threads(count):
            print(f"\n{count} thread(s)", flush=True)
            for name in args.sizes:
                step(name, args.rounds, count)


def step(name: str, rounds: int, count: int) -> None:
    """A training step."""
    import torch

    model, batch = model_and_batch(name)
    other = pytorch_bert(model.config, model.params)
    theirs = tuple(torch.from_numpy(entry) for entry in (batch.ids, batch.segments, batch.targets))
    theirs = (*theirs, torch.from_numpy(np.flatnonzero(batch.places)))
    check(model, other, batch, theirs)
    contestants = {
        "minillm": our_step(model, batch),
        "PyTorch eager": pytorch_step(other, other.loss, theirs),
    }
    print(f"step {name} {STEPS[name]}, vocabulary {VOCABULARY}: {len(batch.targets)} masked places")
    show(in_turns(contestants, rounds, count))


def model_and_batch(name: str):
    """A fresh model of one of STEPS, and a batch of masked passages, all as long as the context."""
    from minillm.data.masking import Masking
    from minillm.data.passages import framed
    from minillm.models.bert import BERT, BERTConfig

    sizes = dict(STEPS[name])
    B = sizes.pop("batch")
    config = BERTConfig(vocabulary=VOCABULARY, **sizes)
    rng = np.random.default_rng(0)
    texts = framed([[rng.integers(3, VOCABULARY, config.context - 2)] for _ in range(B)], CLS, SEP)
    return BERT(config, rng), Masking(MASK, np.arange(VOCABULARY) > MASK).hide(texts, rng)


def our_step(model, batch):
    from minillm.training import AdamW, clip_global_norm

    optimiser = AdamW(model.params, weight_decay=0.1)

    def run() -> float:
        loss, backward = model.loss(batch)
        gradients = backward()
        clip_global_norm(gradients, 1.0)
        optimiser.step(gradients, 1e-4)
        return float(loss)

    return run


def check(model, other, batch, theirs) -> None:
    """AssertionError if losses or gradients differ."""
    loss, backward = model.loss(batch)
    their_loss = other.loss(*theirs)
    assert abs(float(loss) - their_loss.item()) < 1e-4, (loss, their_loss)
    their_loss.backward()
    gradients = backward()
    for ours, parameter in other.named().items():
        gradient = parameter.grad.numpy()
        gap = np.abs(gradients[ours] - (gradient.T if is_transposed(ours) else gradient)).max()
        assert gap < 1e-4, (ours, gap)
        parameter.grad = None


def pytorch_bert(config, params):
    """The same model in PyTorch, as its users would write it, with the same weights."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    D, N = config.width, config.heads

    def norm():
        return nn.LayerNorm(D, eps=1e-12)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm_1, self.norm_2 = norm(), norm()
            self.qkv, self.o = nn.Linear(D, 3 * D), nn.Linear(D, D)
            self.W_1, self.W_2 = nn.Linear(D, 4 * D), nn.Linear(4 * D, D)

        def forward(self, x):
            B, T, _ = x.shape
            q, k, v = self.qkv(x).view(B, T, 3, N, D // N).permute(2, 0, 3, 1, 4)
            y = F.scaled_dot_product_attention(q, k, v)
            x = self.norm_1(x + self.o(y.transpose(1, 2).reshape(B, T, D)))
            return self.norm_2(x + self.W_2(F.gelu(self.W_1(x))))

    class BERT(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(config.vocabulary, D)
            self.positions = nn.Embedding(config.context, D)
            self.segments = nn.Embedding(config.segments, D)
            self.norm = norm()
            self.blocks = nn.ModuleList(Block() for _ in range(config.layers))
            self.dense, self.dense_norm = nn.Linear(D, D), norm()
            self.output_b = nn.Parameter(torch.zeros(config.vocabulary))

        def loss(self, ids, segments, targets, places):
            x = self.tokens(ids) + self.positions.weight[: ids.shape[1]] + self.segments(segments)
            x = self.norm(x)
            for block in self.blocks:
                x = block(x)
            h = self.dense_norm(F.gelu(self.dense(x.flatten(0, 1)[places])))
            return F.cross_entropy(F.linear(h, self.tokens.weight, self.output_b), targets)

        def named(self):
            """The parameters under our names."""
            return {ours: self.get_parameter(theirs) for ours, theirs in names(config).items()}

    model = BERT()
    with torch.no_grad():
        for ours, parameter in model.named().items():
            array = params[ours].T if is_transposed(ours) else params[ours]
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(array)))
    return model


def names(config) -> dict[str, str]:
    """Our names of the parameters, and those in :func:`pytorch_bert`."""
    from .gpt import names as of_blocks

    pairs = {ours: t for ours, t in of_blocks(config).items() if not ours.startswith("norm.")}
    return pairs | {
        "segments.E": "segments.weight",
        "embedding.norm.gain": "norm.weight",
        "embedding.norm.bias": "norm.bias",
        "mask.W": "dense.weight",
        "mask.b": "dense.bias",
        "mask.norm.gain": "dense_norm.weight",
        "mask.norm.bias": "dense_norm.bias",
        "mask.output_b": "output_b",
    }


if __name__ == "__main__":
    main()
