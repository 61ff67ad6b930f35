"""A map of word vectors: skip-gram on the Python language reference, 20 epochs, a few seconds."""

from plotting import COLOURS, new_figure, save

import minillm
from minillm.data.python_texts import builtin_corpus

GROUPS = (
    "one two three four",
    "TypeError ValueError AttributeError KeyError",
    "tuple list dictionary set",
    "if while for try",
)
BELOW = ("TypeError", "tuple")  # their labels would overlap with those of neighbours
run = minillm.train("word2vec", text=builtin_corpus(), dimension=50, seed=1)
words = [word for group in GROUPS for word in group.split()]
points = dict(zip(words, run.vectors.map(words), strict=True))
figure, axes = new_figure(5.2, 4.6)
for group, colour, mark in zip(GROUPS, COLOURS, "os^D", strict=True):
    for word in group.split():
        axes.plot(*points[word], mark, color=colour)
        place = (5, -14 if word in BELOW else 4)
        axes.annotate(word, points[word], place, textcoords="offset points", color=colour)
axes.axis("off")
axes.margins(x=0.25, y=0.1)
save(figure, __file__)
