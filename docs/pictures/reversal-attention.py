"""Train the Transformer of chapter 11 that reverses words, and draw its cross-attention."""

import numpy as np
from drawing import Drawing
from heat_map import colour_bar, heat_map

import minillm

rng = np.random.default_rng(0)
words = ["".join(rng.choice(list("abcdefgh"), rng.integers(2, 6))) for _ in range(3000)]
run = minillm.train(
    "transformer",
    pairs=[(word, word[::-1]) for word in words],
    unit="character",
    layers=1,
    width=32,
    heads=4,
    feed_forward=64,
    dropout=0.0,
    label_smoothing=0.0,
    learning_rate=0.01,
    batch=32,
    steps=1000,
    quiet=True,
)
trace = run.trace("badge")
weights = trace.attention[0].weights[0].mean(axis=0)[:5, :5]
picture = Drawing(440, 290)
picture.text(205, 14, "source", size=17)
heat_map(picture, 95, 56, 44, weights, trace.tokens[:5], "badge")
picture.text(58, 166, "output", size=17, anchor="end")
colour_bar(picture, 360, 56, 220)
picture.save(__file__)
