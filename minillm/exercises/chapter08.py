"""Exercises of chapter 8: the LSTM and the GRU."""

import numpy as np

from minillm import ops
from minillm.exercises.declaration import Bug, draw, exercise, find_the_bug
from minillm.ops.activations import logistic as sigmoid

SIGMOID = """

def sigmoid(a):
    return 1 / (1 + np.exp(-a))"""


# --- one step of an LSTM ----------------------------------------------------------


def _lstm_step(x, h_prev, c_prev, W_x, W_h, b):
    """One step of the package's op, with its backward."""
    (_, h, c), op_backward = ops.lstm(x[:, None], h_prev, c_prev, W_x, W_h, b)

    def backward(dh, dc):
        dx, *others = op_backward(None, dh, dc)
        return dx[:, 0], *others

    return (h, c), backward


def _step_forward(x, h_prev, c_prev, W_x, W_h, b):
    h, c = _lstm_step(x, h_prev, c_prev, W_x, W_h, b)[0]
    return c, h


def _steps(rng):
    for B, I, H in ((2, 3, 2), (3, 2, 4)):
        yield "", draw(rng, (B, I), (B, H), (B, H), (I, 4 * H), (H, 4 * H), 4 * H)


@exercise(
    "one step of an LSTM, forward",
    level=1,
    minutes=10,
    reference=_step_forward,
    solution="minillm/ops/lstm.py: _cell",
    cases=_steps,
    outputs=("c", "h"),
    imports=SIGMOID,
    hints={
        "c": (
            "The cell is the old one times the forget gate f, plus the input gate i times g.",
            "The gates stand in the order i, f, g, o.  g is a tanh of its pre-activation, the "
            "others are sigmoids.  c = f * c_prev + i * g.",
        ),
        "h": (
            "The state shows the cell through a tanh, and the output gate o scales it.",
            "h = o * np.tanh(c), with the new c.",
        ),
    },
)
def lstm_step(x, h_prev, c_prev, W_x, W_h, b):
    """Compute one step of an LSTM, with the gates in the order i, f, g, o.

    x (B, I), h_prev and c_prev (B, H), W_x (I, 4H), W_h (H, 4H), b (4H,) -> c, h (B, H).
    """
    a = x @ W_x + h_prev @ W_h + b  # (B, 4H)
    i, f, g, o = np.split(a, 4, axis=1)  # not gates yet
    c = ...
    h = ...
    return c, h


def _cell(a, c_prev):
    """The package's cell: text k looks up row k of a, and there is no recurrence."""
    B, H = c_prev.shape
    (_, h, c), op_backward = ops.lstm(
        np.arange(B)[:, None], np.zeros((B, H)), c_prev, a, np.zeros((H, 4 * H)), np.zeros(4 * H)
    )

    def backward(dh, dc):
        _, dc_prev, da, *_ = op_backward(None, dh, dc)
        return da, dc_prev

    return (h, c), backward


def _cells(rng):
    yield "", draw(rng, (2, 8), (2, 2))
    yield "", draw(rng, (3, 12), (3, 3))


GATE_HINTS = {
    "i": (
        "c = f c_prev + i g, so di = dc g.  Then i is a sigmoid of its pre-activation.",
        "The slope of a sigmoid is i (1 - i): the part of i is dc * g * i * (1 - i).",
    ),
    "f": (
        "c = f c_prev + i g, so df = dc c_prev.  Then f is a sigmoid of its pre-activation.",
        "The slope of a sigmoid is f (1 - f): the part of f is dc * c_prev * f * (1 - f).",
    ),
    "g": (
        "c = f c_prev + i g, so dg = dc i.  Then g is a tanh of its pre-activation, no sigmoid.",
        "The slope of tanh, by its output, is 1 - g**2: the part of g is dc * i * (1 - g**2).",
    ),
    "o": (
        "h = o tanh(c), so do = dh tanh(c), not dh c.  Then o is a sigmoid.",
        "The slope of a sigmoid is o (1 - o): the part of o is dh * tanh_c * o * (1 - o).",
    ),
}


SIDE_BY_SIDE = (
    "da has the shape of a, (B, 4H): the parts of i, f, g and o stand side by side.",
    "np.concatenate([...], axis=1): without the axis, they stand one below the other.",
)


@exercise(
    "the backward pass of an LSTM cell",
    level=2,
    minutes=25,
    reference=_cell,
    solution="minillm/ops/lstm.py: lstm_backward",
    cases=_cells,
    imports=SIGMOID,
    outputs=("h", "c"),
    gradients=("da", "dc_prev"),
    gates="ifgo",
    gated=("da",),
    hints={
        "dc_prev": (
            "Two paths lead from L to c: the gradient dc of the step after, and h = o tanh(c).",
            "dc = dc + dh * o * (1 - tanh_c**2) first; then c = f c_prev + i g gives "
            "dc_prev = dc * f.",
        ),
        "dc_prev:only": (
            "da is right, so dc is complete.  What multiplies c_prev on its way into c?",
            "c = f c_prev + i g: the slope with respect to c_prev is f, so dc_prev = dc * f.",
        ),
        "da": (
            "Is the gradient of c complete?  h = o tanh(c) adds a second part to dc.",
            "dc = dc + dh * o * (1 - tanh_c**2): the slope of tanh(c) is made of tanh_c, not of c. "
            "da has the parts of i, f, g, o side by side, each a gradient times a slope.",
        ),
        "da:only": (
            "dc_prev is right, so dc is complete.  A gate's gradient is not yet the gradient of "
            "its pre-activation: each is multiplied by a slope.",
            "A sigmoid s has the slope s (1 - s), and the tanh g has 1 - g**2: the part of i is "
            "di * i * (1 - i).",
        ),
        "da:shape": SIDE_BY_SIDE,
        **{f"da:{gate}": hints for gate, hints in GATE_HINTS.items()},
    },
)
def lstm_cell(a, c_prev):
    """Compute an LSTM's cell from the pre-activations a of its gates, i, f, g, o.

    a (B, 4H), c_prev (B, H) -> h, c (B, H).  ``backward(dh, dc)`` -> da, dc_prev.
    """
    i, f, g, o = np.split(a, 4, axis=1)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    c = f * c_prev + i * g
    tanh_c = np.tanh(c)
    h = o * tanh_c

    def backward(dh, dc):
        dh = np.zeros_like(h) if dh is None else dh  # None means zero
        dc = np.zeros_like(c) if dc is None else dc
        dc = ...
        di, df, dg, do = ...
        dc_prev = ...
        da = ...
        return da, dc_prev

    return (h, c), backward


# --- the whole LSTM -----------------------------------------------------------------


def _lstm(x, h0, c0, W_x, W_h, b):
    (hs, _, _), op_backward = ops.lstm(x, h0, c0, W_x, W_h, b)
    return hs, lambda dhs: op_backward(dhs)


def _sequences(rng):
    for B, T, I, H in ((2, 1, 3, 2), (2, 2, 3, 2), (3, 4, 2, 3)):
        yield "", draw(rng, (B, T, I), (B, H), (B, H), (I, 4 * H), (H, 4 * H), 4 * H)


EARLIER = (
    "The last step is right, the earlier ones are not: something is not carried from step t to "
    "t - 1.",
    "Two things are carried.  h_prev is used in a = x W_x + h_prev W_h + b: dh = da @ W_h.T.  "
    "c_prev is used in c = f c_prev + i g: dc = dc * f.  Each arrives at step t - 1, where dhs[:, "
    "t - 1] and the part through h are added.",
)
LSTM_HINTS = {
    "dx": (
        "x[:, t] is used in the pre-activations of step t only.",
        "a = x W_x + ..., so dx[:, t] = da @ W_x.T.",
    ),
    "dx:shape": SIDE_BY_SIDE,
    "dx:earlier": EARLIER,
    "dh0": (
        "h0 is the h_prev of step 0, and h_prev is used in a = x W_x + h_prev W_h + b.",
        "dh = da @ W_h.T at the end of each step.  After the loop, dh is dh0.",
    ),
    "dc0": (
        "c0 is the c_prev of step 0, and c_prev is used in c = f c_prev + i g.",
        "dc = dc * f at the end of each step.  After the loop, dc is dc0.",
    ),
    "dW_x": (
        "dW_x is made of x and da.  Is da complete: has dc its part through h = o tanh(c)?",
        "dc = dc + dh * o * (1 - tanh_c**2).  Uses add up: dW_x += x[:, t].T @ da at each step.",
    ),
    "dW_x:only": (
        "All else is right, so da is.  One W_x has T uses.",
        "dW_x += x[:, t].T @ da at each step, with +=.",
    ),
    "dW_h": (
        "W_h multiplies the state before the step, not the one after it.  Uses add up.",
        "dW_h += h_prev.T @ da at each step, with h_prev = h0 at step 0.",
    ),
    "db": (
        "b is used in each row of each step, and uses add up.",
        "db += da.sum(axis=0) at each step.",
    ),
    **{
        f"{name}:{gate}": hints
        for name in ("dW_x", "dW_h", "db")
        for gate, hints in GATE_HINTS.items()
    },
}


def whole_lstm(x, h0, c0, W_x, W_h, b):
    """Run an LSTM over a whole sequence, with the gates in the order i, f, g, o.

    x (B, T, I), h0 and c0 (B, H), W_x (I, 4H), W_h (H, 4H), b (4H,) -> hs (B, T, H).
    ``backward(dhs)`` -> dx, dh0, dc0, dW_x, dW_h, db.
    """
    h, c, hs, kept = h0, c0, [], []
    for t in range(x.shape[1]):
        h_prev, c_prev = h, c
        i, f, g, o = np.split(x[:, t] @ W_x + h_prev @ W_h + b, 4, axis=1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        c = f * c_prev + i * g
        h = o * np.tanh(c)
        hs.append(h)
        kept.append((h_prev, c_prev, i, f, g, o, np.tanh(c)))

    def backward(dhs):
        dx, dW_x, dW_h, db = (np.zeros_like(array) for array in (x, W_x, W_h, b))
        dh, dc = np.zeros_like(h0), np.zeros_like(c0)  # from the step after
        for t in reversed(range(x.shape[1])):
            h_prev, c_prev, i, f, g, o, tanh_c = kept[t]
            dh = dh + dhs[:, t]
            # all that reaches c_t
            dc = dc + dh * o * (1 - tanh_c**2)
            di, df, dg, do = dc * g, dc * c_prev, dc * i, dh * tanh_c
            da = np.concatenate(
                [di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)], axis=1
            )
            dx[:, t] = da @ W_x.T
            dW_x += x[:, t].T @ da
            dW_h += h_prev.T @ da
            db += da.sum(axis=0)
            # what reaches h_{t-1} and c_{t-1} through this step
            dh = da @ W_h.T
            dc = dc * f
        return dx, dh, dc, dW_x, dW_h, db

    return np.stack(hs, axis=1), backward


exercise(
    "a whole LSTM, backward through time",
    level=3,
    minutes=45,
    reference=_lstm,
    solution="minillm/ops/lstm.py: lstm_backward",
    cases=_sequences,
    imports=SIGMOID,
    outputs=("hs",),
    gradients=("dx", "dh0", "dc0", "dW_x", "dW_h", "db"),
    gates="ifgo",
    gated=("dW_x", "dW_h", "db"),
    time={"dx": 1},
    hints=LSTM_HINTS,
    function="lstm",
    blanks=(
        "dc + dh * o * (1 - tanh_c**2)",
        "dc * g, dc * c_prev, dc * i, dh * tanh_c",
        """np.concatenate(
                [di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)], axis=1
            )""",
        "da @ W_x.T",
        "x[:, t].T @ da",
        "h_prev.T @ da",
        "da.sum(axis=0)",
        "da @ W_h.T",
        "dc * f",
    ),
)(whole_lstm)


# --- the GRU ----------------------------------------------------------------------


def _gru_step(x, h_prev, W_x, W_h, b_x, b_h):
    return ops.gru(x[:, None], h_prev, W_x, W_h, b_x, b_h)[0][1]


def _gru_steps(rng):
    for B, I, H in ((2, 3, 2), (3, 2, 4)):
        yield "", draw(rng, (B, I), (B, H), (I, 3 * H), (H, 3 * H), 3 * H, 3 * H)


@exercise(
    "one step of a GRU, forward",
    level=1,
    minutes=10,
    reference=_gru_step,
    solution="minillm/ops/gru.py: _cell",
    cases=_gru_steps,
    imports=SIGMOID,
    outputs=("h",),
    hints={
        "h": (
            "z keeps the old state, 1 - z takes the candidate n.  The reset r scales h_n, the "
            "product of the old state with its weights, bias included.",
            "n = np.tanh(x_n + r * h_n) and h = (1 - z) * n + z * h_prev.",
        ),
    },
)
def gru_step(x, h_prev, W_x, W_h, b_x, b_h):
    """Compute one step of a GRU, with the gates in the order r, z, n.

    Where the update gate z is 1, the old state is kept; where it is 0, the candidate n replaces it.
    The reset gate r scales h_n, bias included, in the candidate.

    x (B, I), h_prev (B, H), W_x (I, 3H), W_h (H, 3H), b_x and b_h (3H,) -> h (B, H).
    """
    x_r, x_z, x_n = np.split(x @ W_x + b_x, 3, axis=1)
    h_r, h_z, h_n = np.split(h_prev @ W_h + b_h, 3, axis=1)
    r = ...
    z = ...
    n = ...
    h = ...
    return h


def _gru(x, h0, W_x, W_h, b_x, b_h):
    (hs, _), op_backward = ops.gru(x, h0, W_x, W_h, b_x, b_h)
    return hs, lambda dhs: op_backward(dhs)


def _gru_sequences(rng):
    for B, T, I, H in ((2, 1, 3, 2), (2, 2, 3, 2), (3, 4, 2, 3)):
        yield "", draw(rng, (B, T, I), (B, H), (I, 3 * H), (H, 3 * H), 3 * H, 3 * H)


GRU_GATES = {
    "r": (
        "n = tanh(x_n + r h_n), so dr = da_n h_n.  Then r is a sigmoid.",
        "da_r = dr * r * (1 - r), with da_n = dn * (1 - n**2), not dn, inside dr.",
    ),
    "z": (
        "h = (1 - z) n + z h_prev: z occurs twice, once with a minus.  Uses add up.",
        "dz = dh * (h_prev - n); then the sigmoid: da_z = dz * z * (1 - z).",
    ),
    "n": (
        "dn = dh (1 - z), and n is a tanh.  By h, the candidate's part is scaled by r as well.",
        "da_n = dn * (1 - n**2).  In a_x its part is da_n, in a_h it is da_n * r.",
    ),
}


@exercise(
    "a whole GRU, backward through time",
    level=3,
    minutes=40,
    reference=_gru,
    solution="minillm/ops/gru.py: gru_backward",
    cases=_gru_sequences,
    imports=SIGMOID,
    outputs=("hs",),
    gradients=("dx", "dh0", "dW_x", "dW_h", "db_x", "db_h"),
    gates="rzn",
    gated=("dW_x", "dW_h", "db_x", "db_h"),
    time={"dx": 1},
    hints={
        "dx": (
            "x[:, t] is used in a_x of step t only.",
            "dx[:, t] = da_x @ W_x.T.",
        ),
        "dx:earlier": (
            "The last step is right, the earlier ones are not: the state h_prev has two uses.",
            "h_prev is used in h = (1 - z) n + z h_prev and in a_h = h_prev W_h + b_h: "
            "dh = dh * z + da_h @ W_h.T.",
        ),
        "dh0": (
            "h_prev has two uses in a step: directly, scaled by z, and through W_h.  Uses add up.",
            "dh = dh * z + da_h @ W_h.T; after the loop, dh is dh0.",
        ),
        "dW_x": ("One W_x, T uses: uses add up.", "dW_x += x[:, t].T @ da_x at each step."),
        "dW_h": (
            "W_h multiplies h_prev, and its products are a_h, not a_x.",
            "dW_h += h_prev.T @ da_h at each step.",
        ),
        "db_x": ("b_x is added in each row and step.", "db_x += da_x.sum(axis=0)."),
        "db_h": ("b_h is a part of a_h, not of a_x.", "db_h += da_h.sum(axis=0)."),
        **{
            f"{name}:{gate}": hints
            for name in ("dW_x", "dW_h", "db_x", "db_h")
            for gate, hints in GRU_GATES.items()
        },
    },
)
def gru(x, h0, W_x, W_h, b_x, b_h):
    """Run a GRU over a whole sequence, with the gates in the order r, z, n.

    x (B, T, I), h0 (B, H), W_x (I, 3H), W_h (H, 3H), b_x and b_h (3H,) -> hs (B, T, H).
    ``backward(dhs)`` -> dx, dh0, dW_x, dW_h, db_x, db_h.
    """
    h, hs, kept = h0, [], []
    for t in range(x.shape[1]):
        h_prev = h
        x_r, x_z, x_n = np.split(x[:, t] @ W_x + b_x, 3, axis=1)
        h_r, h_z, h_n = np.split(h_prev @ W_h + b_h, 3, axis=1)
        r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
        n = np.tanh(x_n + r * h_n)
        h = (1 - z) * n + z * h_prev
        hs.append(h)
        kept.append((h_prev, r, z, n, h_n))

    def backward(dhs):
        gradients = (np.zeros_like(array) for array in (x, W_x, W_h, b_x, b_h))
        dx, dW_x, dW_h, db_x, db_h = gradients
        dh = np.zeros_like(h0)  # from the step after
        for t in reversed(range(x.shape[1])):
            h_prev, r, z, n, h_n = kept[t]
            dh = dh + dhs[:, t]
            da_n = ...
            da_r = ...
            da_z = ...
            da_x = np.concatenate([da_r, da_z, da_n], axis=1)
            da_h = ...
            dx[:, t] = da_x @ W_x.T
            dW_x += x[:, t].T @ da_x
            dW_h += h_prev.T @ da_h
            db_x += da_x.sum(axis=0)
            db_h += da_h.sum(axis=0)
            dh = ...
        return dx, dh, dW_x, dW_h, db_x, db_h

    return np.stack(hs, axis=1), backward


# --- transfer: the answer stands nowhere in the text ----------------------------------


def _coupled_cell(a, c_prev, p):
    a_f, a_g, a_o = np.split(a, 3, axis=1)
    f, g = sigmoid(a_f), np.tanh(a_g)
    c = f * c_prev + (1 - f) * g
    o, tanh_c = sigmoid(a_o + p * c), np.tanh(c)

    def backward(dh, dc):
        da_o = dh * tanh_c * o * (1 - o)
        dc = dc + dh * o * (1 - tanh_c**2) + da_o * p
        da_f = dc * (c_prev - g) * f * (1 - f)
        da_g = dc * (1 - f) * (1 - g**2)
        return np.concatenate([da_f, da_g, da_o], axis=1), dc * f, (da_o * c).sum(axis=0)

    def given(dh, dc):
        zeros = np.zeros_like(c)
        return backward(zeros if dh is None else dh, zeros if dc is None else dc)

    return (o * tanh_c, c), given


def _coupled(rng):
    for B, H in ((2, 2), (3, 4)):
        yield "", draw(rng, (B, 3 * H), (B, H), H)


@exercise(
    "a cell with a coupled gate and a peephole",
    level=3,
    minutes=40,
    reference=_coupled_cell,
    solution="minillm/exercises/chapter08.py: _coupled_cell",
    cases=_coupled,
    imports=SIGMOID,
    outputs=("h", "c"),
    gradients=("da", "dc_prev", "dp"),
    hints={
        "h": (
            "What is not kept is replaced, in c; and the output gate sees the new cell through the "
            "peephole, before its sigmoid.",
            "c = f * c_prev + (1 - f) * g; o = sigmoid(a_o + p * c), with the new c; then "
            "h = o * np.tanh(c).",
        ),
        "dc_prev": (
            "c has three uses: the next step, tanh(c), and the peephole.  Uses add up.",
            "da_o = dh * tanh_c * o * (1 - o); dc = dc + dh * o * (1 - tanh_c**2) + da_o * p; then "
            "dc_prev = dc * f.",
        ),
        "dp": (
            "p is used in every row, with the slope c, the new cell.",
            "dp = (da_o * c).sum(axis=0).",
        ),
        "da": (
            "Is dc complete?  c has three uses: the next step, tanh(c), and the peephole.",
            "dc = dc + dh * o * (1 - tanh_c**2) + da_o * p, before the other gates.",
        ),
        "da:only": (
            "dc_prev is right, so dc is complete.  f is used twice: it keeps the old cell, and "
            "1 - f lets the proposal in.  Each gate has a slope of its own.",
            "dc * (c_prev - g) * f * (1 - f), dc * (1 - f) * (1 - g**2) and "
            "dh * tanh_c * o * (1 - o), side by side.",
        ),
    },
)
def coupled_cell(a, c_prev, p):
    """Compute c = f c_prev + (1 - f) g and h = o tanh(c), where o = sigmoid(a_o + p c) sees c.

    a (B, 3H): the pre-activations of f, g and o, side by side; c_prev (B, H), p (H,) -> h, c.
    ``backward(dh, dc)`` -> da, dc_prev, dp.
    """
    a_f, a_g, a_o = np.split(a, 3, axis=1)
    f, g = sigmoid(a_f), np.tanh(a_g)
    c = ...
    o = ...
    h = ...

    def backward(dh, dc):
        dh = np.zeros_like(h) if dh is None else dh  # None means zero
        dc = np.zeros_like(c) if dc is None else dc
        # as many lines as you need
        da, dc_prev, dp = ...
        return da, dc_prev, dp

    return (h, c), backward


def _highway(x, W, U, b):
    h, t = np.tanh(x @ W), sigmoid(x @ U + b)

    def backward(dy):
        da = dy * t * (1 - h**2)
        dg = dy * (h - x) * t * (1 - t)
        return dy * (1 - t) + da @ W.T + dg @ U.T, x.T @ da, x.T @ dg, dg.sum(axis=0)

    return t * h + (1 - t) * x, backward


def _square(rng):
    for n, D in ((2, 2), (4, 3)):
        yield "", draw(rng, (n, D), (D, D), (D, D), D)


@exercise(
    "a highway layer: a gate from layer to layer",
    level=2,
    minutes=25,
    reference=_highway,
    solution="minillm/exercises/chapter08.py: _highway",
    cases=_square,
    imports=SIGMOID,
    gradients=("dx", "dW", "dU", "db"),
    hints={
        "y": (
            "Where the gate is 1, the layer computes tanh(x W); where it is 0, it hands x on.",
            "t * np.tanh(x @ W) + (1 - t) * x with t = sigmoid(x @ U + b).",
        ),
        "dx": (
            "x has three uses: it is handed on, it is the layer's input, and the gate reads it.  "
            "Uses add up.  If dW is wrong as well, start with da: h reaches y with the slope t.  "
            "If dU is, start with dg: the gate t is used twice.",
            "dy * (1 - t) + da @ W.T + dg @ U.T, with da = dy * t * (1 - h**2) and "
            "dg = dy * (h - x) * t * (1 - t), the gradients of the two pre-activations.",
        ),
        "dW": (
            "h = tanh(a) reaches y with the slope t, and tanh has a slope of its own.",
            "x.T @ da with da = dy * t * (1 - h**2).",
        ),
        "dU": (
            "The gate t is used twice, once with a minus; then t is a sigmoid.",
            "x.T @ dg with dg = dy * (h - x) * t * (1 - t).",
        ),
        "db": (
            "b is added in every row to the gate's pre-activation.",
            "dg.sum(axis=0).",
        ),
    },
)
def highway(x, W, U, b):
    """Compute y = t h + (1 - t) x with h = tanh(x W) and the gate t = sigmoid(x U + b).

    x (n, D), W, U (D, D), b (D,) -> y (n, D).  ``backward(dy)`` -> dx, dW, dU, db.
    """
    # as many lines as you need
    y = ...

    def backward(dy):
        dx, dW, dU, db = ...
        return dx, dW, dU, db

    return y, backward


# --- find the bug -------------------------------------------------------------------


find_the_bug(
    "find the bug: an LSTM",
    level=3,
    minutes=25,
    cases=lambda rng: list(_sequences(rng))[1:],
    imports=SIGMOID,
    outputs=("hs",),
    gradients=("dx", "dh0", "dc0", "dW_x", "dW_h", "db"),
    bugs=(
        Bug(
            "path",
            "dc = dc + dh * o * (1 - tanh_c**2)",
            "dc = dh * o * (1 - tanh_c**2)",
            "c_t has two uses: in h_t, and in the cell of the next step.",
        ),
        Bug(
            "order",
            "dc * g, dc * c_prev, dc * i",
            "dc * c_prev, dc * g, dc * i",
            "c = f c_prev + i g: each factor gets dc times the other factor of its product.",
        ),
        Bug(
            "value",
            "dW_h += h_prev.T @ da",
            "dW_h += (o * tanh_c).T @ da",
            "W_h multiplies the state before the step.",
        ),
        Bug("factor", "dg * (1 - g**2)", "dg * g * (1 - g)", "g is a tanh, not a sigmoid."),
        Bug(
            "value",
            "dc * i, dh * tanh_c",
            "dc * i, dh * c_prev",
            "h = o tanh(c): do has the factor tanh(c).",
        ),
        Bug("path", "dc * f\n", "np.zeros_like(dc)\n", "c_prev is used in c = f c_prev + i g."),
    ),
    function="find_lstm",
)(whole_lstm)
