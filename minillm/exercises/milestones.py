"""Whole models from the pieces of the exercises: what a reader's own functions build together.

A milestone ends a part of the book.  ``own`` holds its pieces, functions of the exercises by their
names: the reader's where there are any, otherwise the references.  A model takes ids (B, T), and
returns the logits of each position and a backward with the gradient of each of its weights.
:mod:`milestone_run` checks, measures and trains it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Weights = dict[str, NDArray]
Shapes = dict[str, tuple[int, ...]]

CONTEXT, HEADS = 8, 4


# --- part I: a neural n-gram (chapter 4) ------------------------------------------------


def ngram(own: SimpleNamespace, w: Weights, ids: NDArray) -> tuple[NDArray, Callable]:
    """Predict from the last CONTEXT ids: ids (B, T) -> logits (B (T - CONTEXT + 1), V)."""
    contexts = sliding_window_view(ids, CONTEXT, axis=1).reshape(-1, CONTEXT)
    vectors, embedding_backward = own.embedding(contexts.ravel(), w["E"])
    x = vectors.reshape(len(contexts), -1)  # the vectors of a context, side by side
    a, hidden_backward = own.linear(x, w["W"], w["b"])
    h = np.tanh(a)
    logits, output_backward = own.linear(h, w["U"], w["d"])

    def backward(dlogits):
        dh, dU, dd = output_backward(dlogits)
        dx, dW, db = hidden_backward(dh * (1 - h**2))
        dE = embedding_backward(dx.reshape(vectors.shape))
        return {"E": dE, "W": dW, "b": db, "U": dU, "d": dd}

    return logits, backward


def ngram_shapes(V: int, D: int, T: int) -> Shapes:
    """Vectors of D / 2 numbers, and a hidden layer of 2 D."""
    hidden = {"W": (CONTEXT * D // 2, 2 * D), "b": (2 * D,)}
    return {"E": (V, D // 2), **hidden, "U": (2 * D, V), "d": (V,)}


# --- part II: an LSTM (chapter 8) -------------------------------------------------------


def lstm(own: SimpleNamespace, w: Weights, ids: NDArray) -> tuple[NDArray, Callable]:
    """Read ids (B, T) step by step -> logits (B T, V)."""
    (B, T), D = ids.shape, w["E"].shape[1]
    vectors, embedding_backward = own.embedding(ids.ravel(), w["E"])
    x = vectors.reshape(B, T, D)
    h = c = np.zeros((B, D))
    hs, steps = np.zeros((B, T, D)), []
    for t in range(T):
        x_and_h = np.concatenate([x[:, t], h], axis=1)  # one product for both
        a, gates_backward = own.linear(x_and_h, w["W"], w["b"])
        (h, c), cell_backward = own.lstm_cell(a, c)
        hs[:, t] = h
        steps.append((gates_backward, cell_backward))
    logits, output_backward = own.linear(hs.reshape(-1, D), w["U"], w["d"])

    def backward(dlogits):
        dhs, dU, dd = output_backward(dlogits)
        dhs, dx = dhs.reshape(B, T, D), np.zeros((B, T, D))
        dW, db = np.zeros_like(w["W"]), np.zeros_like(w["b"])
        dh, dc = np.zeros((B, D)), np.zeros((B, D))  # from the step after
        for t in reversed(range(T)):
            gates_backward, cell_backward = steps[t]
            da, dc = cell_backward(dhs[:, t] + dh, dc)
            dx_and_h, dW_t, db_t = gates_backward(da)
            dx[:, t], dh = np.split(dx_and_h, 2, axis=1)
            dW, db = dW + dW_t, db + db_t  # W is used in each step
        dE = embedding_backward(dx.reshape(-1, D))
        return {"E": dE, "W": dW, "b": db, "U": dU, "d": dd}

    return logits, backward


def lstm_shapes(V: int, D: int, T: int) -> Shapes:
    """Vectors and states of D numbers."""
    return {"E": (V, D), "W": (2 * D, 4 * D), "b": (4 * D,), "U": (D, V), "d": (V,)}


# --- parts III and V: a GPT (chapter 14) and a Llama (chapter 22) -----------------------


def attention(own: SimpleNamespace, qkv: NDArray, B: int, turn: Callable | None = None):
    """Attend in each text and head: qkv (B T, 3 D), q, k and v side by side -> y (B T, D).

    ``turn`` is an op for q and k of a head: rotary positions.  ``backward(dy)`` -> dqkv.
    """
    n, D = len(qkv), qkv.shape[1] // 3
    parts = [own.heads(x.reshape(B, -1, D), HEADS) for x in np.split(qkv, 3, axis=1)]
    (q, split_backward), (k, _), (v, _) = parts  # (B, N, T, D / N)
    y, backwards = np.zeros(v.shape), {}
    for head in np.ndindex(v.shape[:2]):
        (a, q_backward), (b, k_backward) = (
            turn(x[head]) if turn else (x[head], lambda dx: dx) for x in (q, k)
        )
        y[head], head_backward = own.attention_backward(a, b, v[head])
        backwards[head] = q_backward, k_backward, head_backward

    def backward(dy):
        dheads, _ = own.heads(dy.reshape(B, -1, D), HEADS)
        dq, dk, dv = (np.zeros(v.shape) for _ in "qkv")
        for head, (q_backward, k_backward, head_backward) in backwards.items():
            da, db, dv[head] = head_backward(dheads[head])
            dq[head], dk[head] = q_backward(da), k_backward(db)
        joined = [back(dx) for (_, back), dx in zip(parts, (dq, dk, dv), strict=True)]
        return np.concatenate([dx.reshape(n, D) for dx in joined], axis=1)

    return split_backward(y).reshape(n, D), backward  # the way back of a split joins the heads


def gpt(own: SimpleNamespace, w: Weights, ids: NDArray) -> tuple[NDArray, Callable]:
    """A GPT of one block: ids (B, T) -> logits (B T, V)."""
    B, T = ids.shape
    tokens, tokens_backward = own.embedding(ids.ravel(), w["E"])
    places, places_backward = own.embedding(np.tile(np.arange(T), B), w["P"])
    x = tokens + places  # (B T, D), the stream
    normed, norm_1_backward = own.layer_norm(x, w["gain_1"], w["bias_1"])
    qkv, qkv_backward = own.linear(normed, w["W_qkv"], w["b_qkv"])
    heads, heads_backward = attention(own, qkv, B)
    joined, joined_backward = own.linear(heads, w["W_o"], w["b_o"])
    x = x + joined
    normed, norm_2_backward = own.layer_norm(x, w["gain_2"], w["bias_2"])
    a, a_backward = own.linear(normed, w["W_1"], w["b_1"])
    h, h_backward = own.gelu(a)
    fed, fed_backward = own.linear(h, w["W_2"], w["b_2"])
    normed, norm_backward = own.layer_norm(x + fed, w["gain"], w["bias"])
    logits, output_backward = own.linear(normed, w["U"], w["d"])

    def backward(dlogits):
        d = {}
        dnormed, d["U"], d["d"] = output_backward(dlogits)
        dx, d["gain"], d["bias"] = norm_backward(dnormed)
        dh, d["W_2"], d["b_2"] = fed_backward(dx)
        dnormed, d["W_1"], d["b_1"] = a_backward(h_backward(dh))
        dbranch, d["gain_2"], d["bias_2"] = norm_2_backward(dnormed)
        dx = dx + dbranch  # the stream went on, and into the branch
        dheads, d["W_o"], d["b_o"] = joined_backward(dx)
        dnormed, d["W_qkv"], d["b_qkv"] = qkv_backward(heads_backward(dheads))
        dbranch, d["gain_1"], d["bias_1"] = norm_1_backward(dnormed)
        dx = dx + dbranch
        d["E"], d["P"] = tokens_backward(dx), places_backward(dx)
        return d

    return logits, backward


def llama(own: SimpleNamespace, w: Weights, ids: NDArray) -> tuple[NDArray, Callable]:
    """A Llama of one block, with biases: ids (B, T) -> logits (B T, V)."""
    B, T = ids.shape
    x, embedding_backward = own.embedding(ids.ravel(), w["E"])
    normed, norm_1_backward = own.rms_norm(x, w["gain_1"])
    qkv, qkv_backward = own.linear(normed, w["W_qkv"], w["b_qkv"])
    heads, heads_backward = attention(own, qkv, B, lambda x: own.rotary(x, np.arange(T)))
    joined, joined_backward = own.linear(heads, w["W_o"], w["b_o"])
    x = x + joined
    normed, norm_2_backward = own.rms_norm(x, w["gain_2"])
    a, a_backward = own.linear(normed, w["W_1"], w["b_1"])
    up, up_backward = own.linear(normed, w["W_3"], w["b_3"])
    gate, gate_backward = own.silu(a)
    fed, fed_backward = own.linear(gate * up, w["W_2"], w["b_2"])
    normed, norm_backward = own.rms_norm(x + fed, w["gain"])
    logits, output_backward = own.linear(normed, w["U"], w["d"])

    def backward(dlogits):
        d = {}
        dnormed, d["U"], d["d"] = output_backward(dlogits)
        dx, d["gain"] = norm_backward(dnormed)
        dh, d["W_2"], d["b_2"] = fed_backward(dx)
        dnormed_3, d["W_3"], d["b_3"] = up_backward(dh * gate)
        dnormed_1, d["W_1"], d["b_1"] = a_backward(gate_backward(dh * up))
        dbranch, d["gain_2"] = norm_2_backward(dnormed_3 + dnormed_1)
        dx = dx + dbranch
        dheads, d["W_o"], d["b_o"] = joined_backward(dx)
        dnormed, d["W_qkv"], d["b_qkv"] = qkv_backward(heads_backward(dheads))
        dbranch, d["gain_1"] = norm_1_backward(dnormed)
        d["E"] = embedding_backward(dx + dbranch)
        return d

    return logits, backward


def gpt_shapes(V: int, D: int, T: int) -> Shapes:
    """Four times as many numbers inside the feed-forward part as in the stream."""
    shapes: Shapes = {
        "E": (V, D),
        "P": (T, D),
        "W_qkv": (D, 3 * D),
        "W_o": (D, D),
        "W_1": (D, 4 * D),
    }
    shapes |= {"W_2": (4 * D, D), "b_qkv": (3 * D,), "b_o": (D,), "b_1": (4 * D,), "b_2": (D,)}
    norms: Shapes = {f"{name}{k}": (D,) for name in ("gain", "bias") for k in ("_1", "_2", "")}
    return shapes | norms | {"U": (D, V), "d": (V,)}


def llama_shapes(V: int, D: int, T: int) -> Shapes:
    """The same without positions and the norms' biases, and with a gate."""
    shapes = {n: s for n, s in gpt_shapes(V, D, T).items() if n != "P" and "bias" not in n}
    return shapes | {"W_3": (D, 4 * D), "b_3": (4 * D,)}


@dataclass(frozen=True)
class Milestone:
    """A model, the exercises that are its pieces, and the chapter after which the list shows it."""

    name: str
    title: str
    chapter: int
    model: Callable[[SimpleNamespace, Weights, NDArray], tuple[NDArray, Callable]]
    shapes: Callable[[int, int, int], Shapes]  # of V symbols, a width D and T positions
    pieces: tuple[str, ...]


_TRAINING = "embedding", "linear", "cross-entropy", "adam", "schedule", "next-probabilities"
_ATTENTION = *_TRAINING, "heads", "attention-backward"
_GPT, _LLAMA = ("layer-norm", "gelu"), ("rms-norm", "rotary", "silu")
MILESTONES = {
    each.name: each
    for each in (
        Milestone("your-ngram", "your n-gram writes", 6, ngram, ngram_shapes, _TRAINING),
        Milestone(
            "your-lstm", "your LSTM writes", 10, lstm, lstm_shapes, (*_TRAINING, "lstm-cell")
        ),
        Milestone("your-gpt", "your GPT writes", 16, gpt, gpt_shapes, _ATTENTION + _GPT),
        Milestone("your-llama", "your Llama writes", 25, llama, llama_shapes, _ATTENTION + _LLAMA),
    )
}
