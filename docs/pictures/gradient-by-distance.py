"""How much of a gradient arrives k steps earlier in an rnn, a gru and an lstm, all of them fresh.

The loss is a random direction of the last state.  The weights are those with which training begins
in this package, and for the lstm also those with a larger bias of the forget gate.
"""

import numpy as np
from plotting import new_figure, save

from minillm.layers import recurrent
from minillm.layers.fresh import draw_all
from minillm.ops.recurrence import CELLS

B, T, H = 32, 61, 64


def norms(cell, bias=None):
    """The norm of dx k steps before the last, relative to k = 0: (T,)."""
    rng = np.random.default_rng(0)
    params = draw_all(recurrent.new_layer("r", cell, H, H), rng, np.float64)
    if bias is not None:
        params["r.b"][H : 2 * H] = bias
    x = 0.5 * rng.standard_normal((B, T, H))
    state = {f"r.{name}": np.zeros((B, H)) for name in CELLS[cell].state}
    _, backward = recurrent.layer(params, "r", x, state, cell)
    dx, _, _ = backward(None, {"r.h": rng.standard_normal((B, H))})
    norm = np.linalg.norm(dx, axis=2).mean(axis=0)[::-1]
    return norm / norm[0]


CURVES = (
    ("lstm, bias 2", "lstm", 2, "-"),
    ("lstm, bias 1", "lstm", None, "--"),
    ("gru", "gru", None, "-."),
    ("rnn", "rnn", None, ":"),
)
figure, axes = new_figure()
for name, cell, bias, style in CURVES:
    axes.semilogy(norms(cell, bias), style, linewidth=2.2, label=name)
axes.set(xlabel="steps back", ylabel="norm of dx, relative", ylim=(1e-14, 10), xlim=(0, 60))
axes.legend(loc="lower left")
save(figure, __file__)
