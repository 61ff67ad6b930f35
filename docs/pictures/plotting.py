"""Save a plot of matplotlib as an SVG that takes the colours of its page.

Each script beside this one that plots writes the SVG of its name:

    from plotting import COLOURS, new_figure, save

Text stays text, the background is transparent, black is the colour of the page's text, and the
four colours are variables of the style sheet.  The same data give the same file.
"""

import io
import re
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

COLOURS = ("#1f6fb4", "#b3541e", "#2c7a3f", "#7b4fa3")  # first to fourth, as in drawing.py
NAMES = ("first", "second", "third", "fourth")

mpl.rcParams.update(
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "minillm",
        "font.family": "DejaVu Sans",  # comes with matplotlib, and measures the text
        "font.size": 13,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": mpl.cycler(color=COLOURS),
        "legend.frameon": False,
        "savefig.transparent": True,
    }
)


def new_figure(width: float = 5.2, height: float = 3.8, **options):
    """A figure and its axes; a width of 5.2 is legible on a phone."""
    return plt.subplots(figsize=(width, height), layout="constrained", **options)


def save(figure, script: str) -> None:
    """Write the SVG beside the script, or into the folder that the command names."""
    path = Path(script).with_suffix(".svg")
    if len(sys.argv) > 1:
        path = Path(sys.argv[1]) / path.name
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    path.write_text(in_colours_of_the_page(buffer.getvalue()))


def in_colours_of_the_page(svg: str) -> str:
    """Replace black by the colour of the text, and the four colours by variables."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = svg.replace("#000000", "currentColor")
    svg = re.sub(r"'?DejaVu Sans'?", "system-ui, sans-serif", svg)
    svg = svg.replace("*{stroke-linejoin", ".picture path{stroke-linejoin")
    for name, colour in zip(NAMES, COLOURS, strict=True):
        svg = svg.replace(colour, f"var(--{name}, {colour})")
    svg = re.sub(r'(width|height)="([\d.]+)pt"', r'\1="\2"', svg, count=2)
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"
