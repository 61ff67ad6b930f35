"""Words pronounced wrongly, by their length, for each kind of attention."""

import json
from pathlib import Path

from plotting import COLOURS, new_figure, save

RESULTS = Path(__file__).parents[2] / "benchmarks/results/cmudict/results.json"
LENGTHS = ("1 to 4", "5 to 6", "7 to 8", "9 to 10", "11 to 12", "13 and more")

results = json.loads(RESULTS.read_text())
FIRST, SECOND, THIRD, FOURTH = COLOURS
figure, axes = new_figure()
colours = {"none": SECOND, "dot": THIRD, "general": FOURTH, "additive": FIRST}
styles = {"none": "--", "dot": "-.", "general": ":", "additive": "-"}
for kind, colour in colours.items():
    wrong = [100 * results[kind]["beam 1"][length]["WER"] for length in LENGTHS]
    axes.plot(wrong, color=colour, linestyle=styles[kind], marker="o", markersize=4, label=kind)
labels = [length.replace(" to ", "-").replace(" and more", "+") for length in LENGTHS]
axes.set_xticks(range(len(LENGTHS)), labels)
axes.set(xlabel="letters of the word", ylabel="% wrong", ylim=(0, 50))
axes.legend(title="attention")
save(figure, __file__)
