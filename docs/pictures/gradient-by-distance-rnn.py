"""How much of a gradient arrives k steps earlier in a recurrent network, by the scale of W_h.

The loss is a random direction of the last state.  W_h is a random orthogonal matrix times a factor.
"""

import numpy as np
from plotting import new_figure, save

from minillm import ops

B, T, H = 32, 61, 64


def norms(scale):
    """The norm of dx k steps before the last, relative to k = 0: (T,)."""
    rng = np.random.default_rng(0)
    W_h = scale * np.linalg.qr(rng.standard_normal((H, H)))[0]
    x, W_x = 0.05 * rng.standard_normal((B, T, H)), np.eye(H)
    (hs, _), backward = ops.rnn(x, np.zeros((B, H)), W_x, W_h, np.zeros(H))
    dx = backward(np.zeros_like(hs), rng.standard_normal((B, H)))[0]
    norm = np.linalg.norm(dx, axis=2).mean(axis=0)[::-1]
    return norm / norm[0]


figure, axes = new_figure()
for scale, style in ((1.2, "-"), (1.0, "--"), (0.8, "-."), (0.5, ":")):
    norm = norms(scale)
    axes.semilogy(norm, style, linewidth=2.2)
    shown = norm[:26] if scale == 0.5 else norm
    axes.annotate(f"{scale}", (len(shown) - 1, shown[-1]), (4, -4), textcoords="offset points")
axes.set(xlabel="steps back", ylabel="norm of dx, relative", ylim=(1e-8, 1e4), xlim=(0, 66))
save(figure, __file__)
