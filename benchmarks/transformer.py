"""The Transformer that translates, here and in PyTorch: a training step, and translating.

    python -m benchmarks.transformer [--threads 1 2] [--only step|translate] [--sizes small big]
    python -m benchmarks.transformer --only translate --run runs/multi30k --sentences english.txt

The same weights and the same batches.  A step is forward, backward, clipping at 1 and AdamW
(PyTorch's fused one), with dropout and label smoothing; without these two, losses and gradients
must agree before anything is timed.  PyTorch runs eagerly, with its fused attention; its output
layer, too, sees no padding.  The sentences are random ids as long as captions are, in batches of
similar length, as `minillm train transformer` has them.

Translating is greedy, or beam search: in PyTorch a plain loop, which keeps the keys and values of
the source and of all tokens before, and goes on until all sources of a batch are done.  A model of
random weights writes 16 tokens; with --run and --sentences, a trained one writes what it will.

All are timed in turn in one process, after a warm-up; the figures are medians, with the range.
"""

import argparse
import itertools
import os
from dataclasses import replace
from typing import Any

import numpy as np

from minillm import kernels_info

from . import report
from .gpt import check, in_turns, is_transposed, pytorch_step, show
from .race import threads

SIZES = {
    "small": {"layers": 4, "heads": 4, "width": 128, "feed_forward": 512},
    "big": {"layers": 4, "heads": 4, "width": 256, "feed_forward": 1024},
}
VOCABULARY = 8000
BATCH = 128  # sentences of a training step
BATCHES = 3  # steps of a turn
TOGETHER = 64  # sentences translated at a time
LIMIT = 16  # tokens that a model of random weights writes


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, os.cpu_count() or 1])
    parser.add_argument("--only", choices=("step", "translate"))
    parser.add_argument("--sizes", choices=SIZES, nargs="+", default=list(SIZES))
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--run", metavar="DIR", help="translate with a trained model")
    parser.add_argument("--sentences", metavar="FILE", help="what to translate with it, by lines")
    args = parser.parse_args()
    if (args.run is None) != (args.sentences is None):
        parser.error("--run and --sentences go together")
    for key, value in report.machine().items():
        print(f"{key}: {value}")
    print(f"kernels: {kernels_info()['kernels']}")
    for count in args.threads:
        with threads(count):
            print(f"\n{count} thread(s)", flush=True)
            if args.run is not None:
                model, batches, limit = trained(args.run, args.sentences)
                translate(model, batches, limit, args.beams, args.rounds, count)
                continue
            for name in args.sizes:
                print(f"{name} {SIZES[name]}, vocabulary {VOCABULARY}")
                if args.only in (None, "step"):
                    step(name, args.rounds, count)
                if args.only in (None, "translate"):
                    model = fresh(name, shared=False, tied=False)
                    model.params["output.b"][model.config.eos] = -100  # never
                    translate(model, sources(), LIMIT, args.beams, args.rounds, count)


def fresh(name: str, **options: bool):
    """A model of one of SIZES, with random weights."""
    from minillm.models.transformer import Transformer, TransformerConfig

    sizes: dict[str, Any] = SIZES[name] | options
    config = TransformerConfig(VOCABULARY, VOCABULARY, **sizes)
    return Transformer(config, np.random.default_rng(0))


def random_sentences(count: int):
    """Pairs of random ids, as long as captions in English and French are; targets end with EOS."""
    from minillm.data import Sequences

    rng = np.random.default_rng(0)
    lengths = np.clip(rng.gamma(9, 1.5, count), 4, 40).astype(int)
    longer = np.clip(lengths * rng.normal(1.1, 0.15, count), 4, 44).astype(int)
    sources = Sequences(rng.integers(0, VOCABULARY, n) for n in lengths)
    targets = Sequences([*rng.integers(0, VOCABULARY, n), VOCABULARY] for n in longer)
    return sources, targets


# --- a training step ------------------------------------------------------------------------


def step(name: str, rounds: int, count: int) -> None:
    """A training step."""
    import torch

    from minillm.data import Minibatches
    from minillm.models.transformer import Transformer

    model, minibatches = (
        fresh(name, shared=True),
        Minibatches(random_sentences(29_000), BATCH, seed=0),
    )
    batches = [minibatches.next() for _ in range(BATCHES)]
    theirs = [tuple(map(torch.from_numpy, batch)) for batch in batches]
    plain = Transformer(
        replace(model.config, dropout=0.0, label_smoothing=0.0), params=model.params
    )
    other = pytorch_transformer(plain.config, model.params)
    check(plain, other, other.loss, batches[0], theirs[0])
    other = pytorch_transformer(model.config, model.params)
    following = itertools.cycle(theirs)
    one_of_theirs = pytorch_step(other, lambda: other.loss(*next(following)), ())
    contestants = {
        "minillm": our_steps(model, batches),
        "PyTorch eager": lambda: [one_of_theirs() for _ in batches],
    }
    places = sum(batch[0].size + batch[2].size for batch in batches)
    padding = 1 - sum(batch[1].sum() + batch[3].sum() for batch in batches) / places
    times = in_turns(contestants, rounds, count)
    print(f"step, {BATCH} pairs, {places / BATCHES / BATCH:.0f} tokens each, {padding:.0%} padding")
    show({kind: [t / BATCHES for t in each] for kind, each in times.items()})


def our_steps(model, batches):
    """A step on each batch."""
    from minillm.training import AdamW, clip_global_norm

    optimiser, rng = AdamW(model.params, beta2=0.98, weight_decay=0.1), np.random.default_rng(0)

    def run() -> None:
        for batch in batches:
            _, backward = model.loss(batch, rng)
            gradients = backward()
            clip_global_norm(gradients, 1.0)
            optimiser.step(gradients, 1e-4)

    return run


# --- translating ----------------------------------------------------------------------------


def sources():
    """Batches of sources and their lengths."""
    from minillm.data import Minibatches

    ours, _ = random_sentences(2 * TOGETHER)
    return list(Minibatches((ours,), TOGETHER, seed=0).once())


def trained(folder: str, file: str):
    """The model of a run, batches of sources, and the limit of an output's length."""
    import minillm
    from minillm.data import Minibatches, Sequences
    from minillm.data.lines import read_lines

    run = minillm.load(folder)
    encoded = Sequences(run.source.encode(line, place) for line, place in read_lines(file))
    batches = list(Minibatches((encoded,), TOGETHER, seed=0).once())
    return run.model, batches, run.data["longest_target"]


def translate(model, batches, limit: int, beams, rounds: int, count: int) -> None:
    """Sentences a second, from ids to ids."""
    import torch

    from minillm.decoding.beam import beam_search

    other = pytorch_transformer(model.config, model.params).eval()
    theirs = [tuple(map(torch.from_numpy, batch)) for batch in batches]
    sentences = sum(len(lengths) for _, lengths in batches)
    for beam in beams:

        def ours(beam=beam):
            found = [beam_search(model, *batch, beam, limit) for batch in batches]
            return [hypotheses[0].ids for each in found for hypotheses in each]

        def pytorch(beam=beam):
            with torch.inference_mode():
                found = [other.translate(*batch, beam, limit) for batch in theirs]
            return [ids for each in found for ids in each]

        pairs = list(zip(ours(), pytorch(), strict=True))
        same = np.mean([one == other for one, other in pairs])
        assert same > 0.95, f"only {same:.0%} of the outputs are the same"  # some are near ties
        written = np.mean([len(ids) for ids, _ in pairs])
        times = in_turns({"minillm": ours, "PyTorch eager": pytorch}, rounds, count)
        medians = [sentences / np.median(seconds) for seconds in times.values()]
        print(
            f"beam {beam}: {sentences} sentences, {written:.0f} tokens written each, "
            f"{medians[0]:.0f} and {medians[1]:.0f} sentences a second; of one:"
        )
        show({kind: [t / sentences for t in each] for kind, each in times.items()})


# --- PyTorch --------------------------------------------------------------------------------


def pytorch_transformer(config, params):
    """The same model in PyTorch, with the same weights; keys and values are products of all heads
    at once, and its attention is the fused one."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    from minillm.layers.positions import sinusoids

    D, N, inner = config.width, config.heads, config.feed_forward
    V, eos = config.target_vocabulary + 1, config.eos

    def heads(x, parts):
        """(B, T, parts D) -> parts times (B, N, T, D/N)."""
        return x.unflatten(-1, (parts, N, D // N)).permute(2, 0, 3, 1, 4)

    def joined(x):
        return x.transpose(1, 2).flatten(2)

    class SelfAttention(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv, self.o = nn.Linear(D, 3 * D), nn.Linear(D, D)

        def forward(self, x, mask=None, causal=False):
            q, k, v = heads(self.qkv(x), 3)
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
            return self.o(joined(y))

        def step(self, x, past, parents):
            """Of one token: past is (k, v) of those before, of which the rows ``parents`` go on."""
            q, *new = heads(self.qkv(x), 3)
            for i, before in enumerate(past):
                before = before if parents is None else before[parents]
                past[i] = torch.cat([before, new[i]], dim=2)
            return self.o(joined(F.scaled_dot_product_attention(q, *past)))

    class CrossAttention(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.kv, self.o = nn.Linear(D, D), nn.Linear(D, 2 * D), nn.Linear(D, D)

        def forward(self, x, kv, mask):
            (q,) = heads(self.q(x), 1)
            return self.o(joined(F.scaled_dot_product_attention(q, *kv, attn_mask=mask)))

    class Block(nn.Module):
        def __init__(self, norms):
            super().__init__()
            self.norms = nn.ModuleList(nn.LayerNorm(D) for _ in range(norms))
            self.attention = SelfAttention()
            self.W_1, self.W_2 = nn.Linear(D, inner), nn.Linear(inner, D)
            if norms == 3:
                self.cross = CrossAttention()

        def add(self, norm, x, branch):
            if config.post_norm:
                return self.norms[norm](x + self.dropout(branch(x)))
            return x + self.dropout(branch(self.norms[norm](x)))

        def dropout(self, x):
            return F.dropout(x, config.dropout, self.training)

        def forward(self, x, attention, cross=None):
            x = self.add(0, x, attention)
            if cross is not None:
                x = self.add(1, x, cross)
            return self.add(-1, x, lambda x: self.W_2(F.relu(self.W_1(x))))

    class Stack(nn.Module):
        def __init__(self, norms):
            super().__init__()
            self.blocks = nn.ModuleList(Block(norms) for _ in range(config.layers))
            self.norm = nn.Identity() if config.post_norm else nn.LayerNorm(D)

    class Transformer(nn.Module):
        def __init__(self):
            super().__init__()
            self.target = nn.Embedding(V, D)
            self.source = self.target
            if not config.shared:
                self.source = nn.Embedding(config.source_vocabulary, D)
            self.encoder, self.decoder = Stack(2), Stack(3)
            self.output = None if config.tied or config.shared else nn.Linear(D, V)
            self.register_buffer("places", torch.from_numpy(sinusoids(np.arange(512), D)))

        def embed(self, E, ids, start=0):
            x = D**0.5 * E(ids) + self.places[start : start + ids.shape[-1]]
            return F.dropout(x, config.dropout, self.training)

        def encode(self, source, lengths):
            """-> memory, and the mask of attention to it (None: there is no padding)."""
            mask = None
            if (lengths < source.shape[1]).any():
                mask = (torch.arange(source.shape[1]) < lengths[:, None])[:, None, None]
            x = self.embed(self.source, source)
            for block in self.encoder.blocks:
                x = block(x, lambda x, block=block: block.attention(x, mask))
            return self.encoder.norm(x), mask

        def logits(self, y):
            return F.linear(y, self.target.weight) if self.output is None else self.output(y)

        def loss(self, source, source_lengths, target, target_lengths):
            memory, mask = self.encode(source, source_lengths)
            inputs = torch.cat([torch.full((len(target), 1), eos), target[:, :-1]], dim=1)
            x = self.embed(self.target, inputs)
            for block in self.decoder.blocks:
                x = block(
                    x,
                    lambda x, block=block: block.attention(x, causal=True),
                    lambda x, block=block: block.cross(x, heads(block.cross.kv(memory), 2), mask),
                )
            real = torch.arange(target.shape[1]) < target_lengths[:, None]
            logits = self.logits(self.decoder.norm(x)[real])
            return F.cross_entropy(logits, target[real], label_smoothing=config.label_smoothing)

        def translate(self, source, lengths, beam, limit):
            """The best output of each source: ids without EOS."""
            memory, mask = self.encode(source, lengths)
            memories = [heads(block.cross.kv(memory), 2) for block in self.decoder.blocks]
            nothing = torch.zeros(len(source) * beam, N, 0, D // N)
            pasts = [[nothing, nothing] for _ in memories]

            def next_logits(ids, t, parents):
                """ids (B, K) -> (B, K, V)."""
                x = self.embed(self.target, ids.reshape(-1, 1), t)
                for block, past, kv in zip(self.decoder.blocks, pasts, memories, strict=True):

                    def cross(x, block=block, kv=kv):  # the hypotheses of a source share its memory
                        return block.cross(x.view(-1, beam, D), kv, mask).view(-1, 1, D)

                    def attention(x, block=block, past=past):
                        return block.attention.step(x, past, parents)

                    x = block(x, attention, cross)
                return self.logits(self.decoder.norm(x)).view(*ids.shape, V)

            search = greedy if beam == 1 else beam_search
            return search(next_logits, len(source), beam, limit)

        def named(self):
            """The parameters under our names."""
            return {ours: self.get_parameter(theirs) for ours, theirs in names(config).items()}

    def greedy(next_logits, B, beam, limit):
        ids, ended, written = torch.full((B, 1), eos), torch.zeros(B, 1, dtype=bool), []
        for t in range(limit):
            ids = next_logits(ids, t, None).argmax(dim=-1)
            written.append(ids)
            ended = ended | (ids == eos)
            if ended.all():
                break
        rows = torch.cat(written, dim=1).tolist()
        return [row[: row.index(eos)] if eos in row else row for row in rows]

    def beam_search(next_logits, B, beam, limit):
        """As :func:`minillm.decoding.beam.beam_search` has it."""
        ids, rows = torch.full((B, beam), eos), torch.arange(B)[:, None]
        totals = torch.full((B, beam), -torch.inf)
        totals[:, 0] = 0  # at first all hypotheses are the same one
        parents, texts, finished = None, torch.zeros(B, beam, 0, dtype=int), [[] for _ in range(B)]
        undone = set(range(B))
        for t in range(limit):
            log_p = F.log_softmax(next_logits(ids, t, parents), dim=-1)
            best, chosen = (totals[..., None] + log_p).flatten(1).topk(2 * beam)
            parent, ids = chosen // V, chosen % V
            ended = ids == eos
            for b, k in ended[:, :beam].nonzero().tolist():
                if b in undone:
                    text = texts[b, parent[b, k]].tolist()
                    finished[b].append((best[b, k].item() / (t + 1), text))
            order = ended.int().argsort(dim=1, stable=True)[:, :beam]
            totals, ids, parent = (x.gather(1, order) for x in (best, ids, parent))
            parents = (rows * beam + parent).flatten()
            texts = torch.cat([texts[rows, parent], ids[..., None]], dim=2)
            reached = (totals[:, 0] / (t + 1)).tolist()
            undone = {
                b for b in undone if len(finished[b]) < beam or max(finished[b])[0] < reached[b]
            }
            if not undone:
                break
        for b in undone:  # the limit cuts off
            finished[b].append((totals[b, 0].item() / limit, texts[b, 0].tolist()))
        return [max(each)[1] for each in finished]

    model = Transformer()
    with torch.no_grad():
        for ours, parameter in model.named().items():
            array = params[ours].T if is_transposed(ours) else params[ours]
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(array)))
    return model


def names(config) -> dict[str, str]:
    """Our names of the parameters, and those in :func:`pytorch_transformer`."""
    if config.shared:
        pairs = {"embedding.E": "target.weight"}
    else:
        pairs = {"source.E": "source.weight", "target.E": "target.weight"}
    if not (config.shared or config.tied):
        pairs |= {"output.W": "output.weight", "output.b": "output.bias"}
    of_attention = {"W_qkv": "qkv.weight", "b_qkv": "qkv.bias", "W_o": "o.weight", "b_o": "o.bias"}
    of_cross = {"W_q": "q.weight", "b_q": "q.bias", "W_kv": "kv.weight", "b_kv": "kv.bias"}
    of_cross |= {name: of_attention[name] for name in ("W_o", "b_o")}
    of_norm = {"gain": "weight", "bias": "bias"}
    for side, norms in (("encoder", 2), ("decoder", 3)):
        for layer in range(config.layers):
            ours, theirs = f"{side}.{layer}", f"{side}.blocks.{layer}"
            for name, other in of_attention.items():
                pairs[f"{ours}.attention.{name}"] = f"{theirs}.attention.{other}"
            for name, other in of_cross.items() if side == "decoder" else ():
                pairs[f"{ours}.cross.{name}"] = f"{theirs}.cross.{other}"
            for i, (name, other) in itertools.product((1, 2), of_norm.items()):
                kind = name.replace("gain", "W").replace("bias", "b")
                pairs[f"{ours}.feed_forward.{kind}_{i}"] = f"{theirs}.W_{i}.{other}"
            for i, (name, other) in itertools.product(range(norms), of_norm.items()):
                pairs[f"{ours}.norm_{i + 1}.{name}"] = f"{theirs}.norms.{i}.{other}"
        if not config.post_norm:
            for name, other in of_norm.items():
                pairs[f"{side}.norm.{name}"] = f"{side}.norm.{other}"
    return pairs


if __name__ == "__main__":
    main()
