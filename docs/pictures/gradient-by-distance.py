"""How much of a gradient arrives k steps earlier in an rnn, a gru and an lstm, all of them fresh.

The loss is a random direction of the last state.  The weights are those with which training starts
in this package, and for the lstm also those with a larger bias of the forget gate.

A thick curve is measured.  The thin one of its colour is the product of the gates that keep the
memory (f, or z of the gru), by its root mean square over the units.  A circle is an estimate from
the mean gates: each step multiplies by f + a W, where W is the orthogonal matrix from the state to
the candidate.
"""

import importlib

import numpy as np
from plotting import COLOURS, new_figure, save

from minillm.layers import recurrent
from minillm.layers.fresh import draw_all
from minillm.ops.recurrence import CELLS

B, T, H = 32, 61, 64


def measured(cell, bias):
    """The norm of dx k steps before the last, relative to k = 0: (T,); the weights; the inputs."""
    rng = np.random.default_rng(0)
    params = draw_all(recurrent.new_layer("r", cell, H, H), rng, np.float64)
    if bias is not None:
        params["r.b"][H : 2 * H] = bias
    x = 0.5 * rng.standard_normal((B, T, H))
    state = {f"r.{name}": np.zeros((B, H)) for name in CELLS[cell].state}
    _, backward = recurrent.layer(params, "r", x, state, cell)
    dx, _, _ = backward(None, {"r.h": rng.standard_normal((B, H))})
    norm = np.linalg.norm(dx, axis=2).mean(axis=0)[::-1]
    return norm / norm[0], params, x


def gates(cell, params, x):
    """The gate that keeps the memory (B, T, H), the factor a, and W (H, H)."""
    page = importlib.import_module(f"minillm.ops.{cell}")  # ops.lstm is the function
    state = [np.zeros((B, H)) for _ in CELLS[cell].state]
    weights = [params[f"r.{name}"] for name in CELLS[cell].weights]
    values = getattr(page, f"{cell}_forward")(x, *state, *weights, np.full(B, T))
    if cell == "lstm":
        i, f, g, o = np.split(values[3], 4, axis=-1)
        slopes = (1 - g**2) * (1 - np.tanh(values[4]) ** 2)
        return f, (i * o * slopes).mean(), params["r.W_h"][:, 2 * H : 3 * H]
    r, z, n = np.split(values[2], 3, axis=-1)
    return z, ((1 - z) * r * (1 - n**2)).mean(), params["r.W_h"][:, 2 * H :]


def product(kept):
    """The product of the last k gates of a unit, by its root mean square: (T,)."""
    logarithms = np.log(kept[:, ::-1]).cumsum(axis=1)
    return np.sqrt(np.r_[1, np.exp(2 * logarithms).mean(axis=(0, 2))])[:T]


def estimate(f, a, W):
    """What f + a W leaves of a vector after k steps: (T,)."""
    lengths = np.abs(np.linalg.eigvals(f * np.eye(H) + a * W))
    return np.sqrt((lengths[:, None] ** (2 * np.arange(T))).mean(axis=0))


CURVES = (
    ("lstm, bias 2", "lstm", 2, "-"),
    ("lstm, bias 1", "lstm", None, "--"),
    ("gru", "gru", None, "-."),
    ("rnn", "rnn", None, ":"),
)
if __name__ == "__main__":
    figure, axes = new_figure(height=4.4)
    for (name, cell, bias, style), colour in zip(CURVES, COLOURS, strict=True):
        norm, params, x = measured(cell, bias)
        axes.semilogy(norm, style, linewidth=2.4, label=name, color=colour)
        if cell == "rnn":
            continue
        kept, a, W = gates(cell, params, x)
        guess = estimate(kept.mean(), a, W)
        steps = range(20, T, 20)
        axes.semilogy(product(kept), linewidth=0.9, color=colour)
        axes.semilogy(steps, guess[steps], "o", markersize=7, fillstyle="none", color=colour)
        print(f"{name}: measured {norm[-1]:.1e}, gates {product(kept)[-1]:.1e}", end="; ")
        print(f"f {kept.mean():.3f}, a {a:.3f}, estimate {guess[-1]:.1e}")
    axes.set(xlabel="steps back", ylabel="norm of dx, relative", ylim=(1e-18, 10), xlim=(0, 61))
    axes.legend(loc="lower left")
    save(figure, __file__)
