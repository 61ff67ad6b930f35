"""Plots: loss curves, attention weights, word vectors.

All are PNG, and need matplotlib: InputError without it.
"""

import html
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from minillm.errors import missing_extra

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
        losses = [(r["seconds"] / 60, r[key]) for r in records if key in r]
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


# Where a word may be: points from its own, and which of its sides is there.
_PLACES = [((4, 0), "left"), ((-4, 0), "right"), ((0, 8), "center"), ((0, -8), "center")]


def word_map(words: Sequence[str], coordinates: NDArray) -> bytes:
    """Draw words in the plane, at coordinates (N, 2).

    Each word, in order, is next to its point where it covers no word before it.  The plot shows the
    number of words that have no place.
    """
    figure = _figure(11, 8.5)
    axes = figure.add_subplot()
    axes.plot(*coordinates.T, ".", color="tab:blue", markersize=3)
    axes.margins(0.06)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel(" ")
    figure.draw_without_rendering()  # now the points have their places
    frame = axes.get_window_extent()
    taken: list[Any] = []  # the boxes of the labels so far
    style: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": 8}
    for word, point in zip(words, coordinates, strict=True):
        for offset, side in _PLACES:
            label = axes.annotate(word, point, offset, ha=side, parse_math=False, **style)
            box = label.get_window_extent()
            inside = frame.contains(*box.p0) and frame.contains(*box.p1)
            if inside and not box.count_overlaps(taken):
                taken.append(box)
                break
            label.remove()
    if left_out := len(words) - len(taken):
        axes.set_xlabel(f"{left_out:,} of {len(words):,} points have no room for their word")
    return _png(figure)


def _figure(width: float, height: float) -> "Figure":
    """Make an empty figure; sizes are in inches."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise missing_extra("a picture", "plot") from None
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def _png(figure: "Figure") -> bytes:
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=DPI, bbox_inches="tight")
    return png.getvalue()
