"""Bits per character of the held-out tenth of python-docs, by order, for each smoothing."""

import numpy as np
from plotting import new_figure, save

from minillm.data.corpora import read_text, split_text
from minillm.models.ngram import NGramConfig, count_ngrams, estimate
from minillm.text import Characters

text = read_text(["python-docs"])
vocabulary = Characters.from_text(text)
V = len(vocabulary)
train, held_out = ([V, *vocabulary.encode(part)] for part in split_text(text))
train, held_out = np.array(train, np.int32), np.array(held_out, np.int32)

figure, axes = new_figure(height=4.6)
for name, style in (
    ("kneser-ney", "o-"),
    ("absolute", "^-"),
    ("witten-bell", "s-"),
    ("add-k", "v-"),
):
    bits = []
    for order in range(1, 11):
        model = estimate(
            count_ngrams(train, order, V), NGramConfig(V, order, smoothing=name, k=0.1)
        )
        bits.append(-model.probabilities(held_out)[1:].mean() / np.log10(2))
    label = "add-k, k = 0.1" if name == "add-k" else name
    axes.plot(range(1, 11), bits, style, label=label)
axes.set(xlabel="order n", ylabel="bits per character", ylim=(1.4, 4.8))
axes.set_xticks(range(1, 11))
axes.legend(loc="upper center", reverse=True)
save(figure, __file__)
