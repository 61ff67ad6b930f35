"""The outputs and gradients of PyTorch for our arguments, as NumPy arrays.

Our weights are PyTorch's transposed, and PyTorch's two recurrent biases are one in
rnn and lstm: b = b_ih, with b_hh zero.
"""

import functools
import inspect
import re

import numpy as np
import torch
from torch.nn import functional as F

from minillm import ops
from minillm.ops.gradient_cases import CASES
from minillm.ops.mask import Mask
from minillm.testing.calls import is_float


def rotary(x, positions, base):
    """As a product of complex numbers."""
    P = x.shape[-1] // 2
    angles = torch.tensor(positions[:, None, :, None] * base ** (-np.arange(P) / P))
    pairs = torch.complex(x[..., :P], x[..., P:])
    rotated = pairs * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([rotated.real, rotated.imag], dim=-1)


def scaled_dot_product_attention(q, k, v, causal, lengths=None, start=None, mask=None):
    """Of grouped heads; a query without a key is zero."""
    mask = mask or Mask(causal, lengths, start)
    T, S, groups = q.shape[2], k.shape[2], q.shape[1] // k.shape[1]
    first = np.full(len(q), S - T) if mask.start is None else mask.start
    key, position = torch.arange(S), torch.tensor(first)[:, None] + torch.arange(T)
    position = position[:, None, :, None]
    allowed = key < torch.tensor(mask.lengths)[:, None, None, None]
    if mask.causal:
        allowed = allowed & (key <= position)
    if mask.window is not None:
        allowed = allowed & ((key > position - mask.window) | (key < mask.sinks))
    k, v = (x.repeat_interleave(groups, dim=1) for x in (k, v))
    empty = ~allowed.any(dim=-1, keepdim=True)
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed | empty)
    return torch.where(empty, 0.0, y)


def cross_entropy(logits, targets, mask=None, label_smoothing=0.0):
    ignored = targets if mask is None else np.where(mask, targets, -100)
    rows, ignored = logits.reshape(-1, logits.shape[-1]), torch.tensor(ignored).reshape(-1)
    return F.cross_entropy(rows, ignored, label_smoothing=label_smoothing)


def copied_probability(weights, source, targets):
    """By a sum over all words of the sources."""
    index = torch.tensor(np.broadcast_to(source[:, None], weights.shape))
    width = int(max(source.max(), targets.max())) + 1
    words = torch.zeros(*weights.shape[:2], width, dtype=weights.dtype)
    words = words.scatter_add(-1, index, weights)
    return words.gather(-1, torch.tensor(targets)[..., None])[..., 0]


def pointer_cross_entropy(logits, gates, copied, targets):
    g, width = torch.sigmoid(gates), int(targets.max()) + 1
    p = F.pad(torch.softmax(logits, -1), (0, max(0, width - logits.shape[-1])))
    p = p.gather(-1, torch.tensor(targets)[..., None])[..., 0]
    return -torch.log(g * p + (1 - g) * copied).mean()


def coverage(weights, lengths):
    real = torch.arange(weights.shape[1]) < torch.tensor(lengths)[:, None]
    before = torch.cumsum(weights, 1) - weights
    return torch.minimum(weights, before).sum(-1)[real].sum() / real.sum()


def recurrent(name, x, *rest):
    """name is rnn, lstm or gru; each length is at least 1."""
    *state_and_weights, lengths = rest
    state = state_and_weights[: 2 if name == "lstm" else 1]
    W_x, W_h, *biases = state_and_weights[len(state) :]
    values = [W_x.T, W_h.T, *biases]
    values += [torch.zeros_like(biases[0])] * (4 - len(values))
    module = getattr(torch.nn, name.upper())(
        len(W_x), len(W_h), batch_first=True, dtype=torch.float64
    )
    parameters = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
    start = tuple(s[None] for s in state)
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        x, torch.tensor(lengths), batch_first=True, enforce_sorted=False
    )
    packed_hs, last = torch.func.functional_call(
        module,
        dict(zip(parameters, values, strict=True)),
        (packed, start if name == "lstm" else start[0]),
    )
    hs, _ = torch.nn.utils.rnn.pad_packed_sequence(
        packed_hs, batch_first=True, total_length=x.shape[1]
    )
    return (hs, *(s[0] for s in (last if name == "lstm" else [last])))


OPS = {  # functions of our arguments, or of the first of them
    "tanh": lambda x: torch.tanh(x),
    "sigmoid": lambda x: torch.sigmoid(x),
    "relu": lambda x: torch.relu(x),
    "silu": lambda x: F.silu(x),
    "softplus": lambda x: F.softplus(x, threshold=50),
    "softmax": lambda x: F.softmax(x, dim=-1),
    "gelu": lambda x, approximate: F.gelu(x, approximate="tanh" if approximate else "none"),
    "swiglu": lambda x: F.silu(x.chunk(2, -1)[0]) * x.chunk(2, -1)[1],
    "linear": lambda x, W, b: F.linear(x, W.T, b),
    "layer_norm": lambda x, gain, bias: F.layer_norm(x, x.shape[-1:], gain, bias),
    "rms_norm": lambda x, gain: F.rms_norm(x, x.shape[-1:], gain, 1e-5),
    "embedding": lambda ids, E: F.embedding(torch.tensor(ids), E),
    "rotary": rotary,
    "scaled_dot_product_attention": scaled_dot_product_attention,
    "cross_entropy": cross_entropy,
    "copied_probability": copied_probability,
    "pointer_cross_entropy": pointer_cross_entropy,
    "coverage": coverage,
    "rnn": functools.partial(recurrent, "rnn"),
    "lstm": functools.partial(recurrent, "lstm"),
    "gru": functools.partial(recurrent, "gru"),
}


def case_of(name, rng, **sizes):
    """The arguments of our op's case that PyTorch has, and upstream gradients."""
    _, args = CASES[name](rng, **sizes)
    if name in ("rnn", "lstm", "gru"):
        args = *args[:-1], np.maximum(args[-1], 1)
    else:
        args = args[: len(inspect.signature(OPS[name]).parameters)]
    outputs, _ = getattr(ops, name)(*args)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return args, [np.asarray(rng.standard_normal(y.shape)) for y in outputs]


def op(name, args, upstream):
    """The outputs and the gradients of an op."""
    floats = [k for k, a in enumerate(args) if is_float(a)]

    def forward(*tensors):
        given = dict(enumerate(args)) | dict(zip(floats, tensors, strict=True))
        return OPS[name](*given.values())

    return _run(forward, [args[k] for k in floats], upstream)


RENAMED = {  # parts of names in nn.Transformer, by patterns of ours
    r"\.(\d+)\.": r".layers.\1.",
    "cross": "multihead_attn",
    "attention": "self_attn",
    r"\b([Wb])_qkv": r"in_proj_\1",
    r"\b([Wb])_o": r"out_proj.\1",
    r"feed_forward\.([Wb])_(\d)": r"linear\2.\1",
    r"norm_(\d)": r"norm\1",
    "gain|W$": "weight",
    r"(?<![a-z])b$": "bias",
}


def named(params):
    """The weights of a Transformer but its embedding, under the names of nn.Transformer."""
    found = {name: array for name, array in params.items() if name != "embedding.E"}
    for query in [name for name in found if name.endswith("_q")]:  # and W_kv, beside W_q
        pair = found.pop(query), found.pop(f"{query[:-1]}kv")
        found[f"{query}kv"] = torch.cat(pair, dim=-1)
    renamed = {}
    for name, array in found.items():
        for ours, theirs in RENAMED.items():
            name = re.sub(ours, theirs, name)
        renamed[name] = array.T if array.ndim == 2 else array
    return renamed


def transformer(params, config, batch):
    """Run torch.nn.Transformer with our parameters: [logits, loss], the gradients of the loss by
    name.  Neither the embeddings nor the output layer are part of it, and embeddings are shared."""
    source, source_lengths, target, target_lengths = map(torch.tensor, batch)
    dtype = torch.tensor(params["embedding.E"]).dtype
    sizes = (config.width, config.heads, config.feed_forward, 0.0)
    options = {"batch_first": True, "norm_first": not config.post_norm, "dtype": dtype}

    def last_norm():
        return None if config.post_norm else torch.nn.LayerNorm(config.width, dtype=dtype)

    module = torch.nn.Transformer(
        config.width,
        config.heads,
        custom_encoder=torch.nn.TransformerEncoder(
            torch.nn.TransformerEncoderLayer(*sizes, **options),
            config.layers,
            last_norm(),
            enable_nested_tensor=False,
        ),
        custom_decoder=torch.nn.TransformerDecoder(
            torch.nn.TransformerDecoderLayer(*sizes, **options), config.layers, last_norm()
        ),
        batch_first=True,
    )
    padding = torch.arange(source.shape[1]) >= source_lengths[:, None]
    later = torch.ones(target.shape[1], target.shape[1], dtype=bool).triu(1)

    def embedded(E, ids):
        angles = torch.arange(ids.shape[1])[:, None] / 10000 ** (
            torch.arange(0, config.width, 2, dtype=torch.float64) / config.width
        )
        places = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
        return config.width**0.5 * E[ids] + places.to(dtype)

    def forward(*values):
        p = dict(zip(params, values, strict=True))
        E = p["embedding.E"]
        inputs = torch.cat([torch.full((len(target), 1), config.bos), target[:, :-1]], dim=1)
        masks = {"src_key_padding_mask": padding, "memory_key_padding_mask": padding}
        y = torch.func.functional_call(
            module,
            named(p),
            (embedded(E, source), embedded(E, inputs)),
            masks | {"tgt_mask": later},
            strict=True,
        )
        logits = y @ E.T
        real = torch.arange(target.shape[1]) < target_lengths[:, None]
        loss = F.cross_entropy(logits[real], target[real])
        return logits, loss

    E = params["embedding.E"]
    upstream = [np.zeros((*batch[2].shape, len(E)), E.dtype), np.ones((), E.dtype)]
    outputs, gradients = _run(forward, params.values(), upstream)
    return outputs, dict(zip(params, gradients, strict=True))


def _run(function, args, upstream):
    tensors = [torch.tensor(a, requires_grad=True) for a in args]
    outputs = function(*tensors)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    gradients = torch.autograd.grad(outputs, tensors, [torch.tensor(dy) for dy in upstream])
    return [y.detach().numpy() for y in outputs], [g.numpy() for g in gradients]
