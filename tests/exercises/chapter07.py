"""Answers to the exercises of chapter 7."""

from .answers import Answer

DC = "dc + dh * o * (1 - tanh_c**2)"
PARTS = "dc * g, dc * c_prev, dc * i, dh * tanh_c"
DA = (
    "np.concatenate("
    "[di * i * (1 - i), df * f * (1 - f), dg * (1 - g**2), do * o * (1 - o)], axis=1)"
)

COUPLED = """None, None, None
        tanh_c = np.tanh(c)
        da_o = dh * tanh_c * o * (1 - o)
        dc = dc + dh * o * (1 - tanh_c**2) + da_o * p
        da_f, da_g = dc * (c_prev - g) * f * (1 - f), dc * (1 - f) * (1 - g**2)
        da = np.concatenate([da_f, da_g, da_o], axis=1)
        dc_prev, dp = dc * f, (da_o * c).sum(axis=0)"""

HIGHWAY = """None
    h, t = np.tanh(x @ W), sigmoid(x @ U + b)
    y = t * h + (1 - t) * x"""
HIGHWAY_BACK = """None, None, None, None
        da = dy * t * (1 - h**2)
        dg = dy * (h - x) * t * (1 - t)
        dx = dy * (1 - t) + da @ W.T + dg @ U.T
        dW, dU, db = x.T @ da, x.T @ dg, dg.sum(axis=0)"""

ANSWERS = [
    Answer(
        "lstm-step",
        right=[
            "sigmoid(f) * c_prev + sigmoid(i) * np.tanh(g)",
            "sigmoid(o) * np.tanh(c)",
        ],
        wrong=[
            (0, "sigmoid(i) * c_prev + sigmoid(f) * np.tanh(g)", "forget gate f"),
            (0, "sigmoid(f) * c_prev + sigmoid(i) * sigmoid(g)", "g is a tanh"),
            (1, "sigmoid(o) * c", "through a tanh"),
        ],
    ),
    Answer(
        "lstm-cell",
        right=[DC, PARTS, "dc * f", DA],
        wrong=[
            (0, "dc", "adds a second part to dc"),
            (0, "dh * o * (1 - tanh_c**2)", "adds a second part to dc"),
            (0, "dc + dh * o * (1 - tanh_c)", "adds a second part to dc"),
            (1, "dc * c_prev, dc * g, dc * i, dh * tanh_c", "dc c"),
            (1, "dc * g, dc * c_prev, dc * i, dh * c", "not dh c"),
            (1, "dc * g, dc * c, dc * i, dh * tanh_c", "df = dc c_prev"),
            (2, "dc", "dc_prev = dc * f"),
            (3, DA.replace("1 - g**2", "1 - g"), "1 - g**2"),
            (3, DA.replace("dg * (1 - g**2)", "dg * g * (1 - g)"), "no sigmoid"),
            (3, DA.replace("do * o * (1 - o)", "do * o"), "o (1 - o)"),
            (3, DA.replace("di * i * (1 - i)", "di * (1 - i)"), "i (1 - i)"),
            (3, DA.replace(", axis=1", ""), "stand side by side"),
            (3, "np.concatenate([di, df, dg, do], axis=1)", "multiplied by a slope"),
        ],
    ),
    Answer(
        "lstm",
        right=[
            DC,
            PARTS,
            DA,
            "da @ W_x.T",
            "x[:, t].T @ da",
            "h_prev.T @ da",
            "da.sum(axis=0)",
            "da @ W_h.T",
            "dc * f",
        ],
        wrong=[
            (0, "dc", "its part through h"),
            (0, DC.removeprefix("dc + "), "c_prev is used in c = f c_prev + i g"),
            (1, PARTS.replace("tanh_c", "tanh_c**2"), "do = dh tanh(c)"),
            (2, DA.replace("1 - g**2", "1 - g"), "1 - g**2"),
            (2, DA.replace("df * f * (1 - f)", "df * f"), "f (1 - f)"),
            (2, DA.replace(", axis=1", ""), "stand side by side"),
            (3, "da @ W_x.T * 2", "dx[:, t] = da @ W_x.T"),
            (0, DC.replace("tanh_c**2", "tanh_c"), "dc = dc + dh * o * (1 - tanh_c**2)"),
            (4, "-x[:, t].T @ da", "One W_x has T uses"),
            (5, "(o * tanh_c).T @ da", "before the step"),
            (6, "da.mean(axis=0)", "in each row of each step"),
            (7, "np.zeros_like(h0)", "h_prev is used in a ="),
            (7, "da @ W_h", "da (2, 8), W_h (2, 8)"),
            (8, "dc", "dc = dc * f"),
            (8, "np.zeros_like(c0)", "c_prev is used in c ="),
        ],
    ),
    Answer(
        "lstm-lengths",
        right=[
            "np.where(running, h_new, h)",
            "np.where(running, c_new, c)",
            "np.where(running, da_t, 0)",
            "np.where(running, da @ W_h.T, dh)",
            "np.where(running, dc_t * f, dc)",
        ],
        wrong=[
            (0, "h_new", "copies its state"),
            (0, "np.where(running, h_new, 0)", "copies its state"),
            (2, "da_t", "a has no influence"),
            (3, "da @ W_h.T", "stay as they are"),
            (4, "dc_t * f", "stay as they are"),
            (4, "dc", "dc_t * f"),
        ],
    ),
    Answer(
        "gru-step",
        right=[
            "sigmoid(x_r + h_r)",
            "sigmoid(x_z + h_z)",
            "np.tanh(x_n + r * h_n)",
            "(1 - z) * n + z * h_prev",
        ],
        wrong=[
            (2, "np.tanh(r * (x_n + h_n))", "r scales h_n"),
            (3, "z * n + (1 - z) * h_prev", "z keeps the old state"),
        ],
    ),
    Answer(
        "gru",
        right=[
            "dh * (1 - z) * (1 - n**2)",
            "da_n * h_n * r * (1 - r)",
            "dh * (h_prev - n) * z * (1 - z)",
            "np.concatenate([da_r, da_z, da_n * r], axis=1)",
            "dh * z + da_h @ W_h.T",
        ],
        wrong=[
            (0, "dh * (1 - z) * (1 - n)", "1 - n**2"),
            (0, "dh * z * (1 - n**2)", "dn = dh (1 - z)"),
            (1, "dh * (1 - z) * h_n * r * (1 - r)", "not dn"),
            (2, "dh * h_prev * z * (1 - z)", "once with a minus"),
            (3, "da_x", "scaled by r as well"),
            (4, "da_h @ W_h.T", "two uses"),
            (4, "dh * z + da_h @ W_h.T * 2", "h_prev has two uses"),
        ],
    ),
    Answer(
        "coupled-cell",
        right=["f * c_prev + (1 - f) * g", "sigmoid(a_o + p * c)", "o * np.tanh(c)", COUPLED],
        wrong=[
            (0, "f * c_prev + f * g", "What is not kept is replaced"),
            (1, "sigmoid(a_o + p * c_prev)", "with the new c"),
            (3, COUPLED.replace(" + da_o * p", ""), "and the peephole"),
            (3, COUPLED.replace("(c_prev - g)", "c_prev"), "f is used twice"),
            (3, COUPLED.replace("dc * (1 - f) *", "dc * f *"), "lets the proposal in"),
            (3, COUPLED.replace("(da_o * c).", "(da_o * c_prev)."), "the new cell"),
        ],
    ),
    Answer(
        "highway",
        right=[HIGHWAY, HIGHWAY_BACK],
        wrong=[
            (
                0,
                HIGHWAY.replace("t * h + (1 - t) * x", "(1 - t) * h + t * x"),
                "Where the gate is 1",
            ),
            (1, HIGHWAY_BACK.replace("dy * (1 - t) + da", "da"), "it is handed on"),
            (1, HIGHWAY_BACK.replace(" + dg @ U.T", ""), "the gate reads it"),
            (1, HIGHWAY_BACK.replace("x.T @ da", "h.T @ da"), "tanh has a slope of its own"),
            (1, HIGHWAY_BACK.replace("x.T @ dg", "h.T @ dg"), "once with a minus"),
            (1, HIGHWAY_BACK.replace("dg.sum", "dg.mean"), "b is added in every row"),
        ],
    ),
]
