"""The outputs and gradients of PyTorch for our arguments, as NumPy arrays.

Our weights are PyTorch's transposed, and PyTorch's two recurrent biases are one in
rnn and lstm: b = b_ih, with b_hh zero.
"""

import numpy as np
import torch
from torch.nn import functional as F

ELEMENTWISE = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "silu": F.silu,
    "gelu": lambda x: F.gelu(x, approximate="tanh"),
    "softmax": lambda x: F.softmax(x, dim=-1),
}


def elementwise(name, x, dy):
    return _run(ELEMENTWISE[name], [x], [dy])


def exact_gelu(x, dy):
    return _run(F.gelu, [x], [dy])


def linear(x, W, b, dy):
    return _run(lambda x, W, b: F.linear(x, W.T, b), [x, W, b], [dy])


def layer_norm(x, gain, bias, dy):
    return _run(lambda *args: F.layer_norm(args[0], x.shape[-1:], *args[1:]), [x, gain, bias], [dy])


def rms_norm(x, gain, dy):
    return _run(lambda x, gain: F.rms_norm(x, x.shape[-1:], gain, 1e-5), [x, gain], [dy])


def rotary(x, positions, base, dy):
    """As a product of complex numbers."""
    D = x.shape[-1]
    angles = torch.tensor(positions[:, None, :, None] * base ** (-2 * np.arange(D // 2) / D))

    def forward(x):
        pairs = torch.complex(x[..., : D // 2], x[..., D // 2 :])
        rotated = pairs * torch.polar(torch.ones_like(angles), angles)
        return torch.cat([rotated.real, rotated.imag], dim=-1)

    return _run(forward, [x], [dy])


def scaled_dot_product_attention(q, k, v, lengths, start, dy, window=None, sinks=0):
    """Causal, of grouped heads; each query has a key."""
    T, S, groups = q.shape[2], k.shape[2], q.shape[1] // k.shape[1]
    key, position = (
        torch.arange(S),
        torch.tensor(start)[:, None, None, None] + torch.arange(T)[:, None],
    )
    allowed = (key < torch.tensor(lengths)[:, None, None, None]) & (key <= position)
    if window is not None:
        allowed = allowed & ((key > position - window) | (key < sinks))

    def forward(q, k, v):
        k, v = (x.repeat_interleave(groups, dim=1) for x in (k, v))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)

    return _run(forward, [q, k, v], [dy])


def embedding(ids, E, dy):
    return _run(lambda E: F.embedding(torch.tensor(ids), E), [E], [dy])


def cross_entropy(logits, targets, mask, smoothing=0.0):
    ignored = torch.tensor(np.where(mask, targets, -100)).reshape(-1)
    return _run(
        lambda logits: F.cross_entropy(
            logits.reshape(-1, logits.shape[-1]), ignored, label_smoothing=smoothing
        ),
        [logits],
        [np.ones(())],
    )


def copied_probability(weights, source, targets, dm):
    """By a sum over all words of the sources."""
    index = torch.tensor(np.broadcast_to(source[:, None], weights.shape))
    width = int(max(source.max(), targets.max())) + 1

    def forward(weights):
        words = torch.zeros(*weights.shape[:2], width, dtype=weights.dtype)
        words = words.scatter_add(-1, index, weights)
        return words.gather(-1, torch.tensor(targets)[..., None])[..., 0]

    return _run(forward, [weights], [dm])


def pointer_cross_entropy(logits, gates, copied, targets):
    def forward(logits, gates, copied):
        g, width = torch.sigmoid(gates), int(targets.max()) + 1
        p = F.pad(torch.softmax(logits, -1), (0, max(0, width - logits.shape[-1])))
        p = p.gather(-1, torch.tensor(targets)[..., None])[..., 0]
        return -torch.log(g * p + (1 - g) * copied).mean()

    return _run(forward, [logits, gates, copied], [np.ones(())])


def coverage(weights, lengths):
    real = torch.arange(weights.shape[1]) < torch.tensor(lengths)[:, None]

    def forward(weights):
        before = torch.cumsum(weights, 1) - weights
        return torch.minimum(weights, before).sum(-1)[real].sum() / real.sum()

    return _run(forward, [weights], [np.ones(())])


def recurrent(name, x, state, W_x, W_h, biases, lengths, upstream):
    """name is rnn, lstm or gru; biases are [b] or, of a gru, [b_x, b_h]; lengths at least 1."""
    I, H = W_x.shape[0], W_h.shape[0]
    module = getattr(torch.nn, name.upper())(I, H, batch_first=True, dtype=torch.float64)
    parameters = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]

    def forward(x, *rest):
        state_t, weights = rest[: len(state)], rest[len(state) :]
        values = [weights[0].T, weights[1].T, *weights[2:]]
        values += [torch.zeros_like(weights[2])] * (4 - len(values))
        start = tuple(s[None] for s in state_t)
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

    return _run(forward, [x, *state, W_x, W_h, *biases], upstream)


def gpt(params, layers, heads, inputs, targets):
    """Compute a GPT with our parameters: [logits, loss], and the gradients of the loss by name."""

    def forward(*values):
        p = dict(zip(params, values, strict=True))
        x = p["embedding.E"][torch.tensor(inputs)] + p["positions.E"][: inputs.shape[1]]
        for layer in range(layers):
            b = {name[len(f"blocks.{layer}.") :]: p[name] for name in p if f"s.{layer}." in name}
            h = F.layer_norm(x, x.shape[-1:], b["norm_1.gain"], b["norm_1.bias"])
            h = h @ b["attention.W_qkv"] + b["attention.b_qkv"]
            q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in h.chunk(3, -1))
            h = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            h = h.transpose(1, 2).flatten(2)
            x = x + h @ b["attention.W_o"] + b["attention.b_o"]
            h = F.layer_norm(x, x.shape[-1:], b["norm_2.gain"], b["norm_2.bias"])
            h = F.gelu(h @ b["feed_forward.W_1"] + b["feed_forward.b_1"], approximate="tanh")
            x = x + h @ b["feed_forward.W_2"] + b["feed_forward.b_2"]
        y = F.layer_norm(x, x.shape[-1:], p["norm.gain"], p["norm.bias"])
        logits = y @ p["embedding.E"].T
        return logits, F.cross_entropy(logits.flatten(0, 1), torch.tensor(targets).flatten())

    dtype = params["norm.gain"].dtype
    no_dlogits = np.zeros((*inputs.shape, len(params["embedding.E"])), dtype)
    outputs, gradients = _run(forward, params.values(), [no_dlogits, np.ones((), dtype)])
    return outputs, dict(zip(params, gradients, strict=True))


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

    def weights(p):
        """Under the module's names."""
        named = {}
        for side in ("encoder", "decoder"):
            for layer in range(config.layers):
                ours, theirs = f"{side}.{layer}", f"{side}.layers.{layer}"
                packed = {"self_attn": ("W_qkv", "b_qkv", f"{ours}.attention")}
                if side == "decoder":
                    cross = f"{ours}.cross"
                    for kind, dim in (("W", 1), ("b", 0)):
                        parts = [p[f"{cross}.{kind}_q"], p[f"{cross}.{kind}_kv"]]
                        p[f"{cross}.{kind}_qkv"] = torch.cat(parts, dim)
                    packed["multihead_attn"] = ("W_qkv", "b_qkv", cross)
                for name, (W, b, prefix) in packed.items():
                    named[f"{theirs}.{name}.in_proj_weight"] = p[f"{prefix}.{W}"].T
                    named[f"{theirs}.{name}.in_proj_bias"] = p[f"{prefix}.{b}"]
                    named[f"{theirs}.{name}.out_proj.weight"] = p[f"{prefix}.W_o"].T
                    named[f"{theirs}.{name}.out_proj.bias"] = p[f"{prefix}.b_o"]
                for i in (1, 2):
                    named[f"{theirs}.linear{i}.weight"] = p[f"{ours}.feed_forward.W_{i}"].T
                    named[f"{theirs}.linear{i}.bias"] = p[f"{ours}.feed_forward.b_{i}"]
                for i in range(1, 3 + (side == "decoder")):
                    named[f"{theirs}.norm{i}.weight"] = p[f"{ours}.norm_{i}.gain"]
                    named[f"{theirs}.norm{i}.bias"] = p[f"{ours}.norm_{i}.bias"]
            if not config.post_norm:
                named[f"{side}.norm.weight"] = p[f"{side}.norm.gain"]
                named[f"{side}.norm.bias"] = p[f"{side}.norm.bias"]
        return named

    def forward(*values):
        p = dict(zip(params, values, strict=True))
        E = p["embedding.E"]
        inputs = torch.cat([torch.full((len(target), 1), config.bos), target[:, :-1]], dim=1)
        masks = {"src_key_padding_mask": padding, "memory_key_padding_mask": padding}
        y = torch.func.functional_call(
            module,
            weights(p),
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
