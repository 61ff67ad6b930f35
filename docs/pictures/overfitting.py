"""Losses of a network that overfits, and with weight decay: chapter 5, half a minute."""

import numpy as np
from plotting import new_figure, save

from minillm import ops
from minillm.data.corpora import read_text, split_text
from minillm.models.neural_ngram import NeuralNGram, NeuralNGramConfig
from minillm.text import Characters
from minillm.training.optimisers import AdamW

text = read_text(["python-docs"])
vocabulary = Characters.from_text(text)
train, held_out = (
    np.lib.stride_tricks.sliding_window_view(vocabulary.encode(part), 6)
    for part in split_text(text)
)
rng = np.random.default_rng(5)
validation = held_out[rng.choice(len(held_out), 10_000, replace=False)]
small = train[rng.choice(len(train), 10_000, replace=False)]


def bits(model, windows):
    logits, _ = model.predict(windows[:, :-1])
    return ops.cross_entropy(logits, windows[:, -1])[0] / np.log(2)


def curve(decay):
    config = NeuralNGramConfig(len(vocabulary), order=6, embedding=16, hidden=128)
    model, rng = NeuralNGram(config, np.random.default_rng(0)), np.random.default_rng(1)
    optimiser, losses = AdamW(model.params, weight_decay=decay), []
    for k in range(1501):
        if k % 50 == 0:
            losses.append([k, bits(model, small), bits(model, validation)])
        windows = small[rng.integers(0, len(small), 128)]
        logits, backward = model.predict(windows[:, :-1])
        _, loss_backward = ops.cross_entropy(logits, windows[:, -1])
        optimiser.step(backward(loss_backward()), 0.01)
    return np.array(losses).T


figure, axes = new_figure(5.2, 3.8)
for name, decay, colour in (("nothing", 0.0, "C0"), ("weight decay", 0.3, "C1")):
    step, training, held = curve(decay)
    axes.plot(step, held, color=colour, label=name)
    axes.plot(step, training, "--", color=colour)
axes.set(xlabel="step", ylabel="bits per character", ylim=(0, 5))
axes.legend(loc="lower left")
save(figure, __file__)
