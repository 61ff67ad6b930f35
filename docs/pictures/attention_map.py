"""Draw a heat map of attention weights, kept in a JSON file beside the script."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.patches import Rectangle
from plotting import FIRST, save


def draw(script: str, height: float, turned: bool) -> None:
    """Draw a row for each target token and a column for each source token."""
    kept = json.loads(Path(script).with_suffix(".json").read_text())
    figure, (axes, bar) = plt.subplots(
        1, 2, figsize=(4.4, height), width_ratios=(20, 1), gridspec_kw={"wspace": 0.02}
    )
    for t, weights in enumerate(kept["weights"]):
        for s, weight in enumerate(weights):
            if weight >= 0.02:
                cell = Rectangle((s, t), 1, 1, facecolor=FIRST, alpha=weight, linewidth=0)
                axes.add_patch(cell)
    for n in range(20):
        bar.add_patch(Rectangle((0, n / 20), 1, 0.05, facecolor=FIRST, alpha=(n + 0.5) / 20, lw=0))
    axes.set(xlim=(0, len(kept["source"])), ylim=(len(kept["target"]), 0))
    axes.set_xticks(
        [s + 0.5 for s in range(len(kept["source"]))], kept["source"], rotation=90 * turned
    )
    axes.set_yticks([t + 0.5 for t in range(len(kept["target"]))], kept["target"])
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    bar.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[0, 0.5, 1], yticklabels=["0", ".5", "1"])
    bar.yaxis.tick_right()
    for spine in (*axes.spines.values(), *bar.spines.values()):
        spine.set_visible(True)
    save(figure, script)
