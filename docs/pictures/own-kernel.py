"""The race of the distances, from its kept figures: times against sizes, and the roofline."""

import sys
from pathlib import Path

import matplotlib as mpl
from plotting import COLOURS, new_figure, save

DOCS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(DOCS.parent))

from benchmarks.files import load  # noqa: E402  (the line above says where it is)
from benchmarks.roofline import draw_roofline, draw_times  # noqa: E402

mpl.rcParams["axes.prop_cycle"] = mpl.cycler(color=[*COLOURS, "#000000"])
results = load(DOCS / "outputs/own-kernel.jsonl")
figure, (times, roofline) = new_figure(height=9.0, nrows=2)
draw_times(times, results.cells)
draw_roofline(roofline, results.cells, results.limits[1])
for axes in (times, roofline):
    axes.legend().remove()
legend = {"loc": "outside lower center", "ncols": 2, "handlelength": 1.2, "columnspacing": 1.0}
figure.legend(*times.get_legend_handles_labels(), **legend)
save(figure, __file__)
