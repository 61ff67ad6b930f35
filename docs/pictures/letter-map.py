"""A map of the embeddings of letters, from the neural n-gram of chapter 4: half a minute."""

import numpy as np
from plotting import COLOURS, new_figure, save

from minillm import ops
from minillm.data.corpora import read_text, split_text
from minillm.models.neural_ngram import NeuralNGram, NeuralNGramConfig
from minillm.text import Characters
from minillm.training.optimisers import Adam

STEPS = 4000
text = read_text(["python-docs"])
vocabulary = Characters.from_text(text)
train = np.lib.stride_tricks.sliding_window_view(vocabulary.encode(split_text(text)[0]), 6)
config = NeuralNGramConfig(len(vocabulary), order=6, embedding=16, hidden=128)
model, rng = NeuralNGram(config, np.random.default_rng(0)), np.random.default_rng(1)
optimiser = Adam(model.params)
for k in range(STEPS):
    windows = train[rng.integers(0, len(train), 256)]
    logits, backward = model.predict(windows[:, :-1])
    _, loss_backward = ops.cross_entropy(logits, windows[:, -1])
    optimiser.step(backward(loss_backward()), 0.02 * (1 - k / STEPS))

GROUPS = ("aeiou", "bcdfghklmnprstvwy", "ABCDEFILMNOPRST", "0123456789")
letters = "".join(GROUPS)
E = model.params["embedding.E"][vocabulary.encode(letters)]
E = E / np.linalg.norm(E, axis=1, keepdims=True)
E = E - E.mean(axis=0)
_, _, axes_of_E = np.linalg.svd(E, full_matrices=False)
points = dict(zip(letters, E @ axes_of_E[:2].T, strict=True))
figure, axes = new_figure(5.2, 4.6)
for group, colour in zip(GROUPS, COLOURS, strict=True):
    for letter in group:
        axes.plot(*points[letter], alpha=0)
        axes.text(*points[letter], letter, color=colour, ha="center", va="center", size=15)
axes.axis("off")
save(figure, __file__)
