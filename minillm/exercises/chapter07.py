"""Exercises of chapter 7: recurrence."""

import numpy as np

from minillm import ops
from minillm.exercises.declaration import Bug, draw, exercise, find_the_bug
from minillm.training.optimisers import clip_global_norm

# --- one step -----------------------------------------------------------------------


def _steps(rng):
    for B, I, H in ((2, 3, 2), (3, 2, 4)):
        yield "", draw(rng, (B, I), (B, H), (I, H), (H, H), H)


def _rnn_step(x, h_prev, W_x, W_h, b):
    """One step of the package's op, with its backward."""
    (_, h), op_backward = ops.rnn(x[:, None], h_prev, W_x, W_h, b)

    def backward(dh):
        dx, *others = op_backward(None, dh)
        return dx[:, 0], *others

    return h, backward


@exercise(
    "one step of a recurrent network, forward",
    level=1,
    minutes=5,
    reference=lambda *args: _rnn_step(*args)[0],
    solution="minillm/ops/rnn.py: rnn_forward",
    cases=_steps,
    outputs=("h",),
    hints={
        "h": (
            "The new state is a tanh of the input and the old state, each times its own weights.",
            "h = np.tanh(x @ W_x + h_prev @ W_h + b).",
        ),
    },
)
def rnn_step(x, h_prev, W_x, W_h, b):
    """Compute one step: x (B, I), h_prev (B, H), W_x (I, H), W_h (H, H), b (H,) -> h (B, H)."""
    h = ...
    return h


STEP_HINTS = {
    "all": (
        "All gradients are made of da.  It is dh times the slope of tanh.",
        "The slope of h = tanh(a) is 1 - h**2, with a square: da = dh * (1 - h**2).",
    ),
    "dx": (
        "x is used in a = x W_x + h_prev W_h + b, as in a linear layer.",
        "dx = da @ W_x.T.",
    ),
    "dh_prev": (
        "h_prev is used in a = x W_x + h_prev W_h + b, as the input of a linear layer.",
        "dh_prev = da @ W_h.T: W_h is square, and its transpose has the same shape.",
    ),
    "dW_x": ("As in a linear layer: x transposed times the gradient.", "dW_x = x.T @ da."),
    "dW_h": (
        "W_h multiplies h_prev, not h.",
        "dW_h = h_prev.T @ da.",
    ),
    "db": (
        "b is added in every row, and uses add up.",
        "db sums da over the rows, axis 0.",
    ),
}


@exercise(
    "one step of a recurrent network, backward",
    level=2,
    minutes=15,
    reference=_rnn_step,
    solution="minillm/ops/rnn.py: rnn_backward",
    cases=_steps,
    outputs=("h",),
    gradients=("dx", "dh_prev", "dW_x", "dW_h", "db"),
    hints=STEP_HINTS,
)
def rnn_step_backward(x, h_prev, W_x, W_h, b):
    """Compute one step: x (B, I), h_prev (B, H), W_x (I, H), W_h (H, H), b (H,) -> h (B, H).

    ``backward(dh)`` -> dx, dh_prev, dW_x, dW_h, db.
    """
    h = np.tanh(x @ W_x + h_prev @ W_h + b)

    def backward(dh):
        da = ...
        db = ...
        dx = ...
        dh_prev = ...
        dW_x = ...
        dW_h = ...
        return dx, dh_prev, dW_x, dW_h, db

    return h, backward


# --- the whole network ----------------------------------------------------------------


def _sequences(rng):
    for B, T, I, H in ((2, 1, 3, 2), (2, 2, 3, 2), (3, 4, 2, 3)):
        yield "", draw(rng, (B, T, I), (B, H), (I, H), (H, H), H)


def _rnn(x, h0, W_x, W_h, b):
    (hs, _), op_backward = ops.rnn(x, h0, W_x, W_h, b)
    return hs, lambda dhs: op_backward(dhs)


@exercise(
    "backpropagation through time",
    level=3,
    minutes=30,
    reference=_rnn,
    solution="minillm/ops/rnn.py: rnn_backward",
    cases=_sequences,
    outputs=("hs",),
    gradients=("dx", "dh0", "dW_x", "dW_h", "db"),
    time={"dx": 1},
    hints={
        "zero": (
            "Every gradient is zero: nothing arrives from the loss.  Each state is an output, so "
            "each step receives a part of dhs.",
            "At the top of the loop dh = dh + dhs[:, t].",
        ),
        "all": (
            "All gradients are made of da.  It is dh times the slope of tanh.",
            "da = dh * (1 - hs[:, t]**2), with a square, where dh has all that reaches h_t.",
        ),
        "dx": (
            "x[:, t] is used in the pre-activation of step t only.",
            "dx[:, t] = da @ W_x.T: W_x transposed.",
        ),
        "dx:earlier": (
            "The last step is right, the earlier ones are not.  h_t has two uses: in the output, "
            "and in step t + 1.  Uses add up.",
            "At the top of the loop dh = dh + dhs[:, t]; at its end dh = da @ W_h.T, with W_h "
            "transposed.",
        ),
        "dh0": (
            "The product with W_h turns round: W_h transposed.  No shape shows it.",
            "After the loop, dh is dh0: da of step 0 times W_h transposed.",
        ),
        "dW_x": ("One W_x, T uses: add.", "dW_x += x[:, t].T @ da."),
        "dW_h": (
            "One W_h, T uses: add.  It multiplies the state before the step.",
            "dW_h += h_prev.T @ da, where h_prev is hs[:, t - 1], or h0 at step 0.",
        ),
        "db": ("b is used in each row of each step: add.", "db += da.sum(axis=0)."),
    },
)
def rnn(x, h0, W_x, W_h, b):
    """Run a recurrent network: x (B, T, I), h0 (B, H), W_x (I, H), W_h (H, H), b (H,) -> hs.

    hs (B, T, H) are the states after each step.  ``backward(dhs)`` -> dx, dh0, dW_x, dW_h, db.
    """
    h, hs = h0, np.zeros((*x.shape[:2], len(b)))
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] @ W_x + h @ W_h + b)
        hs[:, t] = h

    def backward(dhs):
        dx, dW_x, dW_h, db = (np.zeros_like(array) for array in (x, W_x, W_h, b))
        dh = np.zeros_like(h0)  # what reaches h_t from step t + 1
        for t in reversed(range(x.shape[1])):
            h_prev = hs[:, t - 1] if t > 0 else h0
            # all that reaches h_t
            dh = ...
            da = ...
            dx[:, t] = ...
            dW_x += ...
            dW_h += ...
            db += ...
            # what reaches h_{t-1} through this step
            dh = ...
        return dx, dh, dW_x, dW_h, db

    return hs, backward


# --- the initial state, and the norm -----------------------------------------------


def _learned_state(s, x, W_h):
    """The last state when every row begins with s: the package's op, and a sum over the rows."""
    B, _, H = x.shape
    eye, zeros = np.eye(H), np.zeros(H)
    (_, h), op_backward = ops.rnn(x, np.broadcast_to(s, (B, H)).copy(), eye, W_h, zeros)

    def backward(dh):
        dx, dh0, _, dW_h, _ = op_backward(None, dh)
        return dh0.sum(axis=0), dx, dW_h

    return h, backward


def _states(rng):
    for B, T, H in ((1, 2, 3), (4, 3, 2)):
        yield "", draw(rng, H, (B, T, H), (H, H))


@exercise(
    "an initial state that is learned",
    level=2,
    minutes=15,
    reference=_learned_state,
    solution="minillm/ops/rnn.py: rnn_backward",
    cases=_states,
    outputs=("h",),
    gradients=("ds", "dx", "dW_h"),
    time={"dx": 1},
    hints={
        "dx:earlier": (
            "The last step is right, the earlier ones are not: look at what is handed to the step "
            "before, and at the shapes of a square matrix and its transpose.",
            "h_prev is used in a = x + h_prev W_h, so dh = da @ W_h.T.",
        ),
        "ds": (
            "Every row begins with the same s: it has B uses.  Which array is the gradient with "
            "respect to h_0?",
            "After the loop, dh is the gradient with respect to the initial state of each row, "
            "(B, H).  ds is its sum over the rows.",
        ),
        "dx": (
            "x[:, t] is added in the pre-activation: its gradient is da.",
            "The loss takes only the last state: dh at the last step, then dh = da @ W_h.T.",
        ),
        "dW_h": (
            "One W_h, T uses.",
            "dW_h += h_prev.T @ da.",
        ),
    },
)
def initial_state(s, x, W_h):
    """Run h_t = tanh(x_t + h_{t-1} W_h) with h_0 = s in every row.

    s (H,), x (B, T, H), W_h (H, H) -> h (B, H), the last state.  ``backward(dh)`` -> ds, dx, dW_h.
    """
    states = [np.tile(s, (len(x), 1))]  # (B, H)
    for t in range(x.shape[1]):
        states.append(np.tanh(x[:, t] + states[t] @ W_h))

    def backward(dh):
        dx, dW_h = np.zeros_like(x), np.zeros_like(W_h)
        for t in reversed(range(x.shape[1])):
            da = dh * (1 - states[t + 1] ** 2)
            dx[:, t] = da
            dW_h += states[t].T @ da
            dh = ...
        ds = ...
        return ds, dx, dW_h

    return states[-1], backward


def _clipped(dW, db, maximum):
    gradients = {"dW": dW.copy(), "db": db.copy()}
    clip_global_norm(gradients, maximum)
    return gradients["dW"], gradients["db"]


def _gradients(rng):
    yield "large", (*draw(rng, (3, 4), 4), 0.5)
    yield "small", (*draw(rng, (2, 2), 2), 100.0)


@exercise(
    "clipping by the global norm",
    level=1,
    minutes=10,
    reference=_clipped,
    solution="minillm/training/optimisers.py: clip_global_norm",
    cases=_gradients,
    outputs=("dW", "db"),
    hints={
        "large": (
            "There is one norm, that of all gradients as one long vector.  The direction stays.",
            "norm = sqrt(sum of dW**2 + sum of db**2); both are multiplied by maximum / norm.",
        ),
        "small": (
            "A gradient that is short enough does not change.",
            "The factor is min(1, maximum / norm).",
        ),
    },
)
def clip(dW, db, maximum):
    """Scale dW and db so that their norm, as one long vector, is at most ``maximum``."""
    norm = ...
    factor = ...
    return dW * factor, db * factor


# --- transfer: the answer stands nowhere in the text ----------------------------------


def _truncated(x, h0, W, dhs, k):
    h, hs = h0, []
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] + h @ W)
        hs.append(h)
    dx, dW, dh = np.zeros_like(x), np.zeros_like(W), np.zeros_like(h0)
    for t in reversed(range(x.shape[1])):
        carried = 0 if (t + 1) % k == 0 else dh
        dx[:, t] = (dhs[:, t] + carried) * (1 - hs[t] ** 2)
        dW += (hs[t - 1] if t > 0 else h0).T @ dx[:, t]
        dh = dx[:, t] @ W.T
    return np.stack(hs, axis=1), dx, dW


def _windows(rng):
    for B, T, H, k in ((2, 3, 2, 3), (2, 4, 3, 2), (3, 6, 2, 3), (1, 3, 2, 1)):
        label = "one window" if k == T else "windows"
        yield label, (*draw(rng, (B, T, H), (B, H), (H, H), (B, T, H)), k)


@exercise(
    "backpropagation that is cut at the borders of windows",
    level=2,
    minutes=25,
    reference=_truncated,
    solution="minillm/exercises/chapter07.py: _truncated",
    cases=_windows,
    outputs=("hs", "dx", "dW"),
    hints={
        "one window": (
            "With one window, this is backpropagation through time: x[:, t] is a part of the "
            "pre-activation, and W multiplies the state before the step.",
            "From the last step to the first: dh = dhs[:, t] + da @ W.T of the step after; "
            "da = dh * (1 - h_t**2); dx[:, t] = da; dW += h_prev.T @ da.",
        ),
        "windows": (
            "The state goes on from window to window, and no gradient comes back over the border: "
            "not even from the first step of a window to the last of the one before.",
            "Where t + 1 is a multiple of k, what comes from step t + 1 is 0.  W is used in all "
            "windows: uses add up.",
        ),
    },
)
def truncated(x, h0, W, dhs, k):
    """Run h_t = tanh(x_t + h_{t-1} W), and go back through windows of k steps.

    x (B, T, H), T a multiple of k, h0 (B, H), W (H, H); dhs (B, T, H), the gradient that each state
    receives from the output -> hs (B, T, H), dx, dW, where the gradient does not cross the borders
    of windows: it is not that of the whole sequence.
    """
    # as many lines as you need
    hs, dx, dW = ...
    return hs, dx, dW


def _through_the_output(x, y0, R, U):
    y, ys, kept = y0, [], []
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] + y @ R)
        kept.append((y, h))
        y = h @ U
        ys.append(y)

    def backward(dys):
        dx, dR, dU = (np.zeros_like(array) for array in (x, R, U))
        dy = np.zeros_like(y0)
        for t in reversed(range(x.shape[1])):
            y_prev, h = kept[t]
            dy = dy + dys[:, t]
            dU += h.T @ dy
            dx[:, t] = dy @ U.T * (1 - h**2)
            dR += y_prev.T @ dx[:, t]
            dy = dx[:, t] @ R.T
        return dx, dy, dR, dU

    return np.stack(ys, axis=1), backward


def _outputs_fed_back(rng):
    for B, T, H, O in ((2, 1, 3, 2), (2, 2, 3, 2), (3, 4, 2, 3)):
        yield "", draw(rng, (B, T, H), (B, O), (O, H), (H, O))


@exercise(
    "a recurrence through the output",
    level=3,
    minutes=35,
    name="output-feedback",
    reference=_through_the_output,
    solution="minillm/exercises/chapter07.py: _through_the_output",
    cases=_outputs_fed_back,
    outputs=("ys",),
    gradients=("dx", "dy0", "dR", "dU"),
    time={"ys": 1, "dx": 1},
    hints={
        "ys": (
            "The output of a step is an input of the next one, and the state h is not.",
            "h = np.tanh(x[:, t] + y @ R); y = h @ U, with y = y0 before the first step.",
        ),
        "dx": (
            "x[:, t] is a part of the pre-activation of its step.",
            "dx[:, t] = (dy @ U.T) * (1 - h**2), with the whole gradient dy of y_t.",
        ),
        "dx:earlier": (
            "The last step is right, the earlier ones are not: y_t is used in the loss and in step "
            "t + 1.",
            "dy = da @ R.T at the end of a step is what y_{t-1} receives, in addition to "
            "dys[:, t - 1].",
        ),
        "dy0": (
            "y0 is used in the first step only, by R.",
            "After the loop, dy = da @ R.T of step 0.",
        ),
        "dR": (
            "R multiplies the output of the step before, at every step.  Uses add up.",
            "dR += y_prev.T @ da, with y_prev = y0 at step 0.",
        ),
        "dU": (
            "U is used at every step, and y_t is used in the loss and in step t + 1.",
            "dU += h.T @ dy, with the whole gradient dy of y_t.",
        ),
    },
)
def output_feedback(x, y0, R, U):
    """Run h_t = tanh(x_t + y_{t-1} R) with the outputs y_t = h_t U: only an output is carried on.

    x (B, T, H), y0 (B, O), R (O, H), U (H, O) -> ys (B, T, O).
    ``backward(dys)`` -> dx, dy0, dR, dU.
    """
    # as many lines as you need
    ys = ...

    def backward(dys):
        dx, dy0, dR, dU = ...
        return dx, dy0, dR, dU

    return ys, backward


# --- find the bug -------------------------------------------------------------------


def _leaky(rng):
    for B, T, H in ((3, 2, 3), (2, 4, 2)):
        yield "", (*draw(rng, (B, T, H), (B, H)), rng.uniform(0.2, 0.8, H), *draw(rng, (H, H)))


@find_the_bug(
    "find the bug: a network that keeps a part of its state",
    level=2,
    minutes=20,
    cases=_leaky,
    outputs=("hs",),
    gradients=("dx", "dh0", "dk", "dW"),
    bugs=(
        Bug(
            "path",
            "dh = dh * k + da @ W.T",
            "dh = da @ W.T",
            "h_prev has two uses in a step: k h_prev, and h_prev W.  Uses add up.",
        ),
        Bug(
            "sign",
            "h_prev - n",
            "n - h_prev",
            "h = k h_prev + (1 - k) n: k has the slope h_prev - n.",
        ),
        Bug("value", "h_prev.T @ da", "hs[:, t].T @ da", "W multiplies the state before the step."),
        Bug(
            "factor",
            "(1 - n**2)",
            "(1 - n)",
            "The slope of n = tanh(a), written with n, is 1 - n^2.",
        ),
        Bug("order", "da @ W.T", "da @ W", "h_prev is the input of h_prev W: da W^T."),
        Bug("path", "dh = dh + dhs[:, t]", "dh = dhs[:, t]", "h_t is also used in step t + 1."),
    ),
)
def find_leaky_rnn(x, h0, k, W):
    """Run h_t = k h_{t-1} + (1 - k) tanh(x_t + h_{t-1} W), with a share k of its own for each unit.

    x (B, T, H), h0 (B, H), k (H,), W (H, H) -> hs (B, T, H).  ``backward(dhs)`` -> dx, dh0, dk, dW.
    """
    h, hs, ns = h0, [], []
    for t in range(x.shape[1]):
        n = np.tanh(x[:, t] + h @ W)
        h = k * h + (1 - k) * n
        hs.append(h)
        ns.append(n)
    hs = np.stack(hs, axis=1)

    def backward(dhs):
        dx, dk, dW, dh = (np.zeros_like(array) for array in (x, k, W, h0))
        for t in reversed(range(x.shape[1])):
            h_prev, n = hs[:, t - 1] if t > 0 else h0, ns[t]
            dh = dh + dhs[:, t]
            dk += (dh * (h_prev - n)).sum(axis=0)
            da = dh * (1 - k) * (1 - n**2)
            dx[:, t] = da
            dW += h_prev.T @ da
            dh = dh * k + da @ W.T
        return dx, dh, dk, dW

    return hs, backward
