"""The 95% interval of a probability over the observed share, for 12, 48 and 1,000 trials."""

import numpy as np
from plotting import new_figure, save

from minillm.metrics import interval_of_share

shares = np.linspace(0, 1, 101)
figure, axes = new_figure(5.2, 4.4)
for colour, n in enumerate((12, 48, 1000)):
    low, high = np.array([interval_of_share(share, n) for share in shares]).T
    axes.plot(shares, low, color=f"C{colour}", label=f"{n:,} pairs")
    axes.plot(shares, high, color=f"C{colour}")
axes.plot([0, 1], [0, 1], color="#808080", linewidth=0.7)
axes.set(xlabel="observed share", ylabel="probability", xlim=(0, 1), ylim=(0, 1))
axes.legend(loc="upper left")
save(figure, __file__)
