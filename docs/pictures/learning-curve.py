"""The learning curve of benchmarks/results/learning-curve: accuracy by the number of labels."""

import json
from pathlib import Path

import numpy as np
from plotting import COLOURS, new_figure, save

RESULTS = Path(__file__).parents[2] / "benchmarks/results/learning-curve/results.json"
LINES = {
    "from sentences": "a published encoder",
    "TF-IDF": "TF-IDF, linear",
    "from lm": "a small language model",
    "the network of lm from scratch": "the same, not pre-trained",
}

lines = json.loads(RESULTS.read_text())
figure, axes = new_figure()
for (name, label), colour in zip(LINES.items(), COLOURS, strict=True):
    sizes = [int(size) for size in lines[name]]
    values = 100 * np.array(list(lines[name].values()))
    axes.errorbar(
        sizes, values.mean(axis=1), values.std(axis=1, ddof=1), marker="o", ms=4, capsize=3
    )
    for row in values.T:
        axes.plot(sizes, row, ".", color=colour, ms=4, alpha=0.6)
    axes.plot([], [], color=colour, label=label)
axes.set_xscale("log")
axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
axes.minorticks_off()
axes.set_ylim(30, 100)
axes.set_xlabel("labels")
axes.set_ylabel("accuracy in percent")
figure.legend(loc="outside upper left", ncols=1)
figure.set_size_inches(5.2, 5.0)
save(figure, __file__)
