"""The picture of the milestones, an SVG.  It needs matplotlib: InputError without it."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minillm import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The colours of a picture for a page are variables of its style sheet.  So a dark theme has others.
_COLOURS = {"#1f6fb4": "first", "#b3541e": "second", "#2c7a3f": "third", "#7b4fa3": "fourth"}
_ALONE = """<style>
svg:root { color: #1f2328; }
svg:root text { fill: currentColor; }
@media (prefers-color-scheme: dark) { svg:root { color: #e6edf3;
  --first: #6cb2ee; --second: #f0a05a; --third: #7fd08f; --fourth: #c9a4ee; } }
</style>"""  # for a picture that is opened alone or as an image, where no other style sheet is
_GREY = "#767676"
_TICKS = [digit * 10**power for power in range(-3, 6) for digit in (1, 2, 5)]  # minutes


def milestones(models: Sequence[Mapping[str, Any]]) -> bytes:
    """An SVG of the bits per character of networks by time, compared with n-grams.

    A model is a record of `milestones.py`.  One with a ``curve`` of seconds and bits
    is a line; any other is a mark at the left, and the best of these a dashed line.  What is worse
    than all networks at their ends and than the 2-gram is left out.  The groups of a line have the
    ids NAME-line, NAME-name and NAME-leader, so that the book can show fewer of them.
    """
    figure = plots._figure(6, 5.2)
    axes = figure.add_subplot()
    lines = {r["name"]: np.maximum(r["curve"], 1e-3) / (60, 1) for r in models if r.get("curve")}
    counted = {r["name"]: r["bits_per_character"] for r in models if "curve" not in r}
    ends = [line[-1, 1] for line in lines.values()]
    high = max([*ends, *(bits for name, bits in counted.items() if name != "1-gram")], default=1.0)
    low = min([*(line[:, 1].min() for line in lines.values()), *counted.values()], default=0.0)
    gap = 0.06 * max(0.1, high - low)  # the height of a name
    axes.set_ylim(low - gap, high + gap)
    begin = min((line[0, 0] for line in lines.values()), default=0.1)
    end = max((line[-1, 0] for line in lines.values()), default=1.0)
    span = max(2.0, end / begin)
    axes.set(xscale="log", xlim=(begin / span**0.4, end * span**0.5))
    axes.minorticks_off()
    ticks = [tick for tick in _TICKS if begin <= tick <= end]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.tick_params(labelsize=12)

    across = axes.get_yaxis_transform()  # x from 0, at the left, to 1
    style: dict[str, Any] = {"va": "center", "fontsize": 12}
    colours = [*_COLOURS, "#000000"]
    for number, ((name, line), place) in enumerate(
        zip(lines.items(), _apart(ends, gap), strict=True)
    ):
        colour = colours[number % len(colours)]
        dashes: Any = "-" if number < len(colours) else (0, (3, 1))
        look = {"color": colour, "linewidth": 1.8, "linestyle": dashes}
        plots._curve(axes, line.tolist(), gid=f"{name}-line", **look)
        arrow = {"arrowstyle": "-", "linewidth": 0.6, "color": colour, "shrinkA": 1, "shrinkB": 1}
        arrow["gid"] = f"{name}-leader"
        names = style | {"textcoords": across, "color": colour, "arrowprops": arrow}
        axes.annotate(name, line[-1], (0.77, place), gid=f"{name}-name", **names)
    named = -np.inf
    for name, bits in sorted(counted.items(), key=lambda entry: entry[1]):
        if bits == min(counted.values()):
            axes.axhline(bits, 0.19, 0.75, color=_GREY, linestyle="--", linewidth=1.2)
        axes.plot([0.16, 0.19], [bits, bits], color=_GREY, linewidth=2.2, transform=across)
        if named + gap <= bits <= high:  # else there is no room for its name
            axes.text(0.15, bits, name, ha="right", transform=across, **style)
            named = bits
    axes.set_xlabel("minutes of training", fontsize=12)
    axes.set_ylabel("bits per character", fontsize=12)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return _svg(figure)


def _apart(values: Sequence[float], gap: float) -> list[float]:
    """Places near the values that are at least ``gap`` apart, in the order of the values.

    >>> _apart([3.0, 1.0, 1.5], 1.0)
    [3.0, 1.0, 2.0]
    """
    places = [0.0] * len(values)
    last = -np.inf
    for number in sorted(range(len(values)), key=lambda number: values[number]):
        last = places[number] = max(values[number], last + gap)
    return places


def _svg(figure: "Figure") -> bytes:
    """A picture for a page: its text is text, and it has the colours of the page."""
    from matplotlib import rc_context

    file = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "minillm"}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :].replace("#000000", "currentColor")
    for colour, name in _COLOURS.items():
        svg = svg.replace(colour, f"var(--{name}, {colour})")
    svg = svg.replace("*{stroke-", "svg *{stroke-")  # no style of the page's other parts
    return svg.replace(">", f">\n{_ALONE}", 1).encode()
