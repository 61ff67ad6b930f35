"""Two schedules of the learning rate, each with a warm-up of a tenth of the run."""

import numpy as np
from plotting import new_figure, save

from minillm.training.schedules import inverse_square_root, warmup_cosine

progress = np.linspace(0, 1, 201)
figure, axes = new_figure(5.2, 3.2)
for name, schedule, final in (
    ("half a cosine", warmup_cosine, 0.01),
    ("inverse square root", inverse_square_root, 0.0),
):
    axes.plot(progress, [schedule(float(x), 0.1, final) for x in progress], label=name)
axes.set(xlabel="part of the run", ylabel="part of the peak rate", ylim=(0, 1.05), xlim=(0, 1))
axes.legend()
save(figure, __file__)
