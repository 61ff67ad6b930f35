"""The roofline: the speed that memory and multipliers allow, by operations per byte."""

import numpy as np
from plotting import COLOURS, new_figure, save

PEAK, BANDWIDTH = 110.0, 44.0  # GFLOP/s and GB/s of one core of the machine of the figures
intensity = np.array([0.03, PEAK / BANDWIDTH, 700.0])
figure, axes = new_figure(height=4.2)
axes.plot(intensity, np.minimum(PEAK, intensity * BANDWIDTH), linewidth=2)
for name, x, colour, (dx, dy) in (
    ("Adam", 0.4, 1, (6, -14)),
    ("1 row", 0.5, 2, (9, -3)),
    ("8 rows", 3.9, 3, (2, -18)),
    ("64 rows", 27.7, 3, (-22, 8)),
    ("1,024 rows", 170.7, 3, (-50, -18)),
):
    y = min(PEAK, x * BANDWIDTH)
    axes.plot([x], [y], "o", color=COLOURS[colour])
    axes.annotate(name, (x, y), xytext=(dx, dy), textcoords="offset points")
axes.set_xscale("log")
axes.set_yscale("log")
axes.set_ylim(1, 300)
axes.set_xlabel("operations per byte")
axes.set_ylabel("GFLOP/s, at most")
axes.set_yticks([1, 10, 100], ["1", "10", "100"])
axes.set_xticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
save(figure, __file__)
