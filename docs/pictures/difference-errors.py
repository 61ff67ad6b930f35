"""The error of a central difference and of Richardson's combination, by the step h."""

import numpy as np
from plotting import new_figure, save


def difference(h):
    """The central difference of sin at 1."""
    return (np.sin(1 + h) - np.sin(1 - h)) / ((1 + h) - (1 - h))


h = np.logspace(-11, -0.5, 160)
simple = np.abs(difference(h) - np.cos(1))
combined = np.abs((4 * difference(h / 2) - difference(h)) / 3 - np.cos(1))
figure, axes = new_figure(height=4.2)
axes.plot(h, np.maximum(simple, 1e-17), label="central difference")
axes.plot(h, np.maximum(combined, 1e-17), label="Richardson")
axes.axvline(2e-3, linestyle=":", color="black")
axes.text(1.3e-3, 2e-4, "2e-3", ha="right")
axes.set_xscale("log")
axes.set_yscale("log")
axes.set_ylim(1e-16, 3e-3)
axes.set_xlabel("step h")
axes.set_ylabel("error of the slope")
axes.set_xticks([1e-10, 1e-7, 1e-4, 1e-1], ["1e-10", "1e-7", "1e-4", "0.1"])
axes.set_yticks([1e-15, 1e-12, 1e-9, 1e-6, 1e-3], ["1e-15", "1e-12", "1e-9", "1e-6", "1e-3"])
axes.legend(loc="lower left")
save(figure, __file__)
