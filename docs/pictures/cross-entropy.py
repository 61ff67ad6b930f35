"""The cross-entropy of one prediction and its slope, over the logit of the target."""

import numpy as np
from plotting import new_figure, save

x = np.linspace(-8, 8, 161)  # the logit of the target
p = np.exp(x) / (np.exp(x) + 9)  # nine other tokens have the logit 0
figure, axes = new_figure(5.2, 3.6)
axes.plot(x, -np.log(p), label="loss")
axes.plot(x, p - 1, label="slope")
axes.axhline(0, color="#808080", linewidth=0.7)
axes.set(xlabel="logit of the target", ylabel="nats")
axes.set(xticks=range(-8, 9, 4), yticks=[-1, 0, 2, 4, 6, 8, 10])
axes.legend()
save(figure, __file__)
