"""Exercises of chapter 9: sequences of unequal length, pooling, and the inputs of a decoder."""

import numpy as np

from minillm import ops
from minillm.exercises.chapter08 import SIGMOID
from minillm.exercises.declaration import Bug, draw, exercise, find_the_bug
from minillm.models.teacher_forcing import teacher_forcing as reference_teacher_forcing
from minillm.ops.activations import logistic as sigmoid
from minillm.ops.padding import length_mask
from minillm.ops.softmax import softmax_forward


def _lstm_with_lengths(x, h0, c0, W_x, W_h, b, lengths):
    (_, h, _), op_backward = ops.lstm(x, h0, c0, W_x, W_h, b, lengths)
    return h, lambda dh: op_backward(None, dh)


def _rows_of_lengths(rng):
    for label, lengths in (("equal lengths", [3, 3]), ("lengths", [3, 1, 0, 2])):
        B, T, I, H = len(lengths), 3, 2, 2
        arrays = draw(rng, (B, T, I), (B, H), (B, H), (I, 4 * H), (H, 4 * H), 4 * H)
        yield label, (*arrays, np.array(lengths))


@exercise(
    "an LSTM whose rows end early",
    level=3,
    minutes=30,
    reference=_lstm_with_lengths,
    solution="minillm/ops/lstm.py: lstm_backward",
    cases=_rows_of_lengths,
    imports=SIGMOID,
    outputs=("h",),
    gradients=("dx", "dh0", "dc0", "dW_x", "dW_h", "db"),
    hints={
        "lengths": (
            "A row that has ended copies its state: h and c do not change there, and a has no "
            "influence.",
            "Forward: np.where(running, h_new, h).  Backward: da is 0 where the row has ended, and "
            "dh and dc stay as they are there.",
        ),
        "equal lengths": (
            "Where all rows run, this is the LSTM without lengths.",
            "da_t @ W_h.T and dc_t * f are what is carried where the row runs.",
        ),
    },
    name="lstm-lengths",
)
def lstm_lengths(x, h0, c0, W_x, W_h, b, lengths):
    """Run an LSTM over rows of unequal lengths.

    x (B, T, I), h0 and c0 (B, H), W_x (I, 4H), W_h (H, 4H), b (4H,), lengths (B,) whole numbers
    -> h (B, H) of each row after its own last step.
    ``backward(dh)`` -> dx, dh0, dc0, dW_x, dW_h, db.
    """
    h, c, kept = h0, c0, []
    for t in range(x.shape[1]):
        running = (t < lengths)[:, None]  # (B, 1): True where the row has a step t
        h_prev, c_prev = h, c
        i, f, g, o = np.split(x[:, t] @ W_x + h_prev @ W_h + b, 4, axis=1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        c_new = f * c_prev + i * g
        h_new = o * np.tanh(c_new)
        kept.append((running, h_prev, c_prev, i, f, g, o, np.tanh(c_new)))
        h = ...
        c = ...

    def backward(dh):
        dx, dW_x, dW_h, db = (np.zeros_like(array) for array in (x, W_x, W_h, b))
        dc = np.zeros_like(c0)
        for t in reversed(range(x.shape[1])):
            running, h_prev, c_prev, i, f, g, o, tanh_c = kept[t]
            dc_t = dc + dh * o * (1 - tanh_c**2)
            di, df, dg, do = dc_t * g, dc_t * c_prev, dc_t * i, dh * tanh_c
            parts = [di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)]
            da_t = np.concatenate(parts, axis=1)
            da = ...
            dx[:, t] = da @ W_x.T
            dW_x += x[:, t].T @ da
            dW_h += h_prev.T @ da
            db += da.sum(axis=0)
            dh = ...
            dc = ...
        return dx, dh, dc, dW_x, dW_h, db

    return h, backward


def _last_state(hs, lengths):
    rows = np.arange(len(hs))

    def backward(dy):
        dhs = np.zeros_like(hs)
        dhs[rows, lengths - 1] = dy
        return dhs

    return hs[rows, lengths - 1], backward


def _states(rng):
    for B, T, H, label in ((2, 3, 2, "full"), (4, 5, 3, "lengths")):
        lengths = np.full(B, T) if label == "full" else rng.integers(1, T, size=B)
        yield label, (rng.standard_normal((B, T, H)), lengths)


@exercise(
    "the last valid state of each row, and its backward",
    level=1,
    minutes=10,
    reference=_last_state,
    solution="minillm/exercises/chapter09.py: _last_state",
    cases=_states,
    gradients=("dhs",),
    hints={
        "y": (
            "Row b has lengths[b] steps, and they are counted from 0.",
            "Two arrays of indices choose one step for each row: hs[np.arange(B), lengths - 1].",
        ),
        "dhs": (
            "Which of the states does y depend on?  All others get zero.",
            "Begin with zeros in the shape of hs, and write dy where y was taken from: "
            "dhs[np.arange(B), lengths - 1] = dy.",
        ),
    },
)
def last_state(hs, lengths):
    """Take the last real state of each row.

    hs (B, T, H), lengths (B,), at least 1 -> y (B, H).  ``backward(dy)`` -> dhs.
    """
    B, T, H = hs.shape
    y = ...

    def backward(dy):
        dhs = ...
        return dhs

    return y, backward


def _masked_loss(logits, targets, lengths):
    return ops.cross_entropy(logits, targets, length_mask(lengths, targets.shape[1]))


def _predictions(rng):
    for B, T, V, label in ((2, 2, 3, "full"), (3, 4, 5, "lengths")):
        lengths = np.full(B, T) if label == "full" else rng.permutation(T)[:B] + 1
        yield label, (rng.standard_normal((B, T, V)), rng.integers(V, size=(B, T)), lengths)


@exercise(
    "the mean loss over the real tokens of a padded batch",
    level=2,
    minutes=15,
    reference=_masked_loss,
    solution="minillm/models/teacher_forcing.py: target_loss",
    cases=_predictions,
    outputs=("loss",),
    gradients=("dlogits",),
    hints={
        "loss": (
            "Padding does not count, neither in the sum nor in the number that divides it.",
            "Add nats times mask over all positions, and divide by mask.sum(), not by B T.",
        ),
        "dlogits": (
            "Each real position has the gradient p - [v = target], each divided by the number that "
            "divided the loss.  The positions in the padding have none.",
            "dloss * (p - one_hot) * mask[..., None] / mask.sum()",
        ),
    },
)
def masked_loss(logits, targets, lengths):
    """Compute the mean of -log p[target] over the real positions, p = softmax(logits).

    logits (B, T, V), targets (B, T), lengths (B,) -> loss.  ``backward(dloss)`` -> dlogits.
    """
    B, T, V = logits.shape
    exp = np.exp(logits - logits.max(axis=-1, keepdims=True))
    p = exp / exp.sum(axis=-1, keepdims=True)
    one_hot = np.eye(V)[targets]  # (B, T, V)
    nats = -np.log((p * one_hot).sum(axis=-1))  # (B, T)
    mask = ...
    loss = ...

    def backward(dloss=1.0):
        dlogits = ...
        return dlogits

    return loss, backward


def _targets(rng):
    yield "", (np.array([[4, 2, 9]]), 9)
    yield "", (rng.integers(8, size=(3, 5)), 8)


@exercise(
    "the inputs of a decoder, from its targets",
    level=1,
    minutes=5,
    reference=reference_teacher_forcing,
    solution="minillm/models/teacher_forcing.py: teacher_forcing",
    cases=_targets,
    outputs=("inputs",),
    hints={
        "inputs": (
            "At each step the decoder reads the right token of the step before.  "
            "Before the first one there is BOS.",
            "A column of BOS, then all columns of targets but the last one.",
        ),
    },
)
def teacher_forcing(targets, bos):
    """Make the inputs (B, T) of a decoder that is to predict targets (B, T)."""
    first = np.full((len(targets), 1), bos)
    inputs = ...
    return inputs


# --- transfer: the answer stands nowhere in the text ----------------------------------


def _mean_max(hs, lengths):
    mask = (np.arange(hs.shape[1]) < lengths[:, None])[..., None]
    counted = np.where(mask, hs, -np.inf)
    first = counted == counted.max(axis=1, keepdims=True)
    mean = (hs * mask).sum(axis=1) / lengths[:, None]

    def backward(dy):
        dmean, dmax = np.split(dy, 2, axis=1)
        return mask * (dmean / lengths[:, None])[:, None] + first * dmax[:, None]

    return np.concatenate([mean, counted.max(axis=1)], axis=1), backward


def _negative_states(rng):
    for B, T, H, label in ((2, 3, 2, "full"), (4, 5, 3, "lengths")):
        lengths = np.full(B, T) if label == "full" else rng.integers(1, T, size=B)
        yield label, (rng.standard_normal((B, T, H)) - 2, lengths)


@exercise(
    "mean and max pooling, forward and backward",
    level=2,
    minutes=25,
    reference=_mean_max,
    solution="minillm/exercises/chapter09.py: _mean_max",
    cases=_negative_states,
    gradients=("dhs",),
    hints={
        "full": (
            "Each state is used twice: in the mean with the slope 1 / length, and in the maximum "
            "with the slope 1 where it is the largest, feature by feature.",
            "dmean / length at every real step, plus dmax where hs equals hs.max(axis=1, "
            "keepdims=True).  The mean is the first half of y.",
        ),
        "lengths": (
            "The padding has no part: not in the mean, nor its number, nor in the maximum.  The "
            "states here are mostly negative, so a padding of 0 would be the maximum.",
            "np.where(mask, hs, -np.inf).max(axis=1), and the gradient is 0 at the padding.",
        ),
    },
)
def mean_max(hs, lengths):
    """Join the mean and the maximum over the real steps of each row.

    hs (B, T, H), lengths (B,), at least 1 -> y (B, 2H), the mean first.  ``backward(dy)`` -> dhs.
    """
    # as many lines as you need
    y = ...

    def backward(dy):
        dhs = ...
        return dhs

    return y, backward


def _loss_per_text(logits, targets, lengths):
    p, (_, T, V) = softmax_forward(logits), logits.shape
    one_hot, mask = np.eye(V)[targets], length_mask(lengths, T)
    weights = mask / np.maximum(lengths, 1)[:, None] / np.count_nonzero(lengths)
    loss = -(weights * np.log((p * one_hot).sum(axis=-1))).sum()
    return loss, lambda dloss: dloss * (p - one_hot) * weights[..., None]


def _texts(rng):
    for label, lengths in (
        ("equal lengths", [3, 3]),
        ("lengths", [4, 1, 2]),
        ("an empty text", [3, 0, 1]),
    ):
        B, T, V = len(lengths), max(lengths), 4
        yield label, (*draw(rng, (B, T, V)), rng.integers(V, size=(B, T)), np.array(lengths))


@exercise(
    "a loss in which every text counts the same",
    level=2,
    minutes=20,
    reference=_loss_per_text,
    solution="minillm/exercises/chapter09.py: _loss_per_text",
    cases=_texts,
    outputs=("loss",),
    gradients=("dlogits",),
    hints={
        "equal lengths": (
            "With equal lengths, this is the mean over all tokens.",
            "-np.log of the softmax at the targets, and the mean of it.",
        ),
        "lengths": (
            "First the mean over the real tokens of a text, then the mean over the texts.",
            "The weight of a token is mask / lengths[:, None] / the number of texts.",
        ),
        "an empty text": (
            "A text without tokens has no mean, and is not one of the texts that are averaged.",
            "Divide by np.maximum(lengths, 1), and by np.count_nonzero(lengths) texts.",
        ),
        "dlogits": (
            "Each real token has p minus one-hot, times its weight in the loss: which number is "
            "the loss of a token divided by?",
            "dloss * (p - one_hot) * weights[..., None], where a token of a text of length T_b has "
            "the weight 1 / T_b / texts, and the padding 0.",
        ),
    },
)
def loss_per_text(logits, targets, lengths):
    """Compute the mean over the texts of their mean losses per token.

    logits (B, T, V), targets (B, T), lengths (B,): what is past the length is padding; a text of
    the length 0 does not count -> loss, an array without axes.  ``backward(dloss)`` -> dlogits.
    """
    # as many lines as you need
    loss = ...

    def backward(dloss):
        dlogits = ...
        return dlogits

    return loss, backward


def _captioner(images, W, inputs, W_x, W_h, b):
    a, first_backward = ops.linear(images, W, np.zeros(W.shape[1]))
    h0, tanh_backward = ops.tanh(a)
    (hs, _), rnn_backward = ops.rnn(inputs, h0, W_x, W_h, b)

    def backward(dhs):
        dinputs, dh0, dW_x, dW_h, db = rnn_backward(dhs)
        dimages, dW, _ = first_backward(tanh_backward(dh0))
        return dimages, dW, dinputs, dW_x, dW_h, db

    return hs, backward


def _captions(rng):
    for label, B, T in (("one step", 2, 1), ("", 3, 4)):
        yield label, draw(rng, (B, 5), (5, 3), (B, T, 2), (2, 3), (3, 3), 3)


@exercise(
    "a decoder that starts from an image",
    level=2,
    minutes=20,
    reference=_captioner,
    solution="minillm/exercises/chapter09.py: _captioner",
    cases=_captions,
    imports="\nfrom minillm import ops",
    outputs=("hs",),
    gradients=("dimages", "dW", "dinputs", "dW_x", "dW_h", "db"),
    hints={
        "hs": (
            "The state before the first step is h0 = tanh(images W), and the rest is ops.rnn.",
            "(hs, _), rnn_backward = ops.rnn(inputs, h0, W_x, W_h, b).",
        ),
        "dimages": (
            "The image is used in h0 only, and rnn_backward returns dh0.",
            "(dh0 * (1 - h0**2)) @ W.T.",
        ),
        "dW": (
            "W has the gradient of a linear layer, behind a tanh.",
            "images.T @ (dh0 * (1 - h0**2)).",
        ),
    },
)
def captioner(images, W, inputs, W_x, W_h, b):
    """Compute all states of a decoder whose first state is h0 = tanh(images W).

    images (B, P), W (P, H), inputs (B, T, D), W_x (D, H), W_h (H, H), b (H,) -> hs (B, T, H).  Use
    ops.rnn.  ``backward(dhs)`` -> dimages, dW, dinputs, dW_x, dW_h, db.
    """
    # as many lines as you need
    hs = ...

    def backward(dhs):
        dimages, dW, dinputs, dW_x, dW_h, db = ...
        return dimages, dW, dinputs, dW_x, dW_h, db

    return hs, backward


# --- find the bug -------------------------------------------------------------------


def _rows_to_pool(rng):
    yield "", (*draw(rng, (3, 4, 2)), np.array([4, 1, 2]))
    yield "", (*draw(rng, (2, 3, 3)), np.array([3, 2]))


@find_the_bug(
    "find the bug: the mean and the last state",
    level=1,
    minutes=15,
    cases=_rows_to_pool,
    gradients=("dhs",),
    bugs=(
        Bug(
            "mask",
            "dhs = mask * (",
            "dhs = np.ones_like(hs) * (",
            "The mean takes the real steps only; the padding has no part in y.",
        ),
        Bug(
            "path",
            "lengths - 1] += dlast",
            "lengths - 1] = dlast",
            "The last state has two uses: it is in the mean, too.",
        ),
        Bug(
            "order",
            "dmean, dlast = np.split",
            "dlast, dmean = np.split",
            "The mean is the first half of y, and the last state the second.",
        ),
        Bug(
            "factor",
            "(dmean / lengths[:, None])[:, None]",
            "(dmean / hs.shape[1])[:, None]",
            "The mean of a row divides by the number of its real steps.",
        ),
    ),
)
def find_pooling(hs, lengths):
    """Join the mean of the real states of each row and its last real state.

    hs (B, T, H), lengths (B,), at least 1 -> y (B, 2H).  ``backward(dy)`` -> dhs.
    """
    rows = np.arange(len(hs))
    mask = (np.arange(hs.shape[1]) < lengths[:, None])[..., None]  # (B, T, 1)
    mean = (hs * mask).sum(axis=1) / lengths[:, None]
    y = np.concatenate([mean, hs[rows, lengths - 1]], axis=1)

    def backward(dy):
        dmean, dlast = np.split(dy, 2, axis=1)
        dhs = mask * (dmean / lengths[:, None])[:, None]
        dhs[rows, lengths - 1] += dlast
        return dhs

    return y, backward
