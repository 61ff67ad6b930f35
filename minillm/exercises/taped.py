"""The LSTM language model and the GPT, forward only: a tape (`autograd.py`) runs them backwards.

The equations are in :mod:`minillm.models.language_model` and :mod:`minillm.models.gpt`, whose
parameters have the same names.  What the ops lack, such as a sum, is an op here, with its backward.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from minillm import ops
from minillm.exercises.autograd import Tape, Value
from minillm.layers.types import Ids
from minillm.models.gpt import GPTConfig
from minillm.models.language_model import LanguageModelConfig

Values = Mapping[str, Value]


def add(x: NDArray, y: NDArray) -> tuple[NDArray, Callable]:
    """x + y, of one shape."""
    return x + y, lambda dz: (dz, dz)


def transpose(x: NDArray) -> tuple[NDArray, Callable]:
    """The transpose of a matrix."""
    return x.T, lambda dy: dy.T


def split_heads(qkv: NDArray, heads: int) -> tuple[tuple[NDArray, ...], Callable]:
    """Queries, keys and values of N heads: (B, T, 3D) -> three times (B, N, T, D / N)."""
    B, T, width = qkv.shape
    parts = qkv.reshape(B, T, 3, heads, width // 3 // heads).transpose(2, 0, 3, 1, 4)
    return tuple(parts), lambda *d: np.stack(d).transpose(1, 3, 0, 2, 4).reshape(B, T, width)


def join_heads(x: NDArray) -> tuple[NDArray, Callable]:
    """(B, N, T, w) -> (B, T, N w)."""
    B, N, T, w = x.shape
    y = x.transpose(0, 2, 1, 3).reshape(B, T, N * w)
    return y, lambda dy: dy.reshape(B, T, N, w).transpose(0, 2, 1, 3)


def lstm_loss(tape: Tape, p: Values, config: LanguageModelConfig, ids: Ids, targets: Ids) -> Value:
    """The loss of a language model of one LSTM, without dropout: ids and targets (B, T)."""
    zero = np.zeros((len(ids), config.hidden), p["output.W"].array.dtype)
    x = tape(ops.embedding, ids, p["embedding.E"])
    W_x, W_h, b = (p[f"layers.0.{name}"] for name in ("W_x", "W_h", "b"))
    hs, _, _ = tape(ops.lstm, x, zero, zero, W_x, W_h, b)
    logits = tape(ops.linear, hs, p["output.W"], p["output.b"])
    return tape(ops.cross_entropy, logits, targets)


def gpt_loss(tape: Tape, p: Values, config: GPTConfig, ids: Ids, targets: Ids) -> Value:
    """The loss of a GPT, without dropout: ids and targets (B, T)."""
    positions = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    tokens = tape(ops.embedding, ids, p["embedding.E"])
    x = tape(add, tokens, tape(ops.embedding, positions, p["positions.E"]))
    for layer in range(config.layers):
        w = {name.partition(f"blocks.{layer}.")[2]: value for name, value in p.items()}
        # x = x + attention(norm_1(x))
        a = tape(ops.layer_norm, x, w["norm_1.gain"], w["norm_1.bias"])
        a = tape(ops.linear, a, w["attention.W_qkv"], w["attention.b_qkv"])
        q, k, v = tape(split_heads, a, config.heads)
        a = tape(ops.scaled_dot_product_attention, q, k, v, causal=True)
        a = tape(ops.linear, tape(join_heads, a), w["attention.W_o"], w["attention.b_o"])
        x = tape(add, x, a)
        # x = x + feed_forward(norm_2(x))
        f = tape(ops.layer_norm, x, w["norm_2.gain"], w["norm_2.bias"])
        f = tape(ops.linear, f, w["feed_forward.W_1"], w["feed_forward.b_1"])
        f = tape(ops.linear, tape(ops.gelu, f), w["feed_forward.W_2"], w["feed_forward.b_2"])
        x = tape(add, x, f)
    y = tape(ops.layer_norm, x, p["norm.gain"], p["norm.bias"])
    logits = tape(ops.linear, y, tape(transpose, p["embedding.E"]))  # a second use of E
    return tape(ops.cross_entropy, logits, targets)
