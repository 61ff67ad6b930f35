"""Pictures: loss curves, and where attention looks."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def loss_curve(records: Sequence[dict], unit: str = "token") -> bytes:
    """The training and validation losses of ``metrics.jsonl`` by step, as a PNG.

    ``unit`` is what a loss is per: "character", "word".  Needs matplotlib (ImportError).
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    training = [(r["step"], r["loss"]) for r in records if "loss" in r]
    validation = [(r["step"], r["validation_loss"]) for r in records if "validation_loss" in r]
    if training:
        axes.plot(*zip(*training, strict=True), color="tab:blue", linewidth=1, label="training")
    if validation:
        best = min(validation, key=lambda point: point[1])
        label = f"validation (best {best[1]:.3f})"
        axes.plot(*zip(*validation, strict=True), "o-", color="tab:orange", label=label)
    axes.set_xlabel("step")
    axes.set_ylabel(f"loss (nats per {unit})")
    axes.grid(alpha=0.3)
    if training or validation:
        axes.legend()
    return _png(figure)


def loss_curves(runs: Mapping[str, Sequence[dict]]) -> bytes:
    """The validation losses of several runs, by name, by the minute, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for name, records in runs.items():
        seconds = {r["step"]: r["seconds"] for r in records if "seconds" in r}
        points = [
            (seconds[at] / 60, r["validation_loss"])
            for r in records
            if "validation_loss" in r and (at := _before(seconds, r["step"])) is not None
        ]
        if points:
            label = f"{name} (best {min(loss for _, loss in points):.3f})"
            axes.plot(*zip(*points, strict=True), "o-", markersize=3, label=label)
    axes.set_xlabel("minutes")
    axes.set_ylabel("validation loss (nats)")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()
    return _png(figure)


def attention_map(
    weights: NDArray, source: Sequence[str], target: Sequence[str], title: str = ""
) -> bytes:
    """Where each target token looked in the source, as a PNG: weights (T, S), dark is much.

    The tokens stand on both axes: what was read from left to right, what was written
    downwards.
    """
    from matplotlib.figure import Figure

    T, S = len(target), len(source)
    figure = Figure(figsize=(1.6 + 0.32 * S, 1.4 + 0.32 * T), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(weights, cmap="Greys", vmin=0, vmax=1, aspect="equal")
    axes.set_xticks(range(S), source, rotation=90 if max(map(len, source)) > 2 else 0)
    axes.set_yticks(range(T), target)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    if title:
        axes.set_xlabel(title)
    return _png(figure)


def word_map(words: Sequence[str], places: NDArray) -> bytes:
    """Words on a plane, as a PNG: places (N, 2)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 8), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(*places.T, ".", color="tab:blue", markersize=3)
    for word, place in zip(words, places, strict=True):
        axes.annotate(word, place, fontsize=8, parse_math=False)
    axes.set_xticks([])
    axes.set_yticks([])
    return _png(figure)


def _before(seconds: Mapping[int, float], step: int) -> int | None:
    """The last logged step up to ``step``."""
    return max((logged for logged in seconds if logged <= step), default=None)


def _png(figure: "Figure") -> bytes:
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=120)
    return png.getvalue()
