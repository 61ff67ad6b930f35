"""The scaling law of 2022 as fitted again in 2024: the loss by the size, for three budgets."""

import numpy as np
from plotting import COLOURS, new_figure, save

E, A, alpha, B, beta = 1.82, 482.0, 0.348, 2085.4, 0.366  # as in the cell of the chapter

figure, axes = new_figure(height=4.2)
best = []
for F, name, style in ((1e19, "10^{19}", "-"), (1e20, "10^{20}", "--"), (1e21, "10^{21}", "-.")):
    P = np.geomspace(1e7, 3e11, 2000)
    T = F / (6 * P)
    loss = E + A / P**alpha + B / T**beta
    axes.plot(P, loss, style, color=COLOURS[0], label=f"$F = {name}$")
    k = loss.argmin()
    best.append((P[k], loss[k]))
    axes.annotate(
        f"{T[k] / P[k]:.0f} tokens\na weight",
        best[-1],
        (4, 6),
        textcoords="offset points",
        ha="left",
        fontsize=11,
        color=COLOURS[1],
    )
axes.plot(*zip(*best, strict=True), "o:", color=COLOURS[1])
axes.set(xscale="log", xlim=(1e7, 3e11), ylim=(2.1, 4), xlabel="weights $P$")
axes.set_ylabel("loss, nats per token")
figure.legend(loc="outside upper center", ncols=3)
save(figure, __file__)
