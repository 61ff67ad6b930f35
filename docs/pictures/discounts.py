"""What a count loses on other text: measured on the other half of the lines, and Good-Turing's."""

import re
from collections import Counter
from itertools import pairwise

from plotting import new_figure, save

from minillm.data.corpora import read_text

halves = Counter(), Counter()
for number, line in enumerate(read_text(["python-docs"]).splitlines()):
    words = re.findall(r"\w+|[^\w\s]", line)
    halves[number % 2].update(pairwise(words))
count, other = halves
n = Counter(count.values())
counts = range(1, 9)
lost = [r - sum(other[pair] for pair in count if count[pair] == r) / n[r] for r in counts]
good_turing = [r - (r + 1) * n[r + 1] / n[r] for r in counts]

figure, axes = new_figure(height=3.6)
axes.plot(counts, lost, "o-", label="measured on the other half")
axes.plot(counts, good_turing, "s--", label="estimated from one half")
axes.set(xlabel="count r of a pair of words", ylabel="lost on other text", ylim=(-0.5, 3))
axes.set_xticks(counts)
axes.legend(loc="upper left")
save(figure, __file__)
