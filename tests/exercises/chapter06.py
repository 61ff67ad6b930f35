"""Answers to the exercises of chapter 6."""

from .answers import Answer

TRUNCATED = """[h0], np.zeros_like(x), 0
    h = h0
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] + h @ W)
        hs.append(h)
    dh = 0 * h0
    for t in reversed(range(x.shape[1])):
        carried = dh @ W.T * ((t + 1) % k > 0)
        dh = (dhs[:, t] + carried) * (1 - hs[t + 1] ** 2)
        dx[:, t] = dh
        dW = dW + hs[t].T @ dh
    hs = np.stack(hs[1:], axis=1)"""

FED_BACK = """None
    y, ys, kept = y0, [], []
    for t in range(x.shape[1]):
        y_prev, h = y, np.tanh(x[:, t] + y @ R)
        y = h @ U
        ys.append(y)
        kept.append((y_prev, h))
    ys = np.stack(ys, axis=1)"""
FED_BACK_BACK = """None, None, None, None
        dx, dR, dU = np.zeros_like(x), np.zeros_like(R), np.zeros_like(U)
        dy = np.zeros_like(y0)
        for t in reversed(range(x.shape[1])):
            y_prev, h = kept[t]
            dy = dy + dys[:, t]
            dU += h.T @ dy
            da = dy @ U.T * (1 - h**2)
            dx[:, t] = da
            dR += y_prev.T @ da
            dy = da @ R.T
        dy0 = dy"""

ANSWERS = [
    Answer(
        "rnn-step",
        right=["np.tanh(x @ W_x + h_prev @ W_h + b)"],
        wrong=[
            (0, "x @ W_x + h_prev @ W_h + b", "tanh of the input"),
            (0, "np.tanh(x @ W_x + h_prev @ W_h.T + b)", "h_prev @ W_h + b"),
        ],
    ),
    Answer(
        "rnn-step-backward",
        right=[
            "dh * (1 - h**2)",
            "da.sum(axis=0)",
            "da @ W_x.T",
            "da @ W_h.T",
            "x.T @ da",
            "h_prev.T @ da",
        ],
        wrong=[
            (0, "dh * (1 - h)", "with a square"),
            (0, "dh", "slope of tanh"),
            (0, "dh * (1 - h**3)", "with a square"),
            (1, "da.mean(axis=0)", "sums da over the rows"),
            (2, "-da @ W_x.T", "dx = da @ W_x.T"),
            (3, "da @ W_h", "its transpose has the same shape"),
            (4, "-x.T @ da", "x.T @ da"),
            (5, "h.T @ da", "multiplies h_prev, not h"),
        ],
    ),
    Answer(
        "rnn",
        right=[
            "dh + dhs[:, t]",
            "dh * (1 - hs[:, t] ** 2)",
            "da @ W_x.T",
            "x[:, t].T @ da",
            "h_prev.T @ da",
            "da.sum(axis=0)",
            "da @ W_h.T",
        ],
        wrong=[
            (0, "dhs[:, t]", "h_t has two uses"),
            (0, "dh", "nothing arrives from the loss"),
            (1, "dh * (1 - hs[:, t])", "slope of tanh"),
            (2, "-da @ W_x.T", "W_x transposed"),
            (3, "-x[:, t].T @ da", "T uses: add"),
            (4, "hs[:, t].T @ da", "the state before the step"),
            (5, "da.mean(axis=0)", "in each row of each step"),
            (6, "da @ W_h", "W_h transposed"),
            (6, "np.zeros_like(h0)", "W_h transposed"),
        ],
    ),
    Answer(
        "initial-state",
        right=["da @ W_h.T", "dh.sum(axis=0)"],
        wrong=[
            (0, "da @ W_h", "a square matrix and its transpose"),
            (1, "dh.mean(axis=0)", "it has B uses"),
            (1, "dh", "ds has shape"),
        ],
    ),
    Answer(
        "clip",
        right=["np.sqrt((dW**2).sum() + (db**2).sum())", "min(1, maximum / norm)"],
        wrong=[
            (0, "np.sqrt((dW**2).sum())", "one norm"),
            (0, "(dW**2).sum() + (db**2).sum()", "sqrt(sum"),
            (1, "maximum / norm", "short enough does not change"),
        ],
    ),
    Answer(
        "truncated",
        right=[TRUNCATED],
        wrong=[
            (0, TRUNCATED.replace(" * ((t + 1) % k > 0)", ""), "no gradient comes back"),
            (0, TRUNCATED.replace("(t + 1) % k", "t % k"), "From the last step to the first"),
            (0, TRUNCATED.replace("dh @ W.T", "dh @ W"), "da @ W.T of the step after"),
            (0, TRUNCATED.replace("dW = dW +", "dW ="), "W multiplies the state before"),
            (
                0,
                TRUNCATED.replace(
                    "    h = np.tanh", "    h = h * (t % k > 0)\n        h = np.tanh"
                ),
                "backpropagation through time",
            ),
        ],
    ),
    Answer(
        "output-feedback",
        right=[FED_BACK, FED_BACK_BACK],
        wrong=[
            (
                0,
                FED_BACK.replace("x[:, t] + y @ R", "x[:, t] + y0 @ R"),
                "an input of the next one",
            ),
            (1, FED_BACK_BACK.replace("dy = dy + dys", "dy = dys"), "y_t is used in the loss and"),
            (1, FED_BACK_BACK.replace(" * (1 - h**2)", ""), "a part of the pre-activation"),
            (1, FED_BACK_BACK.replace("dy0 = dy", "dy0 = dy * 2"), "y0 is used in the first step"),
            (1, FED_BACK_BACK.replace("dR += y_prev", "dR += (h @ U)"), "of the step before"),
            (
                1,
                FED_BACK_BACK.replace("dU += h.T @ dy", "dU += h.T @ dys[:, t]"),
                "U is used at every step, and",
            ),
        ],
    ),
]
