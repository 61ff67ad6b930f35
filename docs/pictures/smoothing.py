"""Bits per character of the held-out tenth of python-docs, by order, for each smoothing."""

import matplotlib.pyplot as plt
import numpy as np
from plotting import FIRST, FOURTH, SECOND, THIRD, save

from minillm.data.corpora import read_text, split_text
from minillm.models.ngram import NGramConfig, count_ngrams, estimate
from minillm.text import Characters

text = read_text(["python-docs"])
vocabulary = Characters.from_text(text)
V = len(vocabulary)
train, held_out = ([V, *vocabulary.encode(part)] for part in split_text(text))
train, held_out = np.array(train, np.int32), np.array(held_out, np.int32)

figure, axes = plt.subplots(figsize=(4.4, 3.8))
for name, style, colour in (
    ("add-k", "v-", FOURTH),
    ("witten-bell", "s-", THIRD),
    ("absolute", "^-", SECOND),
    ("kneser-ney", "o-", FIRST),
):
    bits = []
    for order in range(1, 11):
        model = estimate(
            count_ngrams(train, order, V), NGramConfig(V, order, smoothing=name, k=0.1)
        )
        bits.append(-model.probabilities(held_out)[1:].mean() / np.log10(2))
    label = "add-k, k = 0.1" if name == "add-k" else name
    axes.plot(range(1, 11), bits, style, color=colour, label=label)
axes.set(xlabel="order n", ylabel="bits per character", ylim=(1.4, 4.8))
axes.set_xticks(range(1, 11))
axes.legend(loc="upper center")
save(figure, __file__)
