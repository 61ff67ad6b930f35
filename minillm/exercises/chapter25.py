"""Exercises of chapter 25: the linear recurrence, its backward, and a gate of the input alone."""

import numpy as np

from minillm import ops
from minillm.exercises.chapter08 import SIGMOID
from minillm.exercises.declaration import Bug, draw, exercise, find_the_bug
from minillm.ops.activations import logistic as sigmoid

# --- the scan in rounds -----------------------------------------------------------


def _scan(a, b):
    (hs, _), _ = ops.linear_recurrence(a[None], b[None], np.zeros_like(b[:1]))
    return hs[0]


def _stretches(rng):
    for T, D in ((2, 2), (4, 3), (7, 2)):
        yield "", (rng.uniform(0.3, 1, (T, D)), *draw(rng, (T, D)))


@exercise(
    "all states of a linear recurrence, in rounds",
    level=3,
    minutes=25,
    reference=_scan,
    solution="minillm/ops/linear_recurrence.py: linear_recurrence_forward",
    cases=_stretches,
    outputs=("hs",),
    hints={
        "hs": (
            "A position takes in the stretch that ends d positions before it: (a_1, b_1) then "
            "(a_2, b_2) is (a_2 a_1, a_2 b_1 + b_2).",
            "b[d:] + a[d:] * b[:-d] is the new b[d:].  The new a[d:] is a[d:] * a[:-d].  b comes "
            "first, because it needs the a of before the round.",
        ),
    },
)
def linear_scan(a, b):
    """Compute all h_t of h_t = a_t h_{t-1} + b_t from h_0 = 0, in log2(T) rounds.

    a and b (T, D) -> hs (T, D).
    """
    a, b, d = a.copy(), b.copy(), 1
    while d < len(a):
        # before this round, row t joins the d steps up to t; after it, 2 d
        joined_b = ...
        joined_a = ...
        b[d:], a[d:] = joined_b, joined_a
        d *= 2
    return b


# --- its backward -----------------------------------------------------------------


def _linear_recurrence(a, b, h0):
    (hs, _), op_backward = ops.linear_recurrence(a, b, h0)
    return hs, lambda dhs: op_backward(dhs)


def _sequences(rng):
    for B, T, D in ((2, 1, 3), (2, 2, 3), (3, 5, 2)):
        yield "", draw(rng, (B, T, D), (B, T, D), (B, D))


CARRIED = (
    "The last step is right, the earlier ones are not: h_t is also used in h_{t+1}.",
    "h_{t+1} = a_{t+1} h_t + b_{t+1}, so step t receives a_{t+1} g_{t+1}: at the end of a step, "
    "g = a[:, t] * g is what step t - 1 adds to dhs[:, t - 1].",
)


@exercise(
    "the backward pass of a linear recurrence",
    level=2,
    minutes=20,
    reference=_linear_recurrence,
    solution="minillm/ops/linear_recurrence.py: linear_recurrence_backward",
    cases=_sequences,
    outputs=("hs",),
    gradients=("da", "db", "dh0"),
    time={"hs": 1, "da": 1, "db": 1},
    hints={
        "da": (
            "h = a h_prev + b: the slope with respect to a is h_prev, the state before the step.",
            "da[:, t] = g * h_prev, with the complete gradient g of h_t.",
        ),
        "da:earlier": CARRIED,
        "db": (
            "h = a h_prev + b: the slope with respect to b is 1.",
            "db[:, t] = g, with the complete gradient g of h_t: dhs[:, t] and what step t + 1 "
            "hands back.",
        ),
        "db:earlier": CARRIED,
        "dh0": (
            "h0 is the h_prev of the first step: the slope is a.",
            "g = a[:, t] * g at the end of each step; after the loop, g is dh0.",
        ),
    },
)
def linear_recurrence(a, b, h0):
    """Compute h_t = a_t h_{t-1} + b_t, element by element.

    a and b (B, T, D), h0 (B, D) -> hs (B, T, D).  ``backward(dhs)`` -> da, db, dh0.
    """
    h, hs = h0, []
    for t in range(a.shape[1]):
        h = a[:, t] * h + b[:, t]
        hs.append(h)
    hs = np.stack(hs, axis=1)

    def backward(dhs):
        da, db, g = np.zeros_like(a), np.zeros_like(b), np.zeros_like(h0)
        for t in reversed(range(a.shape[1])):
            h_prev = hs[:, t - 1] if t > 0 else h0
            g = ...
            da[:, t] = ...
            db[:, t] = ...
            g = ...
        return da, db, g

    return hs, backward


# --- one gate ---------------------------------------------------------------------


def _min_gru_cell(v, n, h_prev):
    z, z_backward = ops.sigmoid(v)
    (hs, _), op_backward = ops.linear_recurrence((1 - z)[:, None], (z * n)[:, None], h_prev)

    def backward(dh):
        dkept, dnew, dh_prev = op_backward(dh[:, None])
        dz = dnew[:, 0] * n - dkept[:, 0]
        return z_backward(dz), dnew[:, 0] * z, dh_prev

    return hs[:, 0], backward


def _gates(rng):
    for B, H in ((2, 3), (3, 2)):
        yield "", draw(rng, (B, H), (B, H), (B, H))


@exercise(
    "the gate of a minGRU",
    level=2,
    minutes=15,
    reference=_min_gru_cell,
    solution="minillm/ops/minimal.py: min_gru",
    cases=_gates,
    imports=SIGMOID,
    outputs=("h",),
    gradients=("dv", "dn", "dh_prev"),
    hints={
        "dv": (
            "z has two uses, z n and (1 - z) h_prev, one of them with a minus; then z is a sigmoid "
            "of v.",
            "dz = dh * (n - h_prev), and the slope of a sigmoid is z (1 - z).",
        ),
        "dn": (
            "h = (1 - z) h_prev + z n: the slope with respect to n is z.",
            "dn = dh * z.  There is no tanh here.",
        ),
        "dh_prev": (
            "h = (1 - z) h_prev + z n: the slope with respect to h_prev is what the gate keeps.",
            "dh_prev = dh * (1 - z).  No other path leads to h_prev: the gate does not read it.",
        ),
    },
)
def min_gru_cell(v, n, h_prev):
    """Move the state to the candidate n, as far as the gate z = sigmoid(v) says.

    v, n, h_prev (B, H) -> h = (1 - z) h_prev + z n (B, H).  ``backward(dh)`` -> dv, dn, dh_prev.
    """
    z = sigmoid(v)
    h = ...

    def backward(dh):
        dv = ...
        dn = ...
        dh_prev = ...
        return dv, dn, dh_prev

    return h, backward


# --- a convolution that skips positions -------------------------------------------


def _dilated_convolution(x, W, step):
    K, T = len(W), len(x)
    u = np.concatenate([np.zeros(((K - 1) * step, x.shape[1])), x])
    parts = [slice(j * step, j * step + T) for j in range(K)]

    def backward(dy):
        du = np.zeros_like(u)
        for part, W_j in zip(parts, W, strict=True):
            du[part] += dy @ W_j.T
        return du[(K - 1) * step :], np.stack([u[part].T @ dy for part in parts])

    return sum(u[part] @ W_j for part, W_j in zip(parts, W, strict=True)), backward


def _dilated(rng):
    for label, K, T, step in (("", 2, 4, 1), ("", 3, 5, 1), ("step", 3, 9, 2), ("step", 2, 5, 3)):
        yield label, (*draw(rng, (T, 3), (K, 3, 2)), step)


@exercise(
    "a convolution that skips positions",
    level=2,
    minutes=20,
    reference=_dilated_convolution,
    solution="minillm/exercises/chapter25.py: _dilated_convolution",
    cases=_dilated,
    gradients=("dx", "dW"),
    hints={
        "y": (
            "u has (K - 1) step zeros and then x, so row t + j step of u is what W_j multiplies.",
            "The T rows of u from row j step on, times W[j].",
        ),
        "dx": (
            "A row of u has up to K uses, one in each product.  Uses add up, at the rows that the "
            "forward pass read; the rows of zeros are no part of x.",
            "du[j * step : j * step + T] += dy @ W[j].T; dx is du without its first (K - 1) step "
            "rows.",
        ),
        "dx:shape": (
            "u is longer than x by the zeros before it.",
            "dx = du[(K - 1) * step :].",
        ),
        "dW": (
            "Each product is a linear layer: its input transposed times dy, over all T positions.",
            "u[j * step : j * step + T].T @ dy.",
        ),
        "step": ("The products read u at j step, not at j.", "The rows from j * step on."),
    },
)
def dilated_convolution(x, W, step):
    """Compute y_t = sum over j < K of x_{t - (K - 1 - j) step} W_j, with zeros before the text.

    x (T, I), W (K, I, O), step 1 or more -> y (T, O).  ``backward(dy)`` -> dx, dW.
    With the steps 1, K, K^2 and so on, L layers see K^L tokens.
    """
    K, T = len(W), len(x)
    u = np.concatenate([np.zeros(((K - 1) * step, x.shape[1])), x])
    y = np.zeros((T, W.shape[2]))
    for j in range(K):
        y += ...

    def backward(dy):
        du, dW = np.zeros_like(u), np.zeros_like(W)
        for j in range(K):
            du[j * step : j * step + T] += ...
            dW[j] = ...
        dx = ...
        return dx, dW

    return y, backward


# --- transfer: the answer stands nowhere in the text ----------------------------------


def _restarted(a, b, starts):
    kept = a * ~starts[..., None]
    hs, op_backward = _linear_recurrence(kept, b, np.zeros_like(b[:, 0]))

    def backward(dhs):
        da, db, _ = op_backward(dhs)
        return da * ~starts[..., None], db

    return hs, backward


def _packed(rng):
    for label, B, T, often in (("one text", 2, 3, 0), ("", 2, 6, 0.4), ("", 1, 5, 0.5)):
        starts = rng.random((B, T)) < often
        starts[:, 0], starts[0, -1] = True, often > 0
        yield label, (*draw(rng, (B, T, 2), (B, T, 2)), starts)


@exercise(
    "a linear recurrence over packed texts",
    level=2,
    minutes=25,
    reference=_restarted,
    solution="minillm/exercises/chapter25.py: _restarted",
    cases=_packed,
    outputs=("hs",),
    gradients=("da", "db"),
    time={"hs": 1, "da": 1, "db": 1},
    hints={
        "one text": (
            "Before the first step the state is 0, so h_0 = b_0; then it is the recurrence.",
            "h = a[:, t] * h + b[:, t], from h = 0.",
        ),
        "hs": (
            "Where a text starts, the state of the text before it must not come in.",
            "kept = np.where(starts[..., None], 0, a), and the recurrence with kept in the place "
            "of a.",
        ),
        "da": (
            "Where a text starts, a is not used and has no gradient; elsewhere its slope is the "
            "state before the step.",
            "da[:, t] = g * h_prev where not starts[:, t], and 0 otherwise.",
        ),
        "da:earlier": (
            "The last step is right, the earlier ones are not: h_t reaches all later states of its "
            "own text, and none of the next one.",
            "g = dhs[:, t] + kept[:, t + 1] * g of the step after, where kept is 0 at a start.",
        ),
        "db": (
            "b_t reaches all later states of its own text, and none of the next one.",
            "g = dhs[:, t] + kept[:, t + 1] * g of the step after; db[:, t] = g.",
        ),
    },
)
def restarted(a, b, starts):
    """Compute h_t = a_t h_{t-1} + b_t, where each row holds several texts, one after the other.

    a, b (B, T, D); starts (B, T), True at the first token of a text, also at t = 0: there the state
    before it is 0 -> hs (B, T, D).  ``backward(dhs)`` -> da, db.
    """
    # as many lines as you need
    hs = ...

    def backward(dhs):
        da, db = ...
        return da, db

    return hs, backward


def _decayed_memory(q, k, v, decay):
    T = len(q)
    age = np.arange(T)[:, None] - np.arange(T)
    D = np.where(age >= 0, decay ** np.maximum(age, 0), 0)
    weights = D * (q @ k.T)

    def backward(dy):
        dscores = D * (dy @ v.T)
        return dscores @ k, dscores.T @ q, weights.T @ dy

    return weights @ v, backward


def _memories(rng):
    for label, T, d, e, decay in (
        ("one step", 1, 2, 3, 0.5),
        ("no decay", 4, 2, 3, 1.0),
        ("", 5, 3, 2, 0.8),
    ):
        yield label, (*draw(rng, (T, d), (T, d), (T, e)), decay)


@exercise(
    "a memory that fades",
    level=3,
    minutes=35,
    reference=_decayed_memory,
    solution="minillm/exercises/chapter25.py: _decayed_memory",
    cases=_memories,
    gradients=("dq", "dk", "dv"),
    hints={
        "one step": (
            "After one step the memory is k v^T, and the answer to q is (q . k) v.",
            "S = decay * S + np.outer(k[t], v[t]); y[t] = q[t] @ S, after the writing.",
        ),
        "no decay": (
            "Without decay, y_t is the sum of (q_t . k_s) v_s over all s up to t.",
            "y = (np.tri(T) * (q @ k.T)) @ v.",
        ),
        "y": (
            "What was written at step s has been multiplied by the decay at each step since then.",
            "y = (D * (q @ k.T)) @ v with D[t, s] = decay ** (t - s) for s <= t, and 0 otherwise.",
        ),
        "dq": (
            "q_t is multiplied by the memory as it was at step t.",
            "(D * (dy @ v.T)) @ k.",
        ),
        "dk": (
            "k_s is read by every later query, and by the one of its own step, through the decay.",
            "(D * (dy @ v.T)).T @ q.",
        ),
        "dv": (
            "v_s is read by every later query, and by the one of its own step, through the decay.",
            "(D * (q @ k.T)).T @ dy.",
        ),
    },
)
def decayed_memory(q, k, v, decay):
    """Write k_t v_t^T into a memory that fades, and read it: S_t = decay S_{t-1} + k_t v_t^T.

    The answers are y_t = q_t S_t, and S is zero before the first step.  q, k (T, d), v (T, e),
    decay, a number from 0 to 1 -> y (T, e).  Step by step, or all steps at once as in attention.
    ``backward(dy)`` -> dq, dk, dv.
    """
    # as many lines as you need
    y = ...

    def backward(dy):
        dq, dk, dv = ...
        return dq, dk, dv

    return y, backward


# --- find the bug -------------------------------------------------------------------


def _gated_sequences(rng):
    for B, T, H in ((2, 3, 2), (3, 4, 3)):
        yield "", draw(rng, (B, T, H), (B, T, H), (B, H))


@find_the_bug(
    "find the bug: a minGRU over a sequence",
    level=2,
    minutes=20,
    cases=_gated_sequences,
    imports=SIGMOID,
    outputs=("hs",),
    gradients=("dv", "dn", "dh0"),
    bugs=(
        Bug(
            "path",
            "dh = dh + dhs[:, t]",
            "dh = dhs[:, t]",
            "h_t is used in the output and in step t + 1.",
        ),
        Bug(
            "value",
            "h_prev = hs[:, t - 1] if t > 0 else h0",
            "h_prev = hs[:, t]",
            "The gate moves the state before the step.",
        ),
        Bug(
            "sign",
            "(n[:, t] - h_prev)",
            "(h_prev - n[:, t])",
            "z multiplies n, and -z multiplies h_prev.",
        ),
        Bug(
            "factor",
            "z[:, t] * (1 - z[:, t])",
            "z[:, t]",
            "z is a sigmoid of v: its slope is z (1 - z).",
        ),
        Bug(
            "factor",
            "dh = dh * (1 - z[:, t])",
            "dh = dh * z[:, t]",
            "h_prev is kept by the share 1 - z.",
        ),
    ),
)
def find_min_gru(v, n, h0):
    """Run h_t = (1 - z_t) h_{t-1} + z_t n_t with z = sigmoid(v).

    v and n (B, T, H), h0 (B, H) -> hs (B, T, H).  ``backward(dhs)`` -> dv, dn, dh0.
    """
    z, h, hs = sigmoid(v), h0, []
    for t in range(v.shape[1]):
        h = (1 - z[:, t]) * h + z[:, t] * n[:, t]
        hs.append(h)
    hs = np.stack(hs, axis=1)

    def backward(dhs):
        dv, dn, dh = np.zeros_like(v), np.zeros_like(n), np.zeros_like(h0)
        for t in reversed(range(v.shape[1])):
            h_prev = hs[:, t - 1] if t > 0 else h0
            dh = dh + dhs[:, t]
            dn[:, t] = dh * z[:, t]
            dv[:, t] = dh * (n[:, t] - h_prev) * z[:, t] * (1 - z[:, t])
            dh = dh * (1 - z[:, t])
        return dv, dn, dh

    return hs, backward
