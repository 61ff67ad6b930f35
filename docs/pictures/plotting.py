"""Save a plot of matplotlib as an SVG in the style of the book's diagrams.

    figure, axes = plt.subplots(figsize=(4.4, 3.2))
    axes.plot(x, y, color=FIRST)
    save(figure, __file__)

Text stays text.  Black becomes the colour of the page's text, and FIRST to FOURTH the colours that
the page's style sheet defines, so that a plot fits the light and the dark theme.  A width of 4.4
inches is 440 pixels.
"""

import re
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams |= {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "font.family": "sans-serif",
    "font.size": 12,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "minillm",
}

FIRST, SECOND, THIRD, FOURTH = "#1f6fb4", "#b3541e", "#2c7a3f", "#7b4fa3"


def save(figure, script: str) -> None:
    """Write the SVG beside the script, or into the folder that the command names."""
    path = Path(script).with_suffix(".svg")
    if len(sys.argv) > 1:
        path = Path(sys.argv[1]) / path.name
    figure.savefig(path, transparent=True, metadata={"Date": None})
    svg = path.read_text()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(
        r"<style.*?</style>\s*", "", svg, flags=re.DOTALL
    )  # it would act on the whole page
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    # An inch has 72 units in matplotlib's drawings, and takes 100 pixels of the page.
    svg = re.sub(r'width="([\d.]+)pt"', lambda m: f'width="{float(m[1]) / 0.72:.0f}"', svg, count=1)
    svg = re.sub(r' height="[\d.]+pt"', "", svg, count=1)
    svg = re.sub(r"font-family: [^;\"]+", "font-family: system-ui, sans-serif", svg)
    svg = svg.replace("#000000", "currentColor")
    for name, colour in zip(
        ("first", "second", "third", "fourth"), (FIRST, SECOND, THIRD, FOURTH), strict=True
    ):
        svg = svg.replace(colour, f"var(--{name}, {colour})")
    path.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n")
