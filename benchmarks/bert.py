"""BERT here and in PyTorch: a training step.

    python -m benchmarks.bert [--threads 1 2] [--sizes small big] [--rounds 9]

The same weights and the same batch of masked passages; losses and gradients must agree before
anything is timed.  A step is forward, backward, clipping at 1 and AdamW (PyTorch's fused one).
PyTorch runs eagerly, with its fused attention; its output layer, too, computes only the masked
places.  Both are timed in turn in one process, after a warm-up; the figures are medians, with the
range.
"""

import numpy as np

from minillm.data.masking import Masking
from minillm.data.passages import framed
from minillm.models.bert import BERT, BERTConfig

from .pytorch import check, in_turns, on_threads, our_step, parser, show, tensors, their_step

SIZES = {
    "small": {"layers": 4, "heads": 4, "width": 128, "context": 128, "batch": 8},
    "big": {"layers": 6, "heads": 6, "width": 384, "context": 128, "batch": 16},
}
VOCABULARY = 4000
CLS, SEP, MASK = 0, 1, 2


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--sizes", choices=SIZES, nargs="+", default=list(SIZES))
    args = options.parse_args()
    for count in on_threads(args.threads):
        for name in args.sizes:
            step(name, args.rounds, count)


def step(name: str, rounds: int, count: int) -> None:
    """Time a training step."""
    import torch

    model, batch = model_and_batch(name)
    p = tensors(model.params)
    places = np.flatnonzero(batch.places)
    theirs = tuple(map(torch.from_numpy, (batch.ids, batch.segments, batch.targets, places)))

    def loss_of(*batch):
        return pytorch_loss(p, model.config, *batch)

    check(model, batch, p, lambda: loss_of(*theirs))
    contestants = {
        "minillm": our_step(model, [batch]),
        "PyTorch eager": their_step(p, loss_of, [theirs]),
    }
    print(f"step {name} {SIZES[name]}, vocabulary {VOCABULARY}: {len(batch.targets)} masked places")
    show(in_turns(contestants, rounds, count))


def model_and_batch(name: str):
    """Make a model of one of SIZES, and a batch of masked passages as long as the context."""
    sizes = dict(SIZES[name])
    B = sizes.pop("batch")
    config = BERTConfig(vocabulary=VOCABULARY, **sizes)
    rng = np.random.default_rng(0)
    texts = framed([[rng.integers(3, VOCABULARY, config.context - 2)] for _ in range(B)], CLS, SEP)
    return BERT(config, rng), Masking(MASK, np.arange(VOCABULARY) > MASK).hide(texts, rng)


def pytorch_loss(p, config, ids, segments, targets, places):
    """Return the mean cross-entropy at the masked places, indices into the rows of the batch."""
    from torch.nn import functional as F

    def norm(name, x):
        return F.layer_norm(x, x.shape[-1:], p[f"{name}.gain"], p[f"{name}.bias"], 1e-12)

    x = F.embedding(ids, p["embedding.E"]) + p["positions.E"][: ids.shape[1]]
    x = norm("embedding.norm", x + F.embedding(segments, p["segments.E"]))
    for layer in range(config.layers):
        block, attention, wide = (f"blocks.{layer}{s}" for s in ("", ".attention", ".feed_forward"))
        qkv = F.linear(x, p[f"{attention}.W_qkv"], p[f"{attention}.b_qkv"])
        q, k, v = qkv.unflatten(-1, (3, config.heads, -1)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        y = F.linear(y, p[f"{attention}.W_o"], p[f"{attention}.b_o"])
        x = norm(f"{block}.norm_1", x + y)
        h = F.gelu(F.linear(x, p[f"{wide}.W_1"], p[f"{wide}.b_1"]))
        x = norm(f"{block}.norm_2", x + F.linear(h, p[f"{wide}.W_2"], p[f"{wide}.b_2"]))
    h = F.linear(x.flatten(0, 1)[places], p["mask.W"], p["mask.b"])
    h = norm("mask.norm", F.gelu(h))
    return F.cross_entropy(F.linear(h, p["embedding.E"], p["mask.output_b"]), targets)


if __name__ == "__main__":
    main()
