"""Paths of gradient descent, momentum and Adam down a narrow valley."""

import numpy as np
from plotting import COLOURS, new_figure, save

CURVATURE = np.array([1.0, 30.0])  # L = (a^2 + 30 b^2) / 2


def descend(name, steps):
    p, path = np.array([-4.0, 1.0]), []
    v, m, s = np.zeros((3, 2))
    for t in range(1, steps + 2):
        path.append(p.copy())
        g = CURVATURE * p
        if name == "gradient descent":
            p -= 0.06 * g
        elif name == "with momentum":
            v = 0.8 * v + g
            p -= 0.03 * v
        else:
            m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * g**2
            p -= 0.3 * (m / (1 - 0.9**t)) / np.sqrt(s / (1 - 0.999**t))
    return np.array(path)


figure, panels = new_figure(height=6, nrows=3, sharex=True)
a, b = np.meshgrid(np.linspace(-4.4, 1.6, 70), np.linspace(-1.4, 1.4, 40))
loss = (CURVATURE[0] * a**2 + CURVATURE[1] * b**2) / 2
names = ("gradient descent", "with momentum", "Adam")
for axes, name, colour in zip(panels, names, COLOURS, strict=False):
    path = descend(name, 25)
    axes.contour(a, b, loss, levels=[0.1, 0.5, 2, 5, 9, 15, 25], colors="#808080", linewidths=0.7)
    axes.plot(*path.T, "o-", color=colour, markersize=3)
    axes.plot(0, 0, "+", color="#000000", markersize=12)
    axes.set(yticks=[-1, 0, 1])
    axes.set_title(name, fontsize=13)
save(figure, __file__)
