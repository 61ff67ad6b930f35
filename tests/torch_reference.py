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


def scaled_dot_product_attention(q, k, v, lengths, start, dy):
    """Causal, of grouped heads; each query has a key."""
    T, S, groups = q.shape[2], k.shape[2], q.shape[1] // k.shape[1]
    key, position = (
        torch.arange(S),
        torch.tensor(start)[:, None, None, None] + torch.arange(T)[:, None],
    )
    allowed = (key < torch.tensor(lengths)[:, None, None, None]) & (key <= position)

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
    """Of a GPT with our parameters: [logits, loss], and the gradients of the loss by name."""

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


def _run(function, args, upstream):
    tensors = [torch.tensor(a, requires_grad=True) for a in args]
    outputs = function(*tensors)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    gradients = torch.autograd.grad(outputs, tensors, [torch.tensor(dy) for dy in upstream])
    return [y.detach().numpy() for y in outputs], [g.numpy() for g in gradients]
