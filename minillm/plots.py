"""Pictures, as PNG: loss curves, attention weights, word vectors.

All need matplotlib: InputError without it.
"""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from numpy.typing import NDArray

from minillm.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def loss_curve(records: Sequence[dict], unit: str = "token") -> bytes:
    """The training and validation losses of ``metrics.jsonl``, by step.

    ``unit`` is what a loss is a mean over: "character", "word".
    """
    figure = _figure(7, 4.2)
    axes = figure.add_subplot()
    training = [(r["step"], r["loss"]) for r in records if "loss" in r]
    validation = [(r["step"], r["validation_loss"]) for r in records if "validation_loss" in r]
    if training:
        axes.plot(*zip(*training, strict=True), color="tab:blue", linewidth=1, label="training")
    if validation:
        best = min(loss for _, loss in validation)
        label = f"validation (best {best:.3f})"
        axes.plot(*zip(*validation, strict=True), "o-", color="tab:orange", label=label)
    axes.set_xlabel("step")
    axes.set_ylabel(f"loss (nats per {unit})")
    axes.grid(alpha=0.3)
    if training or validation:
        axes.legend()
    return _png(figure)


def loss_curves(runs: Mapping[str, Sequence[dict]]) -> bytes:
    """The validation losses of several runs, each by its name, by minutes of training."""
    figure = _figure(7, 4.2)
    axes = figure.add_subplot()
    for name, records in runs.items():
        seconds = {r["step"]: r["seconds"] for r in records if "seconds" in r}
        validation = [
            (seconds[logged] / 60, r["validation_loss"])
            for r in records
            if "validation_loss" in r and (logged := _last(seconds, r["step"])) is not None
        ]
        if validation:
            label = f"{name} (best {min(loss for _, loss in validation):.3f})"
            axes.plot(*zip(*validation, strict=True), "o-", markersize=3, label=label)
    axes.set_xlabel("minutes")
    axes.set_ylabel("validation loss (nats)")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()
    return _png(figure)


def attention_map(
    weights: NDArray, source: Sequence[str], target: Sequence[str], title: str = ""
) -> bytes:
    """A heat map of attention weights (T, S): a row for each target token, darker is larger.

    The source tokens are the labels of the columns, the target tokens those of the rows.
    """
    T, S = len(target), len(source)
    figure = _figure(1.6 + 0.32 * S, 1.4 + 0.32 * T)
    axes = figure.add_subplot()
    axes.imshow(weights, cmap="Greys", vmin=0, vmax=1, aspect="equal")
    axes.set_xticks(range(S), source, rotation=90 if max(map(len, source)) > 2 else 0)
    axes.set_yticks(range(T), target)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    for label in [*axes.get_xticklabels(), *axes.get_yticklabels()]:
        label.set_parse_math(False)  # a token may be a dollar sign
    if title:
        axes.set_xlabel(title)
    return _png(figure)


def word_map(words: Sequence[str], coordinates: NDArray) -> bytes:
    """Words in the plane: coordinates (N, 2)."""
    figure = _figure(10, 8)
    axes = figure.add_subplot()
    axes.plot(*coordinates.T, ".", color="tab:blue", markersize=3)
    for word, point in zip(words, coordinates, strict=True):
        axes.annotate(word, point, fontsize=8, parse_math=False)
    axes.set_xticks([])
    axes.set_yticks([])
    return _png(figure)


def _figure(width: float, height: float) -> "Figure":
    """An empty picture, in inches."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("a picture needs the package matplotlib") from None
    return Figure(figsize=(width, height), layout="constrained")


def _last(seconds: Mapping[int, float], step: int) -> int | None:
    """The last logged step up to ``step``."""
    return max((logged for logged in seconds if logged <= step), default=None)


def _png(figure: "Figure") -> bytes:
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=120)
    return png.getvalue()
