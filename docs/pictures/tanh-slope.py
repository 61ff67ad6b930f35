"""The tanh, its slope, and where it is saturated."""

import numpy as np
from plotting import COLOURS, new_figure, save

x = np.linspace(-4, 4, 161)
y = np.tanh(x)
edge = np.arctanh(np.sqrt(0.9))  # where the slope is 0.1
figure, axes = new_figure(5.2, 3.4)
axes.plot(x, y, label="tanh")
axes.plot(x, 1 - y**2, label="slope")
for left, right in ((-4, -edge), (edge, 4)):
    axes.axvspan(left, right, color=COLOURS[1], alpha=0.1)
axes.axhline(0, color="#808080", linewidth=0.7)
axes.set(xlabel="input", yticks=[-1, 0, 1], xlim=(-4, 4))
axes.legend(loc="upper left")
save(figure, __file__)
