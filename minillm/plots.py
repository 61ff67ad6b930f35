"""Plots: loss curves, learning curves, milestones, attention weights, word vectors.

They are PNG, and SVG for a page.

All need matplotlib: InputError without it.
"""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from minillm.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


DPI = 120


def loss_curve(records: Sequence[dict], unit: str = "token", extra: str = "") -> bytes:
    """Plot the training and validation losses of ``metrics.jsonl``, by step.

    A loss is a mean over items, which ``unit`` names: "character", "word".  ``extra`` names the
    parts of the training loss that the validation loss lacks: "dropout and label smoothing".
    The loss of the best n-gram, if it was measured, is a dotted line.
    """
    figure = _figure(7, 4.2)
    axes = figure.add_subplot()
    training = [(r["step"], r["loss"]) for r in records if "loss" in r]
    validation = [(r["step"], r["validation_loss"]) for r in records if "validation_loss" in r]
    if training:
        label = f"training (with {extra})" if extra else "training"
        _curve(axes, training, color="tab:blue", linewidth=1, label=label)
    if validation:
        best = min(loss for _, loss in validation)
        without = f"without {'them' if ' and ' in extra else 'it'}; " if extra else ""
        label = f"validation ({without}best {best:.3f})"
        axes.plot(*zip(*validation, strict=True), "o-", color="tab:orange", label=label)
    ngram = [r["ngram_loss"] for r in records if "ngram_loss" in r]
    if ngram:
        label = f"best n-gram ({ngram[-1]:.3f})"
        axes.axhline(ngram[-1], color="0.5", linestyle=":", linewidth=1, label=label)
    axes.set_xlabel("step" if validation or unit != "prediction" else "words")
    axes.set_ylabel(f"loss (nats per {unit})")
    axes.grid(alpha=0.3)
    if training or validation:
        axes.legend()
    return _png(figure)


def loss_curves(runs: Mapping[str, Sequence[dict]]) -> bytes:
    """Plot the validation losses of several runs by minutes of training.

    A run without validation, such as one of word2vec, has its training loss instead, dashed.
    """
    figure = _figure(7, 4.2)
    axes = figure.add_subplot()
    for name, records in runs.items():
        validated = any("validation_loss" in r for r in records)
        key = "validation_loss" if validated else "loss"
        seconds = {r["step"]: r["seconds"] for r in records if "seconds" in r}
        losses = [
            (seconds[logged] / 60, r[key])
            for r in records
            if key in r and (logged := _last(seconds, r["step"])) is not None
        ]
        if losses:
            best, last = min(loss for _, loss in losses), losses[-1][1]
            label = f"{name} (best {best:.3f})" if validated else f"{name}, training ({last:.3f})"
            style = {"marker": "o", "markersize": 5} if validated else {"linestyle": "--"}
            _curve(axes, losses, label=label, **style)
    axes.set_xlabel("minutes")
    axes.set_ylabel("validation loss (nats)")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()
    return _png(figure)


def _curve(axes: "Axes", points: Sequence[tuple[float, float]], **style: Any) -> None:
    """Draw a line, or a mark if there is only one point."""
    if len(points) == 1:
        style |= {"marker": "o"}
    axes.plot(*zip(*points, strict=True), **style)


def learning_curve(lines: Mapping[str, Mapping[int, Sequence[float]]]) -> bytes:
    """Plot accuracies by the number of labels: the mean and the standard deviation of each line.

    ``lines`` has the accuracies (0 to 1) of several trainings for each line and number of labels.
    A line named "X, augmented" is dashed, and has the colour of line X.
    """
    figure = _figure(7, 4.6)
    axes = figure.add_subplot()
    colours: dict[str, str] = {}
    for name, points in lines.items():
        sizes = sorted(points)
        values = [100 * np.array(points[size]) for size in sizes]
        means = [v.mean() for v in values]
        spread = [v.std(ddof=1) if len(v) > 1 else np.nan for v in values]
        begin, _, changed = name.partition(", ")
        colour = colours.setdefault(begin, f"C{len(colours)}")
        style: dict[str, Any] = {"color": colour, "linestyle": "--" if changed else "-"}
        axes.errorbar(sizes, means, spread, marker="o", ms=4, capsize=3, label=name, **style)
    sizes = sorted({size for points in lines.values() for size in points})
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel("labels")
    axes.set_ylabel("accuracy (%)")
    axes.grid(alpha=0.3)
    axes.legend()
    return _png(figure)


# --- milestones --------------------------------------------------------------------------

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
    """Plot the bits per character of networks by time, and those of n-grams beside them, as SVG.

    A model is a record of :mod:`minillm.runs.milestones`.  One with a ``curve`` of seconds and bits
    is a line; any other is a mark at the left, and the best of these a dashed line.  What is worse
    than all networks at their ends and than the 2-gram is left out.
    """
    figure = _figure(6, 5.2)
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
        _curve(axes, line.tolist(), color=colour, linewidth=1.8)
        arrow = {"arrowstyle": "-", "linewidth": 0.6, "color": colour, "shrinkA": 1, "shrinkB": 1}
        names = style | {"textcoords": across, "color": colour, "arrowprops": arrow}
        axes.annotate(name, line[-1], (0.77, place), **names)
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
    """Return places near the values that are at least ``gap`` apart, in the order of the values.

    >>> _apart([3.0, 1.0, 1.5], 1.0)
    [3.0, 1.0, 2.0]
    """
    places = [0.0] * len(values)
    last = -np.inf
    for number in sorted(range(len(values)), key=lambda number: values[number]):
        last = places[number] = max(values[number], last + gap)
    return places


def _svg(figure: "Figure") -> bytes:
    """Return a picture for a page: its text is text, and its colours are those of the page."""
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


# --- attention ---------------------------------------------------------------------------


# How Moses, whose tokeniser many sets of translations come from, spells characters.
_SPELLINGS = {
    "&apos;": "'",
    "&quot;": '"',
    "&lt;": "<",
    "&gt;": ">",
    "&#91;": "[",
    "&#93;": "]",
    "&#124;": "|",
    "&amp;": "&",  # last, because the others contain it
}


def _readable(token: str) -> str:
    """Return a token with the characters that Moses spells: d' for d&apos;"""
    for spelled, character in _SPELLINGS.items():
        token = token.replace(spelled, character)
    return token


def attention_map(
    weights: NDArray, source: Sequence[str], target: Sequence[str], caption: str = ""
) -> bytes:
    """Draw a heat map of attention weights (T, S): a row for each target token, darker is larger.

    The columns are labelled with the source tokens, the rows with the target tokens.  The cells are
    smaller for a long sentence, so that it fits a page.  The caption is below.
    """
    source, target = [*map(_readable, source)], [*map(_readable, target)]
    T, S = len(target), len(source)
    cell = min(0.36, max(0.16, 20 / max(T, S)))  # all lengths in inches
    font = min(10.0, 58 * cell)
    figure = _figure(1, 1)
    figure.set_layout_engine("none")
    axes, bar = figure.add_axes((0, 0, 1, 1)), figure.add_axes((0, 0, 1, 1))
    image = axes.imshow(weights, cmap="Greys", vmin=0, vmax=1, aspect="auto")
    figure.colorbar(image, cax=bar, label="attention weight")
    turned = max(map(len, source)) > 2
    axes.set_xticks(range(S), source, rotation=90 if turned else 0, fontsize=font)
    axes.set_yticks(range(T), target, fontsize=font)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_xlabel(caption, fontsize=10, loc="left")
    for label in [*axes.get_xticklabels(), *axes.get_yticklabels()]:
        label.set_parse_math(False)  # a token may be a dollar sign

    figure.draw_without_rendering()  # now the labels have their sizes
    top = max(t.get_window_extent().height for t in axes.get_xticklabels()) / DPI + 0.2
    left = max(t.get_window_extent().width for t in axes.get_yticklabels()) / DPI + 0.2
    bar_height = min(max(T * cell, 1.3), 4)
    body = max(T * cell, bar_height)
    below = axes.xaxis.label.get_window_extent()
    width = left + max(S * cell + 1.1, below.width / DPI + 0.1)
    height = top + body + (0.35 if caption else 0.15)
    figure.set_size_inches(width, height)
    sides = ((axes, left, S * cell, T * cell), (bar, left + S * cell + 0.2, 0.15, bar_height))
    for place, x, w, h in sides:
        place.set_position((x / width, 1 - (top + h) / height, w / width, h / height))
    return _png(figure)


# --- word vectors ------------------------------------------------------------------------


def word_map(words: Sequence[str], coordinates: NDArray) -> bytes:
    """Draw words in the plane, at coordinates (N, 2).

    Each word, in order, is placed as near to its point as possible without covering another.
    Words without a place are left out, and the plot shows their number.
    """
    figure = _figure(11, 8.5)
    axes = figure.add_subplot()
    axes.plot(*coordinates.T, ".", color="tab:blue", markersize=3)
    axes.margins(0.06)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel(" ")
    figure.draw_without_rendering()  # now the points have their places
    left_out = _label_points(axes, words, coordinates)
    if left_out:
        axes.set_xlabel(f"{left_out:,} of {len(words):,} points have no room for their word")
    return _png(figure)


def _label_points(axes: "Axes", words: Sequence[str], coordinates: NDArray) -> int:
    """Write each word at the first free place near its point; return the number without one."""
    style: dict[str, Any] = {"fontsize": 8, "va": "center", "parse_math": False}
    line = {"arrowstyle": "-", "color": "0.6", "lw": 0.5, "shrinkA": 0}
    left_out = 0
    taken = np.empty((0, 4))  # x0, y0, x1, y1 of the words so far, in pixels
    for word, point in zip(words, coordinates, strict=True):
        trial = axes.annotate(word, point, **style)
        size = trial.get_window_extent().size
        trial.remove()
        at = np.asarray(axes.transData.transform(point))
        place = _free_place(axes, at, size, taken)
        if place is None:
            left_out += 1
            continue
        (dx, dy), box = place
        taken = np.vstack([taken, box])
        style["ha"] = "left" if dx > 0 else "right" if dx < 0 else "center"
        far = max(abs(dx), abs(dy)) > _NEAR
        axes.annotate(
            word,
            point,
            (dx, dy),
            textcoords="offset pixels",
            arrowprops=line if far else None,
            **style,
        )
    return left_out


def _free_place(
    axes: "Axes", at: NDArray, size: tuple[float, float], taken: NDArray
) -> tuple[tuple[float, float], NDArray] | None:
    """Return the first of ``_OFFSETS`` at which a word covers no other, and its box; or None."""
    frame = axes.get_window_extent()
    width, height = size
    for dx, dy in _OFFSETS:
        x = at[0] + dx - width * (0 if dx > 0 else 1 if dx < 0 else 0.5)
        y = at[1] + dy - height / 2
        low, high = np.array([x - 2, y]), np.array([x + width + 2, y + height])
        inside = (low >= frame.p0).all() and (high <= frame.p1).all()
        apart = (high <= taken[:, :2]) | (low >= taken[:, 2:])  # before or behind, in x or in y
        if inside and apart.any(axis=1).all():
            return (dx, dy), np.concatenate([low, high])
    return None


# The places of a word near its point, in pixels, nearest first: to the right, to the left, above,
# below and between these; then in wider rings, with a line to the point.
_NEAR = 14
_AROUND = [(1, 0), (-1, 0), (0, 1), (0, -1), (0.7, 0.7), (-0.7, 0.7), (0.7, -0.7), (-0.7, -0.7)]
_OFFSETS = [(5, 0), (-5, 0), (0, 12), (0, -12), (5, 9), (-5, 9), (5, -9), (-5, -9)] + [
    (radius * x, radius * y) for radius in (26, 40, 56) for x, y in _AROUND
]


def _figure(width: float, height: float) -> "Figure":
    """Make an empty figure; sizes are in inches."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("a picture needs the package matplotlib") from None
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def _last(seconds: Mapping[int, float], step: int) -> int | None:
    """Return the last logged step up to ``step``."""
    return max((logged for logged in seconds if logged <= step), default=None)


def _png(figure: "Figure") -> bytes:
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=DPI)
    return png.getvalue()
