"""Translating with the Transformer, here and in PyTorch.

    python -m benchmarks.transformer [--threads 1 2] [--sizes small big] [--together 64]

The same weights and the same batches; outputs must agree before anything is timed.  PyTorch runs
eagerly, with its fused attention.  The sentences are random ids as long as captions are, in batches
of similar length.  (`python -m benchmarks --full` times the training step.)

Translating is greedy, or beam search: in PyTorch a plain loop, which keeps the keys and values of
the source and of all tokens before, and goes on until all sources of a batch are done.  The weights
are random, and 16 tokens are written.

All are timed in turn in one process, after a warm-up; the figures are medians, with the range.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from minillm.data import Minibatches, Sequences
from minillm.decoding.beam import beam_search
from minillm.layers.positions import sinusoids
from minillm.models.transformer import Transformer, TransformerConfig
from minillm.timing.contest import turns

from .pytorch import on_threads, parser, show, tensors
from .search import search

SIZES = {
    "small": {"layers": 4, "heads": 4, "width": 128, "feed_forward": 512},
    "big": {"layers": 4, "heads": 4, "width": 256, "feed_forward": 1024},
}
VOCABULARY = 8000
LIMIT = 16  # tokens that are written
BEAMS = (1, 5)


def main() -> None:
    options = parser(__doc__, rounds=7)
    options.add_argument("--sizes", choices=SIZES, nargs="+", default=list(SIZES))
    options.add_argument("--together", type=int, default=64, help="sentences of a batch")
    args = options.parse_args()
    for count in on_threads(args.threads):
        for name in args.sizes:
            print(f"{name} {SIZES[name]}, vocabulary {VOCABULARY}")
            model = fresh(name, shared=False, tied=False)
            model.params["output.b"][model.config.eos] = -100  # never
            ours, _ = random_sentences(max(2 * args.together, 8))
            batches = list(Minibatches((ours,), args.together, seed=0).once())
            translate(model, batches, args.rounds, count)


def fresh(name: str, **options: bool):
    """Make a model of one of SIZES, with random weights."""
    sizes: dict[str, Any] = SIZES[name] | options
    config = TransformerConfig(VOCABULARY, VOCABULARY, **sizes)
    return Transformer(config, np.random.default_rng(0))


def random_sentences(count: int):
    """Make pairs of random ids, as long as captions in English and French; targets end with EOS."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.gamma(9, 1.5, count), 4, 40).astype(int)
    longer = np.clip(lengths * rng.normal(1.1, 0.15, count), 4, 44).astype(int)
    sources = Sequences(rng.integers(0, VOCABULARY, n) for n in lengths)
    targets = Sequences([*rng.integers(0, VOCABULARY, n), VOCABULARY] for n in longer)
    return sources, targets


# --- translating ----------------------------------------------------------------------------


def translate(model, batches, rounds: int, count: int) -> None:
    """Print sentences per second, from ids to ids."""
    import torch

    other = PyTorch(replace(model.config, dropout=0.0), tensors(model.params))
    theirs = [tuple(map(torch.from_numpy, batch)) for batch in batches]
    sentences = sum(len(lengths) for _, lengths in batches)
    for beam in BEAMS:

        def ours(beam=beam):
            outputs = [beam_search(model, *batch, beam, LIMIT) for batch in batches]
            return [hypotheses[0].ids for each in outputs for hypotheses in each]

        def pytorch(beam=beam):
            with torch.inference_mode():
                outputs = [other.translate(*batch, beam, LIMIT) for batch in theirs]
            return [ids for each in outputs for ids in each]

        pairs = list(zip(ours(), pytorch(), strict=True))
        same = np.mean([one == other for one, other in pairs])
        assert same > 0.95, f"only {same:.0%} of the outputs are the same"  # some are near ties
        written = np.mean([len(ids) for ids, _ in pairs])
        times = turns({"minillm": ours, "PyTorch eager": pytorch}, 0.0, rounds, count)
        medians = [sentences / np.median(seconds) for seconds in times.values()]
        print(
            f"beam {beam}: {sentences} sentences, {written:.0f} tokens written each, "
            f"{medians[0]:.0f} and {medians[1]:.0f} sentences a second; of one:"
        )
        show(times, each=sentences)


# --- PyTorch --------------------------------------------------------------------------------


class PyTorch:
    """The same model in PyTorch, with our config and tensors under our names.

    Keys and values are products of all heads at once, and its attention is the fused one.
    """

    def __init__(self, config, p):
        import torch
        from torch.nn import functional as F

        self.torch, self.F, self.config, self.p = torch, F, config, p
        self.source = p["embedding.E" if config.shared else "source.E"]
        self.target = p["embedding.E" if config.shared else "target.E"]
        self.places = torch.from_numpy(sinusoids(np.arange(512), config.width))

    def linear(self, name, x, suffix):
        return self.F.linear(x, self.p[f"{name}.W_{suffix}"], self.p[f"{name}.b_{suffix}"])

    def norm(self, name, x):
        gain, bias = self.p[f"{name}.gain"], self.p[f"{name}.bias"]
        return self.F.layer_norm(x, gain.shape, gain, bias)

    def dropout(self, x):
        return self.F.dropout(x, self.config.dropout)

    def heads(self, x, parts):
        """(B, T, parts D) -> parts times (B, N, T, D/N)."""
        return x.unflatten(-1, (parts, self.config.heads, -1)).permute(2, 0, 3, 1, 4)

    def attention(self, name, q, k, v, **options):
        y = self.F.scaled_dot_product_attention(q, k, v, **options)
        return self.linear(name, y.transpose(1, 2).flatten(2), "o")

    def self_attention(self, name, x, **options):
        return self.attention(name, *self.heads(self.linear(name, x, "qkv"), 3), **options)

    def step_attention(self, name, x, past, parents):
        """Attend from one token to all before: past is their [k, v], of the rows ``parents``."""
        q, *new = self.heads(self.linear(name, x, "qkv"), 3)
        for i, before in enumerate(past):
            before = before if parents is None else before[parents]
            past[i] = self.torch.cat([before, new[i]], dim=2)
        return self.attention(name, q, *past)

    def memory_of(self, name, memory):
        """The keys and values of a block's cross-attention."""
        return self.heads(self.linear(name, memory, "kv"), 2)

    def cross_attention(self, name, x, kv, mask):
        (q,) = self.heads(self.linear(name, x, "q"), 1)
        return self.attention(name, q, *kv, attn_mask=mask)

    def block(self, name, x, *branches):
        """Apply the branches and the feed-forward layer, each with its norm."""

        def feed_forward(x):
            wide = f"{name}.feed_forward"
            return self.linear(wide, self.F.relu(self.linear(wide, x, "1")), "2")

        for i, branch in enumerate((*branches, feed_forward), 1):
            norm = f"{name}.norm_{i}"
            if self.config.post_norm:
                x = self.norm(norm, x + self.dropout(branch(x)))
            else:
                x = x + self.dropout(branch(self.norm(norm, x)))
        return x

    def last_norm(self, side, x):
        return x if self.config.post_norm else self.norm(f"{side}.norm", x)

    def embed(self, E, ids, start=0):
        x = self.config.width**0.5 * self.F.embedding(ids, E)
        return self.dropout(x + self.places[start : start + ids.shape[-1]])

    def encode(self, source, lengths):
        """The memory, and the mask of attention to it (None: there is no padding)."""
        mask = None
        if (lengths < source.shape[1]).any():
            mask = (self.torch.arange(source.shape[1]) < lengths[:, None])[:, None, None]
        x = self.embed(self.source, source)
        for layer in range(self.config.layers):
            name = f"encoder.{layer}"
            x = self.block(
                name, x, lambda x, n=name: self.self_attention(f"{n}.attention", x, attn_mask=mask)
            )
        return self.last_norm("encoder", x), mask

    def logits(self, y):
        if "output.W" in self.p:
            return self.F.linear(y, self.p["output.W"], self.p["output.b"])
        return self.F.linear(y, self.target)

    def loss(self, source, source_lengths, target, target_lengths):
        torch, eos = self.torch, self.config.eos
        memory, mask = self.encode(source, source_lengths)
        inputs = torch.cat([torch.full((len(target), 1), eos), target[:, :-1]], dim=1)
        x = self.embed(self.target, inputs)
        for layer in range(self.config.layers):
            name = f"decoder.{layer}"
            kv = self.memory_of(f"{name}.cross", memory)
            x = self.block(
                name,
                x,
                lambda x, n=name: self.self_attention(f"{n}.attention", x, is_causal=True),
                lambda x, n=name, kv=kv: self.cross_attention(f"{n}.cross", x, kv, mask),
            )
        real = torch.arange(target.shape[1]) < target_lengths[:, None]
        logits = self.logits(self.last_norm("decoder", x)[real])
        smoothing = self.config.label_smoothing
        return self.F.cross_entropy(logits, target[real], label_smoothing=smoothing)

    def translate(self, source, lengths, beam, limit):
        """The best output of each source: ids without EOS."""
        torch, config = self.torch, self.config
        memory, mask = self.encode(source, lengths)
        names = [f"decoder.{layer}" for layer in range(config.layers)]
        memories = [self.memory_of(f"{name}.cross", memory) for name in names]
        nothing = torch.zeros(len(source) * beam, config.heads, 0, config.width // config.heads)
        pasts = [[nothing, nothing] for _ in names]

        def next_logits(ids, t, parents):
            """ids (B, K) -> (B, K, V)."""
            x = self.embed(self.target, ids.reshape(-1, 1), t)
            for name, past, kv in zip(names, pasts, memories, strict=True):

                def cross(x, name=name, kv=kv):  # the hypotheses of a source share its memory
                    rows = x.view(-1, beam, config.width)
                    return self.cross_attention(f"{name}.cross", rows, kv, mask).view(x.shape)

                def attention(x, name=name, past=past):
                    return self.step_attention(f"{name}.attention", x, past, parents)

                x = self.block(name, x, attention, cross)
            return self.logits(self.last_norm("decoder", x)).view(*ids.shape, -1)

        return search(next_logits, len(source), beam, limit, config.eos)


if __name__ == "__main__":
    main()
