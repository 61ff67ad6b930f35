"""Plots: loss curves, attention weights, word vectors.

All are PNG, and need matplotlib: InputError without it.
"""

import html
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


# --- attention ---------------------------------------------------------------------------


def attention_map(
    weights: NDArray, source: Sequence[str], target: Sequence[str], caption: str = ""
) -> bytes:
    """Draw a heat map of attention weights (T, S): a row for each target token, darker is larger.

    The columns are labelled with the source tokens, the rows with the target tokens.  The cells are
    smaller for a long sentence, so that it fits a page.  The caption is below.
    """
    # Moses, whose tokeniser many sets of translations come from, writes &apos; for an apostrophe.
    source, target = [*map(html.unescape, source)], [*map(html.unescape, target)]
    T, S = len(target), len(source)
    cell = min(0.36, max(0.16, 20 / max(T, S)))  # all lengths in inches
    font = min(10.0, 58 * cell)
    beside, above = (0.01 * font * max(map(len, side)) for side in (target, source))  # the labels
    width = max(beside + S * cell + 1.5, 0.08 * len(caption) + 0.5)
    figure = _figure(width, above + max(T * cell, 1.3) + 0.8)
    axes = figure.add_subplot()
    image = axes.imshow(weights, cmap="Greys", vmin=0, vmax=1)
    figure.colorbar(image, label="attention weight", fraction=0.15 / (S * cell), aspect=12)
    axes.set_xticks(range(S), source, fontsize=font, rotation=90 if above > 0.02 * font else 0)
    axes.set_yticks(range(T), target, fontsize=font)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_xlabel(caption, fontsize=10, loc="left")
    for label in [*axes.get_xticklabels(), *axes.get_yticklabels()]:
        label.set_parse_math(False)  # a token may be a dollar sign
    return _png(figure)


# --- word vectors ------------------------------------------------------------------------


def word_map(words: Sequence[str], coordinates: NDArray) -> bytes:
    """Draw words in the plane, at coordinates (N, 2).

    Each word, in order, is placed as near to its point as possible without covering another.
    The plot shows the number of words that have no place.
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
    """The first of ``_OFFSETS`` at which a word covers no other, and its box; or None."""
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
    """The last logged step up to ``step``."""
    return max((logged for logged in seconds if logged <= step), default=None)


def _png(figure: "Figure") -> bytes:
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=DPI, bbox_inches="tight")
    return png.getvalue()
