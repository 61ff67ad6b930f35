"""The models in PyTorch, for the comparisons: the work of the usual modules, with our weights.

Transformers are functions of tensors under our names, with PyTorch's fused attention and without
dropout.  Recurrent models are made of modules of torch.nn.
"""

import numpy as np

from minillm.layers.positions import sinusoids
from minillm.models.pointer_generator import PointerGeneratorConfig

from .pytorch import torch
from .search import beam_search, greedy

F = torch.nn.functional if torch else None


def linear(p, name, x, suffix):
    return F.linear(x, p[f"{name}.W_{suffix}"], p[f"{name}.b_{suffix}"])


def norm(p, name, x, eps=1e-5):
    return F.layer_norm(x, x.shape[-1:], p[f"{name}.gain"], p[f"{name}.bias"], eps)


def heads(x, parts, N):
    """(B, T, parts D) -> parts times (B, N, T, D/N)."""
    return x.unflatten(-1, (parts, N, -1)).permute(2, 0, 3, 1, 4)


def attention(p, name, q, k, v, **options):
    y = F.scaled_dot_product_attention(q, k, v, **options)
    return linear(p, name, y.transpose(1, 2).flatten(2), "o")


# --- GPT -------------------------------------------------------------------------------------


def gpt_loss(p, config, inputs, targets):
    """The mean cross-entropy; ids (B, T) each."""
    x = F.embedding(inputs, p["embedding.E"]) + p["positions.E"][: inputs.shape[1]]
    for layer in range(config.layers):
        name, wide = f"blocks.{layer}.attention", f"blocks.{layer}.feed_forward"
        h = norm(p, f"blocks.{layer}.norm_1", x)
        q, k, v = heads(linear(p, name, h, "qkv"), 3, config.heads)
        x = x + attention(p, name, q, k, v, is_causal=True)
        h = linear(p, wide, norm(p, f"blocks.{layer}.norm_2", x), "1")
        x = x + linear(p, wide, F.gelu(h, approximate="tanh"), "2")
    logits = F.linear(norm(p, "norm", x), p["embedding.E"])
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


# --- BERT ------------------------------------------------------------------------------------


def bert_loss(p, config, ids, segments, targets, places):
    """The mean cross-entropy at the masked places, indices into the rows of the batch.

    The output layer computes only the masked places.
    """
    eps = 1e-12
    x = F.embedding(ids, p["embedding.E"]) + p["positions.E"][: ids.shape[1]]
    x = norm(p, "embedding.norm", x + F.embedding(segments, p["segments.E"]), eps)
    for layer in range(config.layers):
        name, wide = f"blocks.{layer}.attention", f"blocks.{layer}.feed_forward"
        q, k, v = heads(linear(p, name, x, "qkv"), 3, config.heads)
        x = norm(p, f"blocks.{layer}.norm_1", x + attention(p, name, q, k, v), eps)
        h = linear(p, wide, F.gelu(linear(p, wide, x, "1")), "2")
        x = norm(p, f"blocks.{layer}.norm_2", x + h, eps)
    h = F.linear(x.flatten(0, 1)[places], p["mask.W"], p["mask.b"])
    h = norm(p, "mask.norm", F.gelu(h), eps)
    return F.cross_entropy(F.linear(h, p["embedding.E"], p["mask.output_b"]), targets)


# --- the Transformer that translates -----------------------------------------------------------


class Translator:
    """The Transformer with its norms before the branches.

    Keys and values are products of all heads at once.
    """

    def __init__(self, config, p):
        self.config, self.p = config, p
        self.source = p["embedding.E" if config.shared else "source.E"]
        self.target = p["embedding.E" if config.shared else "target.E"]
        self.places = torch.from_numpy(sinusoids(np.arange(512), config.width))

    def projected(self, name, x, suffix):
        """The queries, keys or values of all heads."""
        return heads(linear(self.p, name, x, suffix), len(suffix), self.config.heads)

    def self_attention(self, name, x, **options):
        return attention(self.p, name, *self.projected(name, x, "qkv"), **options)

    def step_attention(self, name, x, past, parents):
        """Attend from one token to all before: past is their [k, v], of the rows ``parents``."""
        q, *new = self.projected(name, x, "qkv")
        for i, before in enumerate(past):
            before = before if parents is None else before[parents]
            past[i] = torch.cat([before, new[i]], dim=2)
        return attention(self.p, name, q, *past)

    def cross_attention(self, name, x, kv, mask):
        (q,) = self.projected(name, x, "q")
        return attention(self.p, name, q, *kv, attn_mask=mask)

    def block(self, name, x, *branches):
        """Apply the branches and the feed-forward layer, each behind its norm."""
        wide = f"{name}.feed_forward"

        def feed_forward(x):
            return linear(self.p, wide, F.relu(linear(self.p, wide, x, "1")), "2")

        for i, branch in enumerate((*branches, feed_forward), 1):
            x = x + branch(norm(self.p, f"{name}.norm_{i}", x))
        return x

    def embed(self, E, ids, start=0):
        x = self.config.width**0.5 * F.embedding(ids, E)
        return x + self.places[start : start + ids.shape[-1]]

    def encode(self, source, lengths):
        """The memory, and the mask of attention to it (None: there is no padding)."""
        mask = None
        if (lengths < source.shape[1]).any():
            mask = (torch.arange(source.shape[1]) < lengths[:, None])[:, None, None]
        x = self.embed(self.source, source)
        for layer in range(self.config.layers):
            name = f"encoder.{layer}"
            x = self.block(
                name, x, lambda x, n=name: self.self_attention(f"{n}.attention", x, attn_mask=mask)
            )
        return norm(self.p, "encoder.norm", x), mask

    def logits(self, y):
        y = norm(self.p, "decoder.norm", y)
        if "output.W" in self.p:
            return F.linear(y, self.p["output.W"], self.p["output.b"])
        return F.linear(y, self.target)

    def loss(self, source, source_lengths, target, target_lengths):
        memory, mask = self.encode(source, source_lengths)
        first = torch.full((len(target), 1), self.config.eos)
        x = self.embed(self.target, torch.cat([first, target[:, :-1]], dim=1))
        for layer in range(self.config.layers):
            name = f"decoder.{layer}"
            kv = self.projected(f"{name}.cross", memory, "kv")
            x = self.block(
                name,
                x,
                lambda x, n=name: self.self_attention(f"{n}.attention", x, is_causal=True),
                lambda x, n=name, kv=kv: self.cross_attention(f"{n}.cross", x, kv, mask),
            )
        real = torch.arange(target.shape[1]) < target_lengths[:, None]
        return F.cross_entropy(self.logits(x[real]), target[real])

    def translate(self, source, lengths, beam, limit):
        """The best output of each source: ids without EOS."""
        config = self.config
        memory, mask = self.encode(source, lengths)
        names = [f"decoder.{layer}" for layer in range(config.layers)]
        memories = [self.projected(f"{name}.cross", memory, "kv") for name in names]
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
            return self.logits(x).view(*ids.shape, -1)

        if beam == 1:
            return greedy(next_logits, len(source), limit, config.eos)
        return beam_search(next_logits, len(source), beam, limit, config.eos)


# --- recurrent models of pairs -------------------------------------------------------------------


def recurrent_pairs(config, params):
    """The encoder-decoder, or the pointer-generator, with our weights.

    Sources of different lengths have to be packed, because the encoder reads them in both
    directions.  Then PyTorch takes several times as long: each step of the recurrence cuts its rows
    out of all rows, and each cut has a gradient as large as all of them.
    """
    from torch import nn
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    copies, D, H = isinstance(config, PointerGeneratorConfig), config.embedding, config.hidden
    V = (config.vocabulary if copies else config.target_vocabulary) + 1

    def known(ids):
        return torch.where(ids > config.vocabulary, config.unknown, ids) if copies else ids

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.source = nn.Embedding(V if copies else config.source_vocabulary, D)
            self.target = self.source if copies else nn.Embedding(V, D)
            self.encoder = nn.LSTM(D, H, batch_first=True, bidirectional=True)
            self.bridge_h, self.bridge_c = nn.Linear(2 * H, H), nn.Linear(2 * H, H)
            self.decoder = nn.LSTM(D, H, batch_first=True)
            self.attention = nn.Linear(H, 2 * H, bias=False)
            self.combine = nn.Linear(3 * H, D if copies else H)
            if copies:
                self.gate, self.output_bias = nn.Linear(D, 1), nn.Parameter(torch.zeros(V))
            else:
                self.output = nn.Linear(H, V)

        def loss(self, batch):
            source, lengths, target, target_lengths = map(torch.from_numpy, batch)
            inputs = torch.cat([torch.full((len(target), 1), config.bos), target[:, :-1]], dim=1)
            x, equal = self.source(known(source)), bool((lengths == lengths[0]).all())
            if not equal:
                x = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            memory, (h, c) = self.encoder(x)
            if not equal:
                memory, _ = pad_packed_sequence(memory, batch_first=True)
            h = torch.tanh(self.bridge_h(torch.cat([h[0], h[1]], dim=1)))
            c = self.bridge_c(torch.cat([c[0], c[1]], dim=1))
            hs, _ = self.decoder(self.target(known(inputs)), (h[None], c[None]))
            scores = self.attention(hs) @ memory.transpose(1, 2)
            if not equal:
                past = torch.arange(memory.shape[1]) >= lengths[:, None]
                scores = scores.masked_fill(past[:, None], -torch.inf)
            weights = torch.softmax(scores, dim=-1)
            a = torch.tanh(self.combine(torch.cat([weights @ memory, hs], dim=-1)))
            real = torch.arange(target.shape[1]) < target_lengths[:, None]
            if not copies:
                return F.cross_entropy(self.output(a[real]), target[real])
            logits = F.linear(a[real], self.source.weight, self.output_bias)
            g = torch.sigmoid(self.gate(a[real])[:, 0])
            copied = (weights * (source[:, None] == target[:, :, None])).sum(dim=-1)[real]
            # An ignored target has a loss of 0: the vocabulary lacks it.
            words = torch.where(target > config.vocabulary, -100, target)[real]
            p = torch.exp(-F.cross_entropy(logits, words, reduction="none")) * (words >= 0)
            return -torch.log(g * p + (1 - g) * copied).mean()

    ours = {"output_bias": params["output.b"], "target.weight": params.get("target.E")}
    ours["source.weight"] = params["embedding.E" if copies else "source.E"]
    for name in ("bridge_h", "bridge_c", "attention", "combine", "gate", "output"):
        prefix = name.replace("bridge_", "bridge.0.")
        ours[f"{name}.weight"] = params.get(f"{prefix}.W", np.zeros(0)).T
        ours[f"{name}.bias"] = params.get(f"{prefix}.b")
    for name, prefix in (
        ("encoder.{}_l0", "encoder.0.forward"),
        ("encoder.{}_l0_reverse", "encoder.0.reverse"),
        ("decoder.{}_l0", "decoder.0"),
    ):
        ours[name.format("weight_ih")] = params[f"{prefix}.W_x"].T
        ours[name.format("weight_hh")] = params[f"{prefix}.W_h"].T
        ours[name.format("bias_ih")] = params[f"{prefix}.b"]
        ours[name.format("bias_hh")] = 0 * params[f"{prefix}.b"]
    model = Model()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(ours[name])))
    return model
